//! What an answer means when a proxy said it that nobody knows.

use outgate_faults::{Slug, raise};

use crate::classify::{Confidence, Evidence, Provenance, Verdict, Way, evidence, foreign};
use crate::providers::{Matched, Providers, Sent};

/// How `Server` begins where a web server answers a CONNECT with its own error page. Some of them can be proxies, and then
/// their refusals are other statuses.
const WEB_SERVERS: &[&str] = &["nginx", "apache", "microsoft-iis", "cloudflare", "caddy", "litespeed", "openresty", "lighttpd"];

/// What a proxy means by its answer. `doubt` is how sure it is that a proxy said it.
pub(crate) fn said(evidence: &Evidence<'_>, status: u16, doubt: Confidence, providers: &Providers) -> Verdict {
    if (200..300).contains(&status) {
        return Verdict::fine(Provenance::Proxy, format!("the proxy answered {status}"));
    }
    if let Some(why) = no_proxy(evidence, status) {
        return Verdict::raised(raise::proxy_not_a_proxy(evidence.proxy), Provenance::Transport, Confidence::Likely, why);
    }
    let said = evidence.line();
    let words = foreign::words(evidence, None);
    let verdict = match matched(evidence, status, &words, providers) {
        Some(matched) => foreign::by_rule(evidence, matched.rule, doubt, format!("a proxy's {}", matched.rule.sign())),
        None => {
            let slug = if status < 500 { Slug::MalformedRequest } else { Slug::Internal };
            let why = format!("{status} means nothing in particular to a proxy");
            Verdict::new(slug, Provenance::Proxy, Confidence::Guess, why)
        }
    };
    Verdict { said, ..verdict }
}

/// Whether words of a proxy's trade decided, not the status alone.
pub(crate) fn by_words(evidence: &Evidence<'_>, status: u16, providers: &Providers) -> bool {
    let words = foreign::words(evidence, None);
    evidence.line().is_some() && matched(evidence, status, &words, providers).is_some_and(|matched| matched.by_words)
}

fn matched<'a>(evidence: &Evidence<'_>, status: u16, words: &str, providers: &'a Providers) -> Option<Matched<'a>> {
    let host = evidence::host_of(evidence.proxy).to_ascii_lowercase();
    providers.generic()?.rule(&Sent { code: None, text: words, status: Some(status), host: &host, way: evidence.way })
}

/// Why whatever answered a CONNECT is no proxy.
fn no_proxy(evidence: &Evidence<'_>, status: u16) -> Option<String> {
    if status < 400 {
        return Some(format!("no proxy answers {status}: a log-in page of the network, or a web server"));
    }
    let server = evidence.headers.first("Server").unwrap_or_default().to_ascii_lowercase();
    let web = WEB_SERVERS.iter().find(|known| server.starts_with(**known))?;
    let refuses_the_method = matches!(status, 400 | 404 | 405 | 501) && evidence.way == Way::Connect;
    refuses_the_method.then(|| format!("a web server ({web}) answers CONNECT with {status}"))
}
