//! Step 2: does the proxy take these credentials, from this address? With the mistakes that people make.

use std::net::IpAddr;

use outgate_client::classify::{Breakage, Confidence, Manner, Phase as At, Way};
use outgate_client::connect::{ConnectReply, Credentials, SocksRefusal, Upstream};
use outgate_faults::{Layer, Slug};

use crate::advice;
use crate::blame::{Speaker, Suspect, names_itself};
use crate::chart::Chart;
use crate::checks::Check;
use crate::diagnosis::{Diagnosis, Whose};
use crate::exchange::{self, Ended, Exchange};
use crate::proxy_url::decoded;
use crate::report::{Finding, State};
use crate::site::Login;

pub(crate) async fn credentials(chart: &mut Chart<'_>) -> Finding {
    let Some(upstream) = chart.upstream().cloned() else {
        return Finding::new(Check::Credentials, State::Skipped, "there is no proxy to ask");
    };
    let neutral = exchange::through(&upstream, &chart.case.neutral, &chart.means).await;
    let finding = judge(chart, &upstream, &neutral).await;
    chart.neutral = Some(neutral);
    finding
}

async fn judge(chart: &Chart<'_>, upstream: &Upstream, neutral: &Exchange) -> Finding {
    let bad = |says: String| Finding::new(Check::Credentials, State::Bad, says);
    let suspect = Suspect { chart, upstream, site: &chart.case.neutral, proxied: neutral, direct: chart.neutral_direct.as_ref() };
    let (speaker, verdict) = suspect.verdict();
    if login_refused(chart, upstream, neutral) {
        let finding = bad(neutral.words());
        // A proxy that names the reason has said more than experiments could show.
        if let Some(slug) = verdict.slug
            && names_itself(&verdict)
            && slug.row().layer != Layer::Origin
        {
            let sentence = format!("the proxy refuses the login: {}", verdict.sentence());
            let diagnosis = Diagnosis::fault(slug, verdict.confidence, sentence);
            return sourced(finding, neutral).points_to(advice::fitting(diagnosis, neutral));
        }
        return match upstream.credentials() {
            None => missing(chart, neutral, finding),
            Some(credentials) => wrong(chart, upstream, credentials, neutral, finding).await,
        };
    }
    // A proxy that says why is believed; one that says no to everything has something against who asks.
    if speaker != Speaker::Target && !names_itself(&verdict) && everything_refused(chart, upstream, neutral).await {
        return source_denied(bad(neutral.words()), neutral, &verdict.sentence());
    }
    // What the account may not do at all shows in the first request as well.
    if let Some(slug) = verdict.slug
        && speaker == Speaker::Proxy
        && names_itself(&verdict)
        && matches!(slug.row().layer, Layer::Auth | Layer::Plan | Layer::Targeting)
    {
        let sentence = format!("the proxy takes the login, and refuses: {}", verdict.sentence());
        let diagnosis = Diagnosis::fault(slug, verdict.confidence, sentence);
        return sourced(bad(neutral.words()), neutral).points_to(advice::fitting(diagnosis, neutral));
    }
    accepted(chart, upstream)
}

fn accepted(chart: &Chart<'_>, upstream: &Upstream) -> Finding {
    let asks = chart.hello.as_ref().is_some_and(asks_for_login);
    let (state, says) = match (upstream.credentials().is_some(), asks) {
        (true, true) => (State::Good, "accepted"),
        (true, false) => (State::Remark, "not asked for: the proxy takes requests without them, too"),
        (false, _) => (State::Good, "none needed from this address"),
    };
    let finding = Finding::new(Check::Credentials, state, says);
    let on_target = chart.case.target.as_ref().is_some_and(|target| target.login == Login::Present);
    if on_target {
        let line =
            "the target's URL has a user name and password, which are not sent: they would be the target's, not the proxy's";
        return Finding { state: State::Remark, ..finding }.detail(line);
    }
    finding
}

