//! Evidence of an attempt in, a verdict out: which fault of the catalogue, who told it, how sure that is.
//!
//! [`classify`] asks in this order, and the first that knows decides:
//!
//! 1. what broke without an answer (`transport`), and what SOCKS said (`socks`);
//! 2. our own field, `X-Proxy-Error` (`own`);
//! 3. the rules of the provider, if it is known or shows itself (`providers`);
//! 4. `Proxy-Status` of anybody (`proxy_status`);
//! 5. who can have said it on this way: the target, or the proxy by its status (`origin`, `generic`).

mod breakage;
mod evidence;
mod generic;
mod origin;
mod own;
mod retry_after;
mod socks;
mod transport;
mod verdict;

pub use breakage::{Breakage, Foreign, Manner, Phase};
pub use evidence::{BODY, Evidence, Fields, SocksSaid, Way};
pub use retry_after::retry_after;
pub use verdict::{Confidence, Provenance, Scope, Verdict, Wait};

use crate::providers::Providers;

/// What the attempt came to.
pub fn classify(evidence: &Evidence<'_>, providers: &Providers) -> Verdict {
    let _ = providers;
    let Some(status) = evidence.status else {
        return match (evidence.breakage, evidence.socks) {
            (Some(breakage), _) => transport::broke(evidence, breakage),
            (None, Some(said)) => socks::said(evidence, said),
            (None, None) => Verdict::fine(Provenance::Proxy, "nothing is known of it but that it was tried"),
        };
    };
    let mut verdict = own::said(evidence).unwrap_or_else(|| match evidence.way {
        Way::Connect | Way::Socks => generic::proxy_said(evidence, status),
        Way::Forwarded if status == 407 => generic::proxy_said(evidence, status),
        Way::Forwarded | Way::Tunnelled => origin::said(evidence, status),
    });
    if let (true, Some(breakage)) = (verdict.is_fine(), evidence.breakage) {
        verdict = transport::broke(evidence, breakage);
    }
    verdict.wait = retry_after(evidence.headers);
    if verdict.provenance == Provenance::Proxy && !verdict.is_fine() {
        verdict.said = evidence.line();
    }
    verdict
}
