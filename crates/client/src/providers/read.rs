//! Reads a provider's file, strictly: an unknown key, a misspelt slug, two rules that can't be told apart are problems, all
//! of them told in one run with their lines.

use std::time::Duration;

use outgate_faults::{Dialect, Retry, Slug};

use crate::classify::{Provenance, Scope, Way};
use crate::providers::rule::{Basis, Rule, plain_code};
use crate::providers::table::{Table, nearest, open};
use crate::providers::{Absent, Own, Provider, Providers, Tunnel};

/// The most rules of one file: a table for people, not a database.
const MOST_RULES: usize = 1000;

/// The provider in a file. `known` are those that it may have as its `base`.
pub(super) fn provider(file: &str, text: &str, known: &Providers) -> Result<Provider, Vec<String>> {
    let (mut root, problems) = open(file, text);
    let name = root.required("name", name);
    let title = root.text("title", line);
    let source = root.required("source", line);
    let verified_on = root.required("verified_on", day);
    let thin = root.flag("thin");
    let hosts = root.list("hosts", host);
    let dialect = root.text("dialect", |name| {
        Dialect::builtin(name).ok_or_else(|| format!("no dialect{}", nearest(name, Dialect::BUILTIN.iter().copied())))
    });
    let check_url = root.text("check_url", line);
    let base = root.text("base", |name| {
        known.named(name).ok_or_else(|| format!("no provider{}", nearest(name, known.iter().map(Provider::name))))
    });
    let own = root.table("own").map(own).unwrap_or_default();
    let own = match base {
        Some(base) if own.is_empty() => base.own.clone(),
        _ => own,
    };
    let has_codes = !own.codes.is_empty() || !own.proxy_status.is_empty();
    let mut rules: Vec<Rule> = Vec::new();
    let tables = root.tables("rule");
    if tables.len() > MOST_RULES {
        root.wrong(root.line(), "rule", format_args!("more than {MOST_RULES} rules"));
    }
    for table in tables.into_iter().take(MOST_RULES) {
        let at = table.line();
        let Some(rule) = rule(table) else { continue };
        if !rule.codes.is_empty() && !has_codes {
            problems.add(at, "rule.code: [own] names no `codes` and no `proxy_status` to read a code from");
        }
        if let Some(other) = rules.iter().position(|other| other.looks_like(&rule)) {
            problems.add(at, format_args!("rule: looks at the same as rule {} ({})", other + 1, rule.sign()));
        }
        rules.push(rule);
    }
    if let Some(base) = base {
        let kept = base.rules.iter().filter(|old| !rules.iter().any(|rule| rule.looks_like(old)));
        let kept: Vec<Rule> = kept.cloned().collect();
        rules.extend(kept);
    }
    let dialect = dialect.or_else(|| base.and_then(|base| base.dialect.clone()));
    root.finish();
    let found = problems.report();
    let (Some(name), Some(source), Some(verified_on), []) = (name, source, verified_on, &found[..]) else {
        return Err(found);
    };
    let title = title.unwrap_or_else(|| name.clone());
    Ok(Provider { name, title, source, verified_on, thin, hosts, dialect, own, check_url, rules })
}

fn own(mut table: Table<'_>) -> Own {
    let codes = table.list("codes", field);
    let texts = table.list("texts", field);
    let mut headers = table.list("headers", field);
    headers.extend(codes.iter().chain(&texts).cloned());
    headers.dedup();
    let servers = table.list("servers", |text| line(text).map(|text| text.to_ascii_lowercase()));
    let proxy_status = table.list("proxy_status", line);
    let absent = table.text("absent", |word| match word {
        "origin" => Ok(Absent::Origin),
        "unknown" => Ok(Absent::Unknown),
        _ => Err("is \"origin\" or \"unknown\""),
    });
    let tunnel = table.text("tunnel", |word| match word {
        "opened" => Ok(Tunnel::Opened),
        "carried" => Ok(Tunnel::Carried),
        _ => Err("is \"opened\" or \"carried\""),
    });
    table.finish();
    Own { headers, codes, texts, servers, proxy_status, absent: absent.unwrap_or_default(), tunnel: tunnel.unwrap_or_default() }
}

impl Own {
    fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.servers.is_empty() && self.proxy_status.is_empty()
    }
}

fn rule(mut table: Table<'_>) -> Option<Rule> {
    let at = table.line();
    let codes = table.list("code", |text| line(text).map(|text| plain_code(&text)));
    let texts = table.list("text", |text| line(text).map(|text| text.to_ascii_lowercase()));
    let statuses = table.list("status", status);
    let hosts = table.list("at", host);
    let ways = table.list("way", |word| known(word, Way::parse, Way::ALL.iter().map(|way| way.name())));
    let slug = table.required("slug", |word| known(word, Slug::parse, Slug::ALL.iter().map(|slug| slug.name())));
    let others = table.list("or", |word| known(word, Slug::parse, Slug::ALL.iter().map(|slug| slug.name())));
    let retry = table.text("retry", |word| known(word, Retry::parse, Retry::ALL.iter().map(|retry| retry.name())));
    let scope = table.text("scope", |word| known(word, Scope::parse, Scope::ALL.iter().map(|scope| scope.name())));
    let provenance = table.text("said_by", |word| known(word, Provenance::parse, Provenance::ALL.iter().map(|by| by.name())));
    let wait = table.text("wait", seconds);
    let basis = table.required("basis", |word| known(word, Basis::parse, Basis::ALL.iter().map(|basis| basis.name())));
    let source = table.text("source", line);
    let means = table.required("means", line);
    if codes.is_empty() && texts.is_empty() && statuses.is_empty() {
        table.wrong(at, "", "looks at nothing: give it a code, a text or a status");
    }
    table.finish();
    let (slug, basis, means) = (slug?, basis?, means?);
    Some(Rule { codes, texts, statuses, at: hosts, ways, slug, others, retry, scope, provenance, wait, basis, source, means })
}