/// 407, or what a SOCKS5 server says in its place. Some proxies say 401 to wrong credentials, in the target's stead.
fn login_refused(chart: &Chart<'_>, upstream: &Upstream, exchange: &Exchange) -> bool {
    match &exchange.ended {
        Ended::Socks(refusal) => matches!(refusal, SocksRefusal::Method | SocksRefusal::Login(_) | SocksRefusal::TooLong),
        Ended::Refused(reply) => matches!(reply.status, 401 | 407),
        Ended::Answered(reply) if exchange.way == Some(Way::Forwarded) => {
            let asked = chart.hello.as_ref().is_some_and(asks_for_login);
            reply.status == 407 || (reply.status == 401 && asked && upstream.credentials().is_some())
        }
        Ended::Answered(_) | Ended::Broken(_) | Ended::TargetName(_) => false,
    }
}

/// Whether the answer to a request without credentials asks for them.
fn asks_for_login(hello: &Exchange) -> bool {
    match &hello.ended {
        Ended::Answered(reply) | Ended::Refused(reply) => reply.status == 407,
        Ended::Socks(refusal) => *refusal == SocksRefusal::Method,
        Ended::Broken(_) | Ended::TargetName(_) => false,
    }
}

fn missing(chart: &Chart<'_>, neutral: &Exchange, finding: Finding) -> Finding {
    let proxy = chart.proxy();
    if chart.case.target.as_ref().is_some_and(|target| target.login == Login::Present) {
        let sentence = format!("the user name and password are in the target's URL, and the proxy {proxy} wants them for itself");
        return finding.points_to(Diagnosis::own(
            "credentials_on_target",
            Some(Slug::CredentialsMissing),
            Whose::You,
            sentence,
            "Move them into the proxy's URL: http://USER:PASSWORD@HOST:PORT. What stands in the target's URL is sent to the target, \
             as Authorization, and the proxy never looks at it.",
        ));
    }
    if let Some(diagnosis) = no_basic(neutral) {
        return finding.points_to(diagnosis);
    }
    let sentence = format!("the proxy {proxy} wants credentials, and its URL has none");
    let diagnosis = Diagnosis::fault(Slug::CredentialsMissing, Confidence::Certain, sentence).advising(
        "Put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT, with special characters percent-encoded. If the proxy knows you \
         by your address, it has changed: have the new one put on its list.",
    );
    sourced(finding, neutral).points_to(diagnosis)
}

/// A proxy that wants a way of logging in that a URL can't say.
fn no_basic(neutral: &Exchange) -> Option<Diagnosis> {
    let reply = neutral.reply()?;
    let offered: Vec<String> = reply
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authenticate"))
        .filter_map(|(_, value)| value.split_whitespace().next().map(str::to_owned))
        .collect();
    if offered.is_empty() || offered.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
        return None;
    }
    let sentence = format!("the proxy takes {} and no Basic credentials, which is what a URL can say", offered.join(", "));
    Some(Diagnosis::own(
        "login_unsupported",
        Some(Slug::CredentialsMalformed),
        Whose::Operator,
        sentence,
        "Ask the operator for Basic credentials, or put a local proxy that speaks the other scheme in between.",
    ))
}

