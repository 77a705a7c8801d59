//! What support needs to know of one request, in a form that can be pasted: no secrets, and the client's address masked.

use std::fmt::{self, Write};
use std::net::IpAddr;

use outgate_faults::page;
use serde::Serialize;

use crate::filter::host_of;
use crate::record::{Milliseconds, Record};

/// How much a report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// For anybody: the client's address is masked, and what only the operator may know is left out.
    Public,
    /// For the operator.
    Full,
}

/// A report of one request.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What happened, as far as it is shown.
    pub request: Record,
    /// What the client was told.
    pub told: Told,
    /// What the catalogue says of it; none of a request that ended well.
    pub explanation: Option<Explanation>,
}

/// What the client was told.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// In words: `502`, `SOCKS5 reply 04`, nothing.
    pub answer: String,
    /// The body; for SOCKS5, which has none, and for a tunnel that broke, what would have been said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What the catalogue says of a fault.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Its name.
    pub slug: &'static str,
    /// Where it went wrong.
    pub layer: &'static str,
    /// What that layer is.
    pub layer_meaning: &'static str,
    /// Whether trying again helps.
    pub retry: &'static str,
    /// How.
    pub retry_meaning: &'static str,
    /// Who can do something about it.
    pub fixer: &'static str,
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub fix: &'static str,
}

impl Report {
    /// The report of a request.
    pub fn of(record: &Record, privacy: Privacy) -> Self {
        let request = match privacy {
            Privacy::Full => record.clone(),
            Privacy::Public => masked(record),
        };
        Self { told: told(&request), explanation: explanation(&request), request }
    }
}

fn explanation(record: &Record) -> Option<Explanation> {
    let row = page(record.slug()?).row;
    Some(Explanation {
        slug: record.slug()?.name(),
        layer: row.layer.name(),
        layer_meaning: row.layer.meaning(),
        retry: row.retry.name(),
        retry_meaning: row.retry.meaning(),
        fixer: row.fixer.meaning(),
        cause: row.cause,
        fix: row.fix,
    })
}

fn told(record: &Record) -> Told {
    let body = record.told.clone().or_else(|| record.sentence.clone());
    let broken = matches!(record.ended_by.as_deref(), Some("target_lost" | "cut"));
    let answer = match (record.protocol.as_str(), record.status, record.slug()) {
        ("socks5", _, Some(slug)) if !broken => {
            format!("SOCKS5 reply {:02x}, which has no body; it would have been", page(slug).socks5)
        }
        ("socks5", _, _) => "SOCKS5 reply 00".to_owned(),
        (_, Some(status), _) => status.to_string(),
        (_, None, _) => "nothing: it got no answer".to_owned(),
    };
    let after =
        if broken { ", then its connection was reset: nothing can be said in the middle; it would have been" } else { "" };
    Told { answer: answer + after, body }
}

/// The record without what is nobody else's business: the client's address, wherever it stands, and the operator's detail.
fn masked(record: &Record) -> Record {
    let mask = mask(&record.client);
    // Where the target is the client itself, its address is no secret: the report is of that target.
    let is_target = host_of(&record.target) == record.client;
    let without = |text: &Option<String>| match text {
        Some(text) if !is_target => Some(text.replace(&record.client, &mask)),
        text => text.clone(),
    };
    Record {
        client: mask.clone(),
        sentence: without(&record.sentence),
        told: without(&record.told),
        detail: None,
        ..record.clone()
    }
}

/// The network that an address is in, wide enough to be no person's.
fn mask(client: &str) -> String {
    match client.parse() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, ..] = ip.octets();
            format!("{a}.{b}.x.x")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, ..] = ip.segments();
            format!("{a:x}:{b:x}::x")
        }
        Err(_) => "x".to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, told, explanation } = self;
        writeln!(f, "Outgate: report of request {}\n", request.request_id)?;
        let mut field = |name: &str, value: &str| match value {
            "" => Ok(()),
            value => writeln!(f, "  {name:<11} {}", printable(value)),
        };
        let layer =
            request.layer.as_ref().map(|layer| format!(" (layer {layer}, at stage {})", request.stage)).unwrap_or_default();
        field("time", &format!("{:.3} (UTC)", request.time))?;
        field("key", request.key.as_deref().unwrap_or("none: nobody was identified"))?;
        field("client", &format!("{} over {}", request.client, request.protocol))?;
        field("asked", format!("{} {}", request.method, request.target).trim())?;
        field("outcome", &format!("{}{layer}", request.outcome))?;
        field("told", &told.body.as_ref().map_or_else(|| told.answer.clone(), |body| format!("{}: {body}", told.answer)))?;
        field("way", &way(request))?;
        field("connected", request.address.as_deref().unwrap_or_default())?;
        field("ended by", request.ended_by.as_deref().unwrap_or_default())?;
        field("bytes", &format!("{} up, {} down", request.bytes_up, request.bytes_down))?;
        field("attempts", &request.attempts.to_string())?;
        field("trace", request.trace_id.as_deref().unwrap_or_default())?;
        field("detail", request.detail.as_deref().unwrap_or_default())?;
        writeln!(f, "\nTimes in milliseconds\n\n  {}", times(&request.ms))?;
        if !request.tries.is_empty() {
            f.write_str("\nTries\n\n")?;
        }
        for (number, one) in request.tries.iter().enumerate() {
            let by = one.exit.as_deref().or(one.proxy.as_deref()).unwrap_or("direct");
            let status = one.status.map(|status| format!(" {status}")).unwrap_or_default();
            writeln!(f, "  {}. {by}: {}{status}, begun at {}, took {}", number + 1, one.outcome, one.at, one.ms)?;
        }
        match explanation {
            Some(explanation) => explanation.fmt(f),
            None if request.is_ok() => {
                f.write_str("\nNothing went wrong on the way; what the target answered is the target's.\n")
            }
            None => writeln!(f, "\nThis version has no page for {}.", printable(&request.outcome)),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhy\n")?;
        writeln!(f, "  {:<11} {}: {}", "layer", self.layer, self.layer_meaning)?;
        writeln!(f, "  {:<11} {}: {}", "retry", self.retry, self.retry_meaning)?;
        writeln!(f, "  {:<11} {}", "who fixes", self.fixer)?;
        writeln!(f, "\n{}\n\n{}", wrapped("Cause: ", self.cause), wrapped("Fix: ", self.fix))
    }
}

