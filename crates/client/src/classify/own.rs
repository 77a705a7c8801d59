//! Answers of Outgate itself, in whichever dialect: the slug is in a field of their own.

use outgate_faults::{Layer, Slug, fact};

use crate::classify::{Confidence, Evidence, Provenance, Verdict, Way};

/// What Outgate said. `None` if this is no answer of Outgate's, or one of a version that knows more faults than this one.
pub(crate) fn said(evidence: &Evidence<'_>) -> Option<Verdict> {
    // What came through a tunnel is the target's, whatever it writes: nobody on the way could have stripped it.
    if evidence.way == Way::Tunnelled {
        return None;
    }
    let slug = Slug::parse(&evidence.headers.first("X-Proxy-Error")?)?;
    let request_id = evidence.headers.first("X-Outgate-Request-Id").map(|id| fact::render(&id));
    // Others use the field's name too, with words of their own.
    let confidence = if request_id.is_some() { Confidence::Certain } else { Confidence::Likely };
    let provenance = match slug.row().layer {
        Layer::Origin => Provenance::Origin,
        Layer::Transport => Provenance::Transport,
        _ => Provenance::Proxy,
    };
    let why = format!("X-Proxy-Error says {slug}");
    Some(Verdict { request_id, ..Verdict::new(slug, provenance, confidence, why) })
}
