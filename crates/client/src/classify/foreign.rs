//! Answers of other makers' proxies, by the rules that they publish.

use outgate_faults::{Fault, Layer, Seen, Slug, fact, page_for_status};

use crate::classify::{Confidence, Evidence, Provenance, Scope, Verdict, Way, generic, origin};
use crate::providers::{Matched, Provider, Providers, Rule, Sent};

/// A provider, and how it is known whose proxy it is.
pub(crate) struct Known<'a> {
    pub(crate) provider: &'a Provider,
    how: How,
}

/// How a provider is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// By configuration, or by its host name: what it sends is its own.
    Surely,
    /// By what an answer looks like, which others could write too.
    ByMarks,
}

/// Whose proxy it is, if that is known.
pub(crate) fn known<'a>(evidence: &Evidence<'a>, providers: &'a Providers) -> Option<Known<'a>> {
    let surely = evidence.provider.or_else(|| providers.at_host(proxy_host(evidence)));
    if let Some(provider) = surely {
        return Some(Known { provider, how: How::Surely });
    }
    // Behind a tunnel marks are a target's to forge.
    if matches!(evidence.way, Way::Tunnelled | Way::Direct) {
        return None;
    }
    providers.marked_in(evidence.headers).map(|provider| Known { provider, how: How::ByMarks })
}

/// Whose mark an answer has that came through a tunnel, if that one opens TLS. A target may have forged it.
pub(crate) fn who_opens_tunnels<'a>(evidence: &Evidence<'_>, providers: &'a Providers) -> Option<&'a str> {
    let marked = providers.marked_in(evidence.headers).filter(|provider| provider.opens_tunnels())?;
    (evidence.provider.is_none() && providers.at_host(proxy_host(evidence)).is_none()).then(|| marked.title())
}

fn proxy_host<'a>(evidence: &Evidence<'a>) -> &'a str {
    crate::classify::evidence::host_of(evidence.proxy)
}

/// What the provider said, if it was the provider who said it and a rule knows what it means.
pub(crate) fn said(evidence: &Evidence<'_>, status: u16, known: &Known<'_>, providers: &Providers) -> Option<Verdict> {
    let provider = known.provider;
    let (code, text) = (provider.code(evidence.headers), provider.text(evidence.headers));
    let marked = provider.is_marked(evidence.headers);
    match evidence.way {
        Way::Direct => return None,
        Way::Tunnelled if !(provider.opens_tunnels() && marked) => return None,
        _ => {}
    }
    // A success is one unless a field says otherwise: some providers answer 200 with an error in it.
    if status < 400 && !((code.is_some() || text.is_some()) && marked) {
        return None;
    }
    let words = words(evidence, text.as_deref());
    let host = proxy_host(evidence).to_ascii_lowercase();
    let sent = Sent { code: code.as_deref(), text: &words, status: Some(status), host: &host, way: evidence.way };
    let matched = provider.rule(&sent);
    let said = text.as_deref().map(fact::render).or_else(|| evidence.line());
    if status < 400 && matched.is_none() && code.as_deref().is_none_or(is_no_error) {
        return None;
    }
    let verdict = match matched {
        Some(matched) => {
            let doubt = doubt(evidence, status, known, &matched, marked)?;
            let why = format!("{} says: {} ({})", provider.title(), matched.rule.means(), matched.rule.sign());
            // What it means may depend on a host that is not known, or on words that the client did not show.
            let also = provider.also(&sent);
            let doubt = if also.is_empty() { doubt } else { doubt.max(Confidence::Likely) };
            by_rule(evidence, matched.rule, doubt, why).or(&also)
        }
        // It says that it was it, but not in words that are known: the generic rules go on from there.
        None if marked && evidence.way != Way::Tunnelled => {
            let verdict = generic::said(evidence, status.max(400), Confidence::Likely, providers);
            Verdict { why: format!("{}'s own, by a field of its; then {}", provider.title(), verdict.why), ..verdict }
        }
        None => return None,
    };
    let verdict = match provider.dialect() {
        Some(dialect) => {
            let fits = page_for_status(status, dialect).into_iter().filter(|slug| slug.row().seen == Seen::Gateway);
            verdict.or(&fits.collect::<Vec<_>>())
        }
        None => verdict,
    };
    Some(Verdict { provider: Some(provider.name().to_owned()), provider_code: code, said, ..verdict })
}

/// How much less sure a rule is here than its basis. `None` if the target more likely said it.
fn doubt(evidence: &Evidence<'_>, status: u16, known: &Known<'_>, matched: &Matched<'_>, marked: bool) -> Option<Confidence> {
    let by_marks = match known.how {
        How::Surely => Confidence::Certain,
        How::ByMarks => Confidence::Likely,
    };
    if evidence.way != Way::Forwarded || (marked && known.how == How::Surely) {
        return Some(Confidence::Certain);
    }
    if marked {
        return Some(by_marks);
    }
    if known.provider.promises_marks() && status != 407 {
        return None;
    }
    if matched.rule.provenance() == Some(Provenance::Origin) || origin::is_a_proxys(status) {
        return Some(by_marks);
    }
    match origin::author(evidence, status) {
        origin::Author::Proxy => Some(by_marks),
        origin::Author::Site(_) => None,
        // Words of the provider's documentation, or a plain line: sites answer with pages.
        origin::Author::Unknown if matched.by_words || evidence.is_bare() => Some(Confidence::Likely),
        origin::Author::Unknown => None,
    }
}

/// A rule's verdict.
pub(super) fn by_rule(evidence: &Evidence<'_>, rule: &Rule, doubt: Confidence, why: String) -> Verdict {
    let slug = rule.slug();
    let provenance = rule.provenance().unwrap_or(match slug.row().layer {
        Layer::Origin => Provenance::Origin,
        _ => Provenance::Proxy,
    });
    let verdict = Verdict::new(slug, provenance, rule.basis().confidence().max(doubt), why).or(rule.others());
    Verdict {
        retry: rule.retry().unwrap_or(verdict.retry),
        scope: rule.scope().unwrap_or(Scope::of(slug)),
        wait: rule.wait().map(crate::classify::Wait::For),
        fault: users_end(evidence, slug),
        ..verdict
    }
}

/// The fault, if it is one that the user's end raises.
fn users_end(evidence: &Evidence<'_>, slug: Slug) -> Option<Fault> {
    if slug.row().seen != Seen::UserEnd {
        return None;
    }
    let status = evidence.status.map(|status| status.to_string()).unwrap_or_default();
    let facts = [("host", evidence.host()), ("proxy", evidence.proxy), ("status", &status)];
    Fault::from_wire(slug.name(), &facts.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// All that an answer says in words, in lower case.
pub(super) fn words(evidence: &Evidence<'_>, text: Option<&str>) -> String {
    let mut words = text.unwrap_or_default().to_ascii_lowercase();
    for more in [evidence.reason.unwrap_or_default(), &evidence.text()] {
        words.push('\n');
        words.push_str(&more.to_ascii_lowercase());
    }
    words
}

/// Codes that say that nothing went wrong.
fn is_no_error(code: &str) -> bool {
    matches!(code, "" | "0" | "200" | "ok" | "OK" | "none" | "false")
}