fn way(request: &Record) -> String {
    let parts = [
        ("pool", &request.pool),
        ("exit", &request.exit),
        ("linked to", &request.gateway),
        ("proxy", &request.proxy),
        ("country", &request.country),
        ("session", &request.session),
        ("moved from", &request.session_moved),
    ];
    let parts: Vec<String> = parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
    parts.join(", ")
}

fn times(ms: &Milliseconds) -> String {
    let steps = [
        ("queue", Some(ms.queue)),
        ("dns", Some(ms.dns)),
        ("connect", Some(ms.connect)),
        ("tls", ms.tls),
        ("setup", ms.setup),
        ("first byte", ms.first_byte),
        ("total", Some(ms.total)),
    ];
    let steps: Vec<String> = steps.iter().filter_map(|(name, ms)| Some(format!("{name} {}", (*ms)?))).collect();
    steps.join(" · ")
}

/// Names come from clients and agents: a control character must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A paragraph at a width that reads well.
fn wrapped(begin: &str, text: &str) -> String {
    let mut out = format!("  {begin}");
    let mut width = out.chars().count();
    for (number, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if number > 0 && width + 1 + length > 98 {
            out.push_str("\n  ");
            width = 2;
        } else if number > 0 {
            out.push(' ');
            width += 1;
        }
        // Writing to a text can't fail.
        let _written = out.write_str(word);
        width += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let line = r#"{"v":1,"time":"2026-11-21T18:00:00.123Z","request_id":"0123","key":"k1","client":"192.0.2.77",
            "protocol":"http","method":"CONNECT","target":"example.com:443","pool":"residential","exit":"e2","outcome":"source_denied",
            "layer":"auth","stage":"identify","status":407,"bytes_up":0,"bytes_down":0,"attempts":2,
            "ms":{"queue":0.25,"dns":0.0,"connect":0.0,"setup":1.5,"total":1.5},
            "tries":[{"exit":"e1","outcome":"exit_refused","at":0.25,"ms":1.0},{"exit":"e2","outcome":"ok","at":1.25,"ms":0.25}],
            "sentence":"192.0.2.77 may not","detail":"the list is 10.0.0.0/8"}"#;
        Record::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_report_for_anybody_has_no_address_and_no_detail() {
        let public = Report::of(&record(), Privacy::Public);
        for text in [public.to_string(), serde_json::to_string(&public).unwrap()] {
            assert!(!text.contains("192.0.2.77") && !text.contains("10.0.0.0/8"), "{text}");
            for part in ["192.0.x.x may not", "k1", "example.com:443", "source_denied", "exit_refused", "0123"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        let full = Report::of(&record(), Privacy::Full).to_string();
        assert!(full.contains("192.0.2.77 may not") && full.contains("10.0.0.0/8"), "{full}");
        assert_eq!(mask("2001:db8:1:2::3"), "2001:db8::x");
    }

    #[test]
    fn it_reads_well() {
        let text = Report::of(&record(), Privacy::Public).to_string();
        let begin = "\
Outgate: report of request 0123

  time        2026-11-21T18:00:00.123Z (UTC)
  key         k1
  client      192.0.x.x over http
  asked       CONNECT example.com:443
  outcome     source_denied (layer auth, at stage identify)
  told        407: 192.0.x.x may not
  way         pool residential, exit e2
  bytes       0 up, 0 down
  attempts    2

Times in milliseconds

  queue 0.25 · dns 0 · connect 0 · setup 1.5 · total 1.5

Tries

  1. e1: exit_refused, begun at 0.25, took 1
  2. e2: ok, begun at 1.25, took 0.25

Why
";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }

    #[test]
    fn what_the_client_was_told_depends_on_what_it_spoke() {
        let told = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            let Told { answer, body } = Report::of(&record, Privacy::Full).told;
            format!("{answer}|{}", body.unwrap_or_default())
        };
        assert_eq!(told(&|r| r.told = Some("Access denied".into())), "407|Access denied");
        let socks = |r: &mut Record| (r.protocol, r.status) = ("socks5".into(), None);
        assert_eq!(told(&socks), "SOCKS5 reply 02, which has no body; it would have been|192.0.2.77 may not");
        let broken = |r: &mut Record| (r.status, r.ended_by) = (Some(200), Some("target_lost".into()));
        assert!(told(&broken).starts_with("200, then its connection was reset"));
        let ok = |r: &mut Record| (r.status, r.outcome, r.sentence, r.layer) = (Some(200), "ok".into(), None, None);
        assert_eq!(told(&ok), "200|");
        assert_eq!(told(&|r| r.status = None), "nothing: it got no answer|192.0.2.77 may not");
    }

    #[test]
    fn a_name_from_outside_moves_no_cursor() {
        let mut record = record();
        record.target = "\u{1b}[2Jexample.com:443".into();
        assert!(!Report::of(&record, Privacy::Public).to_string().contains('\u{1b}'));
    }
}