/// Credentials that are refused: one thing is changed at a time, and the first change that helps names the mistake.
async fn wrong(chart: &Chart<'_>, upstream: &Upstream, given: &Credentials, neutral: &Exchange, finding: Finding) -> Finding {
    if let Some(diagnosis) = no_basic(neutral) {
        return finding.points_to(diagnosis);
    }
    for variant in variants(given, &chart.case.proxy) {
        let changed = upstream.clone().with_credentials(variant.credentials);
        let exchange = exchange::through(&changed, &chart.case.neutral, &chart.means).await;
        if !login_refused(chart, &changed, &exchange) && !matches!(exchange.ended, Ended::Broken(_)) {
            let (name, sentence, next) = variant.mistake;
            let diagnosis = Diagnosis::own(name, Some(Slug::CredentialsMalformed), Whose::You, sentence, next);
            return finding.detail(sentence).points_to(diagnosis);
        }
    }
    let sentence = format!("the proxy {} refuses these credentials", chart.proxy());
    let colon = given.expose_password().contains(':');
    let hint = if colon { " If the user name itself has a colon, write it as %3A." } else { "" };
    let next = format!(
        "Copy user name and password again from where they are managed, and see there whether they are still valid and whether this \
         machine's address is allowed. In the proxy's URL, @ : / # and % must be percent-encoded, once.{hint} Don't retry unchanged: \
         it is refused again, and many proxies lock out who guesses."
    );
    sourced(finding, neutral).points_to(Diagnosis::fault(Slug::CredentialsWrong, Confidence::Likely, sentence).advising(next))
}

/// Other credentials to try, and what it means if they are taken: name, sentence, next.
struct Variant {
    credentials: Option<Credentials>,
    mistake: (&'static str, &'static str, &'static str),
}

/// What the person may have meant, the likeliest first. At most three: proxies lock out who guesses.
fn variants(given: &Credentials, written: &str) -> Vec<Variant> {
    let (user, password) = (given.expose_user(), given.expose_password());
    let mut variants = Vec::new();
    let again = (decoded(user), decoded(password));
    if (again.0.as_str(), again.1.as_str()) != (user, password) {
        variants.push(Variant {
            credentials: Some(Credentials::new(again.0, again.1)),
            mistake: (
                "encoded_twice",
                "user name or password is percent-encoded twice: decoded once more, they are accepted",
                "Encode them once: %40 for @, not %2540. Some programs encode by themselves and want the plain password.",
            ),
        });
    }
    if let Some((user, password)) = as_written(written)
        && (decoded(user) != user || decoded(password) != password)
    {
        variants.push(Variant {
            credentials: Some(Credentials::new(user, password)),
            mistake: (
                "percent_not_encoded",
                "the password has a % of its own that looks like an encoding: sent as it is written, it is accepted",
                "Write % as %25 in the proxy's URL.",
            ),
        });
    }
    let trimmed = (user.trim(), password.trim());
    if trimmed != (user, password) {
        variants.push(Variant {
            credentials: Some(Credentials::new(trimmed.0, trimmed.1)),
            mistake: (
                "credentials_with_blanks",
                "there are blanks or a line end around user name or password: without them they are accepted",
                "Take them away where the credentials are kept; a file that is read whole often brings its line end along.",
            ),
        });
    }
    variants
}

/// User name and password as they stand in the URL.
fn as_written(url: &str) -> Option<(&str, &str)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@')?.0.split_once(':')
}

/// Whether the proxy refuses whatever it is asked from here.
async fn everything_refused(chart: &Chart<'_>, upstream: &Upstream, neutral: &Exchange) -> bool {
    let Some(first) = denial(neutral) else { return false };
    if chart.hello.as_ref().and_then(denial) != Some(first) {
        return false;
    }
    match &chart.case.target {
        None => true,
        Some(target) => denial(&exchange::through(upstream, target, &chart.means).await) == Some(first),
    }
}

/// A refusal that an allowlist might be behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Denial {
    Forbidden,
    Ruleset,
    Closed,
}

fn denial(exchange: &Exchange) -> Option<Denial> {
    match &exchange.ended {
        Ended::Refused(reply) => (reply.status == 403).then_some(Denial::Forbidden),
        Ended::Answered(reply) if exchange.way == Some(Way::Forwarded) => (reply.status == 403).then_some(Denial::Forbidden),
        Ended::Socks(SocksRefusal::Reply(2)) => Some(Denial::Ruleset),
        Ended::Broken(Breakage { phase: At::Ask, manner: Manner::Closed | Manner::Reset }) => Some(Denial::Closed),
        Ended::Answered(_) | Ended::Socks(_) | Ended::Broken(_) | Ended::TargetName(_) => None,
    }
}

