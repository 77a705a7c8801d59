//! The target's own answers, told from the proxy's.

use outgate_faults::raise;

use crate::classify::{Confidence, Evidence, Provenance, Verdict, Way};

/// What the target said.
pub(crate) fn said(evidence: &Evidence<'_>, status: u16) -> Verdict {
    let host = evidence.host();
    let fault = match status {
        401 => raise::target_unauthorized(host),
        403 => raise::target_forbidden(host),
        429 => raise::target_rate_limited(host),
        503 => raise::target_unavailable(host),
        502 | 504 => raise::target_gateway_error(host, status),
        500..=599 => raise::target_error(host, status),
        _ => return Verdict::fine(Provenance::Origin, format!("the target answered {status}")),
    };
    let confidence = if evidence.way == Way::Tunnelled { Confidence::Certain } else { Confidence::Guess };
    Verdict::raised(fault, Provenance::Origin, confidence, format!("the target's own {status}"))
}
