//! Whether a request may be made again: what was sent, what the fault says about the target, and what the method allows.

use outgate_faults::{Layer, Slug};

use super::ask::{Ask, Body, Repeat};
use super::outcome::{Finding, Sent};
use crate::classify::Provenance;

/// Whether repeating the request can't make the target do something twice.
pub(super) fn safe(ask: &Ask, sent: Sent, finding: &Finding) -> bool {
    if sent == Sent::Nothing {
        return true;
    }
    // What was streamed away can't be sent again, however safe that would be.
    if ask.body == Body::Streamed {
        return false;
    }
    safe_method(ask) || (ask.repeat != Repeat::Never && !carried_out(finding))
}

/// Whether the request may be sent twice at the same time.
pub(super) fn safe_method(ask: &Ask) -> bool {
    match ask.repeat {
        Repeat::Recognised => true,
        Repeat::Never => false,
        // RFC 9110 section 9.2.2. CONNECT is safe until bytes went into the tunnel, and those are the caller's affair.
        Repeat::ByMethod => {
            matches!(
                ask.method.as_str(),
                "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" | "CONNECT" | "PROPFIND" | "REPORT"
            )
        }
    }
}

/// Whether the target may have acted on the request although this came back.
fn carried_out(finding: &Finding) -> bool {
    // With 429 (RFC 6585) and 403 (RFC 9110: "refuses to fulfill it"), and so with a challenge in place of the page, the target
    // says that it did not act. Its other answers say no such thing, 503 included.
    if finding.provenance == Provenance::Origin {
        return !matches!(finding.slug, Slug::TargetRateLimited | Slug::TargetForbidden | Slug::TargetChallenged);
    }
    reached_target(finding.slug)
}

/// Whether bytes of a forwarded request may have been at the target when the proxy reported this.
fn reached_target(slug: Slug) -> bool {
    use Slug::*;
    match slug.row().layer {
        // The proxy refused before it asked anybody.
        Layer::Auth | Layer::Policy | Layer::Plan | Layer::Targeting => false,
        Layer::Client => !matches!(slug, MalformedRequest | MalformedTarget | UriTooLong | HeaderTooLarge | HttpsNeedsConnect),
        Layer::Gateway => !matches!(slug, Overloaded | Draining | LedgerUnavailable | LoopDetected),
        Layer::Exit => !matches!(slug, NoExit | ExitRefused | ExitTimeout),
        Layer::Target => !matches!(
            slug,
            DnsNotFound
                | DnsFailed
                | DnsTimeout
                | TargetRefused
                | TargetUnreachable
                | ConnectTimeout
                | TlsHandshakeFailed
                | TlsCertificateInvalid
        ),
        Layer::Transport => !matches!(slug, ProxyDnsFailed | ProxyRefused | ProxyUnreachable | ProxyTlsFailed),
        Layer::Origin => true,
    }
}
