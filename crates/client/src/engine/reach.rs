//! How far an attempt came, which is what it proves to be well.

use outgate_faults::{Layer, Slug};

use super::outcome::Finding;
use crate::classify::{Provenance, Scope};

/// How far an attempt came, least far first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reach {
    /// Not to an answer of the proxy.
    Nowhere,
    /// The proxy answered, and had trouble of its own.
    Proxy,
    /// The proxy looked at who asks and what for, and refused.
    Refused,
    /// The account was let in; the exit failed.
    Admitted,
    /// An exit tried the target.
    Exit,
    /// The target answered.
    Target,
}

/// How far an attempt with this finding came.
pub(super) fn reach(finding: Option<&Finding>) -> Reach {
    let Some(finding) = finding else { return Reach::Target };
    match finding.slug.row().layer {
        Layer::Transport => Reach::Nowhere,
        Layer::Client | Layer::Gateway => Reach::Proxy,
        Layer::Auth | Layer::Policy | Layer::Plan | Layer::Targeting => Reach::Refused,
        Layer::Exit => Reach::Admitted,
        Layer::Target => Reach::Exit,
        Layer::Origin => Reach::Target,
    }
}

/// Whether the domain is to blame for it, as far as one attempt can tell.
pub(super) fn blames_domain(finding: &Finding) -> bool {
    use Slug::*;
    match finding.slug.row().layer {
        Layer::Origin => {
            matches!(finding.slug, TargetUnavailable | TargetGatewayError | TargetError | TargetForbidden | TargetChallenged)
        }
        // That a name does not exist is an answer, and remembered as one; the last two are about one request.
        Layer::Target => !matches!(finding.slug, DnsNotFound | ResponseHeaderTooLarge | UpgradeFailed),
        Layer::Client
        | Layer::Auth
        | Layer::Policy
        | Layer::Plan
        | Layer::Targeting
        | Layer::Gateway
        | Layer::Exit
        | Layer::Transport => false,
    }
}

/// Whether the fault may just as well be the target's: an exit that did not get through to a target which does not answer looks
/// like one that is slow. It is held against the domain only while the same proxy gets through to others.
pub(super) fn may_be_domain(finding: &Finding) -> bool {
    // The same goes for a lack of exits that holds no account: some providers have one answer for both.
    let no_exit = finding.slug == Slug::NoExit && (finding.wait.is_none() || finding.scope == Scope::Request);
    no_exit
        || finding.slug == Slug::ExitTimeout
        || (finding.slug == Slug::ProxyReset && finding.provenance != Provenance::Transport)
}
