//! Step 5: the same request again and again. Does it fail sometimes, and with what do the failures go together?

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use outgate_client::classify::Confidence;
use outgate_client::connect::Upstream;
use outgate_faults::{Layer, Slug};
use serde::{Serialize, Serializer};

use crate::Progress;
use crate::blame::Suspect;
use crate::chart::Chart;
use crate::checks::Check;
use crate::diagnosis::{Diagnosis, Harm, Whose};
use crate::exchange::{self, Ended, Exchange};
use crate::proxy_url::printable;
use crate::report::{Finding, State, milliseconds, shown_time};
use crate::thresholds::{self, Phase};

/// Fields in which proxies name the exit they took.
const EXIT_FIELDS: &[&str] = &["X-Outgate-Exit", "X-ProxyMesh-IP", "X-Brd-Ip", "X-Crawlera-Slave", "X-Exit-Ip"];
/// The most requests that are made.
const MOST: u32 = 1000;
/// What to do about failures that become more.
const BLOCKED: &str = "The target or the proxy blocks this pattern step by step: send less at once, rotate more, honour Retry-After. \
                       Repeating it makes it last longer.";

/// One of the requests.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When it began.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// How long it took.
    #[serde(rename = "ms", serialize_with = "as_ms")]
    pub time: Duration,
    /// The exit, as far as anybody said.
    pub exit: Option<String>,
    /// `ok`, or the fault.
    pub outcome: String,
}

/// The failures of one exit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ByExit {
    /// Its name or address.
    pub exit: String,
    /// Requests that went through it.
    pub samples: u32,
    /// Those that failed.
    pub failed: u32,
}

/// With what failures go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Nothing failed.
    None,
    /// Everything failed.
    Always,
    /// Some exits fail always, the others never.
    ByExit,
    /// More and more of them fail.
    Rising,
    /// Nothing that shows in so few samples.
    Random,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct Sampling {
    /// How many were made.
    pub made: u32,
    /// How many failed.
    pub failed: u32,
    /// With what failures go together.
    pub pattern: Pattern,
    /// How often each outcome came, the most frequent first.
    pub outcomes: Vec<(String, u32)>,
    /// By exit, where the proxy names them.
    pub exits: Vec<ByExit>,
    /// The mean time of a request.
    #[serde(rename = "mean_ms", serialize_with = "as_ms")]
    pub mean: Duration,
    /// The slowest: with fewer than a hundred samples that is the 99th percentile.
    #[serde(rename = "p99_ms", serialize_with = "as_ms")]
    pub p99: Duration,
    /// Each of them.
    pub list: Vec<Sample>,
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    at.to_string().serialize(serializer)
}

fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    milliseconds(*time).serialize(serializer)
}

impl Sampling {
    /// What a list of samples shows.
    pub fn of(list: Vec<Sample>) -> Sampling {
        let made = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let failed = u32::try_from(list.iter().filter(|sample| sample.failed()).count()).unwrap_or(u32::MAX);
        let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
        let mut exits: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for sample in &list {
            *outcomes.entry(&sample.outcome).or_default() += 1;
            if let Some(exit) = &sample.exit {
                let counts = exits.entry(exit).or_default();
                counts.0 += 1;
                counts.1 += u32::from(sample.failed());
            }
        }
        let mut outcomes: Vec<(String, u32)> = outcomes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        outcomes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let exits: Vec<ByExit> =
            exits.into_iter().map(|(exit, (samples, failed))| ByExit { exit: exit.to_owned(), samples, failed }).collect();
        let mut times: Vec<Duration> = list.iter().map(|sample| sample.time).collect();
        times.sort_unstable();
        let p99 = times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        let mean = times.iter().sum::<Duration>() / made.max(1);
        let pattern = pattern(&list, failed, &exits);
        Sampling { made, failed, pattern, outcomes, exits, mean, p99, list }
    }

    /// The fault that came most often.
    fn worst(&self) -> Option<Slug> {
        self.outcomes.iter().find_map(|(outcome, _)| Slug::parse(outcome))
    }
}

impl Sample {
    fn failed(&self) -> bool {
        self.outcome != "ok"
    }
}

fn pattern(list: &[Sample], failed: u32, exits: &[ByExit]) -> Pattern {
    if failed == 0 {
        return Pattern::None;
    }
    if failed as usize == list.len() {
        return Pattern::Always;
    }
    // An exit that failed once may have had bad luck: twice at least, and no other exit fails at all.
    let bad = exits.iter().filter(|exit| exit.failed == exit.samples);
    let mixed = exits.iter().any(|exit| exit.failed > 0 && exit.failed < exit.samples);
    let named = exits.iter().map(|exit| exit.failed).sum::<u32>() == failed;
    if named && !mixed && bad.clone().any(|exit| exit.samples >= 2) {
        return Pattern::ByExit;
    }
    // Four failures at least, and at least three of four of them in the later half.
    let half = list.len() / 2;
    let late = list.iter().skip(half).filter(|sample| sample.failed()).count();
    if failed >= 4 && late * 4 >= failed as usize * 3 {
        return Pattern::Rising;
    }
    Pattern::Random
}