/// One of a closed set of words.
fn known<'a, T>(word: &str, parse: fn(&str) -> Option<T>, all: impl Iterator<Item = &'a str>) -> Result<T, String> {
    parse(word).ok_or_else(|| format!("'{}' is none{}", short(word), nearest(word, all)))
}

fn name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if text.is_empty() || text.len() > 40 || !text.bytes().all(plain) {
        return Err("is 1 to 40 lower-case letters, digits, '.', '_' and '-'".to_owned());
    }
    Ok(text.to_owned())
}

fn line(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 300 || text.chars().any(char::is_control) {
        return Err("is one line of 1 to 300 bytes".to_owned());
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    if text.is_empty() || text.len() > 253 || text.starts_with('.') || text.ends_with('.') || !text.bytes().all(plain) {
        return Err("is a host name without scheme, port and wildcard".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

fn field(text: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(text.as_bytes()).map_err(|_| "is the name of a header field".to_owned())?;
    Ok(name.as_str().to_owned())
}

fn status(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|status| (100..1000).contains(status)).ok_or_else(|| "is a status from 100 to 999".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').and_then(|number| number.parse().ok()).filter(|number| (1..=86_400).contains(number));
    number.map(Duration::from_secs).ok_or_else(|| "is seconds from \"1s\" to \"86400s\"".to_owned())
}

fn day(text: &str) -> Result<String, String> {
    text.parse::<jiff::civil::Date>().map(|day| day.to_string()).map_err(|_| "is a day such as 2026-03-01".to_owned())
}

fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::provider;
    use crate::providers::Providers;

    const GOOD: &str = r#"
name = "mine"
source = "our own wiki"
verified_on = "2026-03-01"
hosts = ["proxy.corp.example"]
[own]
codes = ["X-Corp-Error"]
absent = "origin"
[[rule]]
code = "quota-gone"
slug = "bandwidth_exhausted"
basis = "documented"
means = "the month's volume is used up"
"#;

    #[test]
    fn a_good_file() {
        let provider = provider("mine.toml", GOOD, &Providers::default()).expect("nothing is wrong with it");
        assert_eq!((provider.name(), provider.title(), provider.rules().len()), ("mine", "mine", 1));
        assert!(provider.promises_marks() && !provider.opens_tunnels());
        assert_eq!(provider.rules()[0].sign(), "code quota_gone");
    }

    #[test]
    fn every_problem_in_one_run_with_its_line() {
        let bad = r#"
name = "Mine"
sorce = "x"
verified_on = "yesterday"
hosts = ["https://x"]
[own]
abscent = "origin"
[[rule]]
status = 99
slug = "bandwith_exhausted"
basis = "documented"
means = "x"
[[rule]]
slug = "no_exit"
basis = "rumour"
means = "x"
retry = "sometimes"
[[rule]]
code = "a"
slug = "no_exit"
basis = "documented"
means = "x"
[[rule]]
code = "A"
slug = "rate_limited"
basis = "documented"
means = "x"
"#;
        let problems = provider("f", bad, &Providers::default()).expect_err("it is bad");
        let expected = [
            "f:1: source: is missing",
            "f:2: name: is 1 to 40 lower-case letters, digits, '.', '_' and '-'",
            "f:3: sorce: no such key; did you mean source?",
            "f:4: verified_on: is a day such as 2026-03-01",
            "f:5: hosts: is a host name without scheme, port and wildcard",
            "f:7: own.abscent: no such key; did you mean absent?",
            "f:9: rule.status: is a status from 100 to 999",
            "f:10: rule.slug: 'bandwith_exhausted' is none; did you mean bandwidth_exhausted?",
            "f:13: rule.: looks at nothing: give it a code, a text or a status",
            "f:15: rule.basis: 'rumour' is none",
            "f:17: rule.retry: 'sometimes' is none",
            "f:18: rule.code: [own] names no `codes` and no `proxy_status` to read a code from",
            "f:23: rule.code: [own] names no `codes` and no `proxy_status` to read a code from",
            "f:23: rule: looks at the same as rule 1 (code a)",
        ];
        for line in expected {
            assert!(problems.iter().any(|problem| problem == line), "{line} is not among\n{}", problems.join("\n"));
        }
    }

    #[test]
    fn a_file_that_is_no_toml() {
        let problems = provider("f", "name = \nsource = [", &Providers::default()).expect_err("it is none");
        assert!(!problems.is_empty() && problems.iter().all(|problem| problem.starts_with("f:")), "{problems:?}");
    }

    #[test]
    fn a_users_file_builds_on_another_and_replaces_its_namesake() {
        let providers = Providers::default().with_file("mine.toml", GOOD).expect("good");
        let more = "name = \"more\"\nsource = \"x\"\nverified_on = \"2026-03-01\"\nbase = \"mine\"\n\
                    [[rule]]\ncode = \"quota_gone\"\nslug = \"no_exit\"\nbasis = \"seen\"\nmeans = \"x\"\n\
                    [[rule]]\nstatus = 429\nslug = \"rate_limited\"\nbasis = \"seen\"\nmeans = \"x\"\n";
        let providers = providers.with_file("more.toml", more).expect("good");
        let provider = providers.named("more").expect("it is there");
        assert_eq!(provider.rules().len(), 2, "its own rule stands in the place of the base's");
        assert_eq!(providers.clone().with_file("mine.toml", GOOD).expect("good").iter().count(), 2);
    }
}