fn source_denied(finding: Finding, neutral: &Exchange, said: &str) -> Finding {
    let (address, whose_word) = match (seen_address(neutral), neutral.own) {
        (Some(seen), _) => (seen.to_string(), "as the proxy saw it"),
        (None, Some(own)) => (own.to_string(), "as this machine knows it; behind NAT the proxy sees another"),
        (None, None) => ("this machine's".to_owned(), "unknown here"),
    };
    let sentence = format!("the proxy refuses everything that is asked from here ({said}): the address {address} is not allowed");
    let next = format!(
        "Have {address} ({whose_word}) put on the proxy's allowlist, or send from an address that is on it. A VPN, a new line or a new \
         machine changes it silently."
    );
    finding
        .detail(format!("your address: {address} ({whose_word})"))
        .points_to(Diagnosis::fault(Slug::SourceDenied, Confidence::Likely, sentence).advising(next))
}

/// Adds the address that the proxy says it saw.
fn sourced(finding: Finding, neutral: &Exchange) -> Finding {
    match seen_address(neutral) {
        Some(address) => finding.detail(format!("the proxy saw your address as {address}")),
        None => finding,
    }
}

/// An address in a refusal that is nobody's but the client's: not the proxy's, not the target's.
fn seen_address(exchange: &Exchange) -> Option<IpAddr> {
    exchange.reply().and_then(|reply| address_in(reply, exchange.peer.map(|peer| peer.ip())))
}

fn address_in(reply: &ConnectReply, proxy: Option<IpAddr>) -> Option<IpAddr> {
    const SIGNS: &[&str] =
        &["your ip", "source address", "client ip", "clientip", "whitelist", "allowlist", "allow-list", "your address"];
    let body = String::from_utf8_lossy(&reply.body);
    let texts = reply.headers.iter().map(|(_, value)| value.as_str()).chain([reply.reason.as_str(), body.as_ref()]);
    for text in texts {
        let lower = text.to_ascii_lowercase();
        if !SIGNS.iter().any(|sign| lower.contains(sign)) {
            continue;
        }
        let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
        let found = words.filter_map(|word| word.trim_matches(['.', ':']).parse::<IpAddr>().ok()).find(|ip| Some(*ip) != proxy);
        if found.is_some() {
            return found;
        }
    }
    // On one machine proxy and client have the same address.
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_a_proxy_saw() {
        let reply = |headers: &[(&str, &str)], body: &str| ConnectReply {
            status: 407,
            reason: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
            oddities: Vec::new(),
        };
        let seen = Some("203.0.113.9".parse().expect("an address"));
        let cases = [
            (reply(&[], "the source address 203.0.113.9 is not on this key's allowlist"), seen),
            (reply(&[("X-Brd-Err-Msg", "zone request from 203.0.113.9 is not whitelisted")], ""), seen),
            (reply(&[], "Your IP: 203.0.113.9."), seen),
            (reply(&[], "served by 203.0.113.9"), None),
            (reply(&[], "your ip is on no list"), None),
        ];
        for (reply, expected) in cases {
            assert_eq!(address_in(&reply, None), expected, "{:?}", String::from_utf8_lossy(&reply.body));
        }
    }

    #[test]
    fn what_people_may_have_meant() {
        let names = |written: &str| -> Vec<&str> {
            let url = crate::proxy_url::ProxyUrl::read(written).expect("readable");
            let given = url.upstream.credentials().expect("credentials").clone();
            variants(&given, written).iter().map(|variant| variant.mistake.0).collect()
        };
        assert_eq!(names("http://u:p@h:1"), Vec::<&str>::new());
        assert_eq!(names("http://u:p%2540@h:1"), ["encoded_twice", "percent_not_encoded"]);
        assert_eq!(names("http://u:p%40@h:1"), ["percent_not_encoded"]);
        assert_eq!(names("http://u:p%0A@h:1"), ["percent_not_encoded", "credentials_with_blanks"]);
    }
}