pub(crate) async fn repeated(chart: &mut Chart<'_>, progress: &mut dyn Progress) -> Finding {
    let Some(upstream) = chart.upstream().cloned() else {
        return Finding::new(Check::Repeated, State::Skipped, "nothing was asked");
    };
    let wanted = chart.case.samples.min(MOST);
    if wanted == 0 {
        return Finding::new(Check::Repeated, State::NotNeeded, "none wanted (--samples N)");
    }
    let mut list = Vec::new();
    for number in 0..wanted {
        progress.sampled(number, wanted);
        if number > 0 && !chart.case.interval.is_zero() {
            tokio::time::sleep(chart.case.interval).await;
        }
        let exchange = exchange::through(&upstream, chart.goal(), &chart.means).await;
        list.push(sample(chart, &upstream, &exchange));
    }
    let sampling = Sampling::of(list);
    let finding = judge(chart, &sampling);
    chart.sampling = Some(sampling);
    finding
}

fn sample(chart: &Chart<'_>, upstream: &Upstream, exchange: &Exchange) -> Sample {
    let direct = chart.timed().0;
    let suspect = Suspect { chart, upstream, site: chart.goal(), proxied: exchange, direct };
    let same_as_direct = direct.is_some_and(|direct| match (&direct.ended, &exchange.ended) {
        (Ended::Answered(direct), Ended::Answered(reply)) => direct.status == reply.status,
        _ => false,
    });
    let outcome = match suspect.verdict().1.slug {
        Some(slug) if !(same_as_direct && slug.row().layer == Layer::Origin) => match chart.refined {
            Some((called, known)) if called == slug => known.name().to_owned(),
            _ => slug.name().to_owned(),
        },
        _ => "ok".to_owned(),
    };
    Sample { at: exchange.at, time: exchange.time(Phase::Total).unwrap_or_default(), exit: exit(exchange), outcome }
}

/// The exit that was taken, by the proxy's fields or by what a target says about where a request came from.
fn exit(exchange: &Exchange) -> Option<String> {
    if let Some(named) = EXIT_FIELDS.iter().find_map(|name| exchange.field(name)) {
        return Some(printable(named).chars().take(64).collect());
    }
    let reply = match &exchange.ended {
        Ended::Answered(reply) if reply.status == 200 && reply.body.len() <= 1024 => reply,
        _ => return None,
    };
    let text = String::from_utf8_lossy(&reply.body);
    let seen = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => ["origin", "ip", "query"].iter().find_map(|name| json[name].as_str().map(str::to_owned))?,
        Err(_) => text.trim().to_owned(),
    };
    seen.parse::<std::net::IpAddr>().ok().map(|address| address.to_string())
}

fn judge(chart: &Chart<'_>, sampling: &Sampling) -> Finding {
    let Sampling { made, failed, .. } = sampling;
    let what: Vec<String> = sampling.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let says = format!("{} of {made} requests to {} failed ({})", failed, chart.goal(), what.join(", "));
    let state = if *failed == 0 { State::Good } else { State::Bad };
    let mut finding = Finding::new(Check::Repeated, state, says);
    for exit in sampling.exits.iter().take(10) {
        finding = finding.detail(format!("exit {}: {} of {} failed", exit.exit, exit.failed, exit.samples));
    }
    let fault = sampling.worst();
    let mostly = fault.map(|slug| format!(", mostly {slug}")).unwrap_or_default();
    let diagnosis = match sampling.pattern {
        Pattern::None => return finding,
        // It went well once, before the samples.
        Pattern::Always if chart.timed().1.is_some_and(Exchange::is_good) => Diagnosis::own(
            "worsening",
            fault,
            Whose::You,
            format!("the first request went well, and then all of {made} failed{mostly}"),
            BLOCKED,
        ),
        Pattern::Always => return finding,
        Pattern::ByExit => {
            let bad: Vec<&str> = sampling.exits.iter().filter(|exit| exit.failed > 0).map(|exit| exit.exit.as_str()).collect();
            Diagnosis::own(
                "intermittent_by_exit",
                fault,
                Whose::Exit,
                format!("{failed} of {made} requests fail, all of them through {}{mostly}", bad.join(", ")),
                "These exits are banned by the target or unwell, the others work: rotate on failure, and tell the operator their names.",
            )
        }
        Pattern::Rising => Diagnosis::own(
            "worsening",
            fault,
            Whose::You,
            format!("{failed} of {made} requests fail, and more and more of them{mostly}"),
            BLOCKED,
        ),
        Pattern::Random => Diagnosis::own(
            "intermittent",
            fault,
            Whose::Operator,
            format!("{failed} of {made} requests fail, whatever the exit and the time{mostly}"),
            "Retry what is safe to repeat, on a fresh connection, with growing waits (`outgate relay` does it for programs that can't). \
             Give the operator the share and the times in UTC; --samples 100 --interval 1s shows more.",
        ),
    };
    let confidence = if *made < 10 { Confidence::Guess } else { Confidence::Likely };
    finding.points_to(Diagnosis { confidence, ..diagnosis }.harming(Harm::Impaired))
}

