//! Answers of Outgate itself, in whichever dialect: the slug is in a field, in the reason phrase, or the sentence is known.

use outgate_faults::{Layer, Seen, Slug, fact};

use crate::classify::{Confidence, Evidence, Provenance, Verdict, Way, origin, proxy_status, sentence};

/// What Outgate said. `None` if this is no answer of Outgate's, or one of a version that knows more faults than this one.
pub(crate) fn said(evidence: &Evidence<'_>) -> Option<Verdict> {
    // What came through a tunnel is the target's, whatever it writes: nobody on the way could have stripped it. And a gateway
    // of another make strips nothing, so that behind one of those a target could write what it likes.
    let foreign = evidence.provider.is_some_and(|provider| provider.dialect().is_none());
    if evidence.way == Way::Tunnelled || (foreign && evidence.way == Way::Forwarded) {
        return None;
    }
    let verdict = by_field(evidence).or_else(|| by_words(evidence))?;
    let members = proxy_status::members(evidence.headers.all("Proxy-Status"));
    let at = members.iter().position(|member| member.error().is_some());
    // Whoever found it stands first; behind an exit stand the gateways that passed its word on.
    let exit = at.filter(|at| at + 1 < members.len()).map(|at| fact::render(&members[at].hop));
    let provenance = match verdict.provenance {
        Provenance::Proxy if exit.is_some() => Provenance::Exit,
        other => other,
    };
    let request_id = evidence.headers.first("X-Outgate-Request-Id").map(fact::render);
    let details = at.and_then(|at| members[at].parameter("details")).map(fact::render);
    Some(Verdict { provenance, exit, request_id, said: details.or_else(|| evidence.line()), ..verdict })
}

/// The field that every answer of Outgate's has, in every dialect.
fn by_field(evidence: &Evidence<'_>) -> Option<Verdict> {
    let slug = Slug::parse(&evidence.headers.first("X-Proxy-Error")?)?;
    // Others use the field's name too, with words of their own. And an answer that was passed on by nobody we know (ours are told
    // by who is asked, without Via) may be a target's, which that one would not have stripped.
    let passed_on = evidence.way == Way::Forwarded && evidence.provider.is_none() && evidence.headers.has("Via");
    let ours = evidence.headers.has("X-Outgate-Request-Id") && !passed_on;
    let confidence = if ours { Confidence::Certain } else { Confidence::Likely };
    Some(Verdict::new(slug, provenance(slug), confidence, format!("X-Proxy-Error says {slug}")))
}

/// The words alone, which a gateway passes on as a target writes them: not where anything shows that it did.
fn by_words(evidence: &Evidence<'_>) -> Option<Verdict> {
    let passed_on = || matches!(origin::author(evidence, evidence.status.unwrap_or_default()), origin::Author::Site(_));
    if evidence.way == Way::Forwarded && passed_on() {
        return None;
    }
    by_reason(evidence).or_else(|| by_sentence(evidence))
}

/// `Forbidden (port_denied)`: for clients that show nothing else.
fn by_reason(evidence: &Evidence<'_>) -> Option<Verdict> {
    let (_, slug) = evidence.reason?.strip_suffix(')')?.rsplit_once(" (")?;
    let slug = Slug::parse(slug)?;
    let confidence = if evidence.way == Way::Forwarded { Confidence::Likely } else { Confidence::Certain };
    Some(Verdict::new(slug, provenance(slug), confidence, format!("the reason phrase says {slug}")))
}

/// The one-line body, where fields and reason are lost.
fn by_sentence(evidence: &Evidence<'_>) -> Option<Verdict> {
    if evidence.status.is_none_or(|status| status < 400) {
        return None;
    }
    let slug = sentence::of(&evidence.raw_line()?)?;
    // The user's end tells its own faults with their fields; without them such a sentence is somebody's web page.
    if slug.row().seen == Seen::UserEnd {
        return None;
    }
    Some(Verdict::new(slug, provenance(slug), Confidence::Likely, format!("the body is the sentence of {slug}")))
}

fn provenance(slug: Slug) -> Provenance {
    match slug.row().layer {
        Layer::Origin => Provenance::Origin,
        Layer::Transport => Provenance::Transport,
        _ => Provenance::Proxy,
    }
}