/// The times against the thresholds: of the samples if there are any, else of the one request.
pub(crate) fn speed(chart: &Chart<'_>) -> Finding {
    let (direct, proxied) = chart.timed();
    let (mean, p99) = match (&chart.sampling, proxied) {
        (Some(sampling), _) => (sampling.mean, sampling.p99),
        (None, Some(proxied)) => {
            let time = proxied.time(Phase::Total).unwrap_or_default();
            (time, time)
        }
        (None, None) => return Finding::new(Check::Speed, State::NotNeeded, "nothing was timed"),
    };
    let mut slow = Vec::new();
    if mean > thresholds::MEAN_RESPONSE {
        slow.push("the mean is over 2 s: timeouts at the proxy (504) become likely");
    }
    if p99 > thresholds::P99_RESPONSE {
        slow.push("the slowest are over 5 s: timeouts cascade");
    }
    let of = |phase: Phase| proxied.and_then(|proxied| proxied.time(phase));
    let handshake = of(Phase::ProxyTls).max(of(Phase::TargetTls)).unwrap_or_default();
    if handshake > thresholds::TLS_HANDSHAKE {
        slow.push("a TLS handshake is over 500 ms: handshakes time out under load");
    }
    let says = format!("mean {}, slowest {}", shown_time(mean), shown_time(p99));
    if slow.is_empty() {
        return Finding::new(Check::Speed, State::Good, says);
    }
    let direct_time = direct.filter(|direct| direct.is_good()).and_then(|direct| direct.time(Phase::Total));
    // Slow past the proxy, too: then it is the target, or this machine's line.
    let own = direct_time.is_some_and(|time| time * 2 > mean);
    let whose = if own { Whose::Target } else { Whose::Operator };
    let mut finding = Finding::new(Check::Speed, State::Remark, says);
    for line in &slow {
        finding = finding.detail(*line);
    }
    let past = direct_time.map(|time| format!("; past the proxy it takes {}", shown_time(time))).unwrap_or_default();
    let sentence = format!("requests through the proxy are slow: {}{past}", slow.join("; "));
    let next = if own {
        "It is slow past the proxy, too: the target, or this machine's line. Raise timeouts, send less at once."
    } else {
        "Take exits nearer to the target, send less at once, and raise the client's timeout over the proxy's. Ask the operator if it lasts."
    };
    finding.points_to(Diagnosis::own("slow", None, whose, sentence, next).likely().harming(Harm::Remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a+` is a good answer through exit a, `a-` a failure; without a letter the exit isn't known.
    fn samples(script: &str) -> Sampling {
        let list = script.split_whitespace().enumerate().map(|(number, word)| Sample {
            at: Timestamp::UNIX_EPOCH,
            time: Duration::from_millis(number as u64),
            exit: word.strip_suffix(['+', '-']).filter(|exit| !exit.is_empty()).map(str::to_owned),
            outcome: if word.ends_with('+') { "ok" } else { "target_reset" }.to_owned(),
        });
        Sampling::of(list.collect())
    }

    #[test]
    fn patterns() {
        let cases = [
            ("+ + + +", Pattern::None),
            ("- - -", Pattern::Always),
            ("a+ b- a+ b- c+", Pattern::ByExit),
            ("a+ b- a+ c- c+", Pattern::Random),
            ("a+ b- a+ a+ c+", Pattern::Random),
            ("a+ b- a+ b- -", Pattern::Random),
            ("+ + + + + - + - - - -", Pattern::Rising),
            ("a+ a+ a+ a+ a- a+ a- a- a- a-", Pattern::Rising),
            ("- + - + - + - + + -", Pattern::Random),
            ("+ + + -", Pattern::Random),
        ];
        for (script, expected) in cases {
            assert_eq!(samples(script).pattern, expected, "{script}");
        }
    }

    #[test]
    fn numbers() {
        let sampling = samples("a+ b- a+ b- c+");
        assert_eq!((sampling.made, sampling.failed), (5, 2));
        assert_eq!(sampling.outcomes, [("ok".to_owned(), 3), ("target_reset".to_owned(), 2)]);
        assert_eq!(sampling.worst(), Some(Slug::TargetReset));
        assert_eq!((sampling.mean, sampling.p99), (Duration::from_millis(2), Duration::from_millis(4)));
        assert_eq!(sampling.exits[1], ByExit { exit: "b".to_owned(), samples: 2, failed: 2 });
    }
}
