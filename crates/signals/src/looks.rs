//! One look at everything that is watched: each value against its threshold.
//!
//! Rates are judged by what is certain of them, not by what they happen to be: a share counts as over a threshold when it is so
//! with all but certainty (the lower end of Wilson's interval): there are tens of thousands of looks in a week, and chance has to
//! pass for none of them. Six failures of fifty requests are no outage.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::Slug;
use outgate_meter::{Country, Histogram, Usage};

use crate::baseline::{Usual, usual};
use crate::gate::Found;
use crate::history::{Grain, History};
use crate::incident::Cause;
use crate::rules::{Raise, Rules};
use crate::signal::{Kind, Scope, Severity};
use crate::slice::{Counts, Series, Slice};
use crate::standing::Standing;
use crate::window::{Reach, Window};

/// A signal is cleared below this part of its threshold.
const LOWER: f64 = 0.8;
/// From this share of failures on it is an outage.
const OUTAGE: f64 = 0.5;
/// A jump from next to nothing to next to nothing is none: below this part of the threshold for errors there is no jump.
const JUMP_FLOOR: f64 = 0.5;
/// Nor is one of latency, from below this: seconds.
const LATENCY_FLOOR: f64 = 0.2;
/// A name that is answered faster than this was remembered, and nobody was asked for it.
const REMEMBERED: Duration = Duration::from_millis(1);
/// Raised by the first look that finds it: the gauge behind it doesn't flap, and service has stopped.
const AT_ONCE: Raise = Raise { times: 1, of: 1 };

/// What one look found of one signal.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) found: Found,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: f64,
    pub(crate) samples: u64,
    pub(crate) severity: Severity,
    pub(crate) note: Option<String>,
    pub(crate) raise: Raise,
    pub(crate) cause: Cause,
}

/// What a look is taken at.
pub(crate) struct View<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rules: &'a Rules,
    pub(crate) window: &'a Window,
    pub(crate) history: &'a History,
    pub(crate) standing: &'a Standing,
    /// Records that were dropped since the look before.
    pub(crate) dropped: u64,
    /// Pools that had exits lately.
    pub(crate) had_exits: &'a BTreeMap<String, Timestamp>,
}

/// Whose requests a series is of.
type Of<'a> = &'a dyn Fn(&Slice) -> Option<&Series>;

/// Looks at everything. What all of the gateway shows comes before its pools, and pools before their countries.
pub(crate) fn looks(view: &View<'_>) -> Vec<Look> {
    let reach = Reach::of(view.rules);
    let mut looks = Vec::new();
    let recent = view.window.least(reach);
    of_series(view, Scope::Gateway, &|slice| Some(&slice.all), &recent, &mut looks);
    looks.push(names(view, reach));
    looks.push(client_tls(view, reach));
    looks.extend(view.standing.bounds().map(|(scope, part, room)| {
        let note = room.bound.map(|bound| format!("{} of {bound}", room.taken));
        Look { note, ..plain(Kind::Queue, scope.clone(), Some(part), view.rules.queue, Cause::Capacity, view.rules) }
    }));
    looks.extend(flags(view));
    let (pools, countries) = view.window.scopes();
    for pool in pools {
        of_series(view, Scope::Pool(pool.clone()), &|slice| slice.pools.get(pool.as_str()), &recent, &mut looks);
    }
    looks.extend(exits_gone(view));
    for (pool, country) in countries {
        let key = (pool.as_str().into(), country);
        let counts = |reach| view.window.counts(reach, |slice| slice.countries.get(&key));
        let (counts, newest) = (counts(reach), counts(Reach::of_newest(view.rules)));
        let scope = Scope::Country { pool, country: shown(country) };
        looks.push(Look { severity: Severity::Degraded, ..errors(view, scope, &counts, &newest) });
    }
    looks
}

fn shown(country: Country) -> String {
    country.as_str().to_owned()
}

/// Errors and latency of the gateway or of a pool.
fn of_series(view: &View<'_>, scope: Scope, of: Of<'_>, recent: &Slice, looks: &mut Vec<Look>) {
    let rules = view.rules;
    let series = view.window.series(Reach::of(rules), of);
    let slow = slow_because(&scope, recent);
    let newest = view.window.series(Reach::of_newest(rules), of);
    looks.push(errors(view, scope.clone(), &series.counts, &newest.counts));
    let answer = &series.answer;
    let samples = answer.count();
    let enough = samples >= rules.samples;
    let measured = |time: Option<Duration>| time.map(|time| time.as_secs_f64()).filter(|_| enough);
    let mean = measured(answer.mean());
    looks.push(Look { samples, ..plain(Kind::LatencyMean, scope.clone(), mean, rules.mean.as_secs_f64(), slow, rules) });
    let p99 = measured(answer.quantile(0.99));
    let slower = samples - answer.at_most(rules.p99);
    let mut look = plain(Kind::LatencyP99, scope.clone(), p99, rules.p99.as_secs_f64(), slow, rules);
    if look.found == Found::Over && certainly(slower, samples) <= 0.01 {
        look.found = Found::Between;
    }
    looks.push(Look { samples, ..look });
    let usual = usual(view.history, view.now, scope.pool());
    if usual != Usual::default() {
        let series = view.window.series(Reach::of_jumps(rules), of);
        looks.extend(errors_jump(view, scope.clone(), &series.counts, &newest.counts, usual));
        looks.extend(latency_jump(view, scope, &series.answer, &newest.answer, usual, slow));
    }
}

/// `newest` is the end of what `counts` is from: when all is well again there, it is over, whatever was before.
fn errors(view: &View<'_>, scope: Scope, counts: &Counts, newest: &Counts) -> Look {
    let rules = view.rules;
    let own = scope.pool().and_then(|pool| rules.pools.get(pool)).copied();
    let threshold = own.unwrap_or(rules.errors);
    let (failed, asked) = (counts.failed(), counts.asked());
    let value = (asked >= rules.samples).then(|| failed as f64 / asked as f64);
    let mut look = plain(Kind::Errors, scope, value, threshold, counts.leading().map_or(Cause::Gateway, Cause::of), rules);
    if look.found == Found::Over && certainly(failed, asked) <= threshold {
        look.found = Found::Between;
    }
    if well_again(newest, threshold, rules) {
        look.found = Found::Below;
    }
    let severity = if value.is_some_and(|value| value >= OUTAGE) { Severity::Down } else { Severity::Degraded };
    Look { samples: asked, note: leading(counts), severity, ..look }
}

fn errors_jump(view: &View<'_>, scope: Scope, counts: &Counts, newest: &Counts, usual: Usual) -> Option<Look> {
    let rules = view.rules;
    let threshold = scope.pool().and_then(|pool| rules.pools.get(pool)).copied().unwrap_or(rules.errors);
    let usual = usual.errors?;
    let reference = usual.max(threshold * JUMP_FLOOR / rules.jump);
    let (failed, asked) = (counts.failed(), counts.asked());
    let value = (asked >= rules.samples).then(|| failed as f64 / asked as f64 / reference);
    let cause = counts.leading().map_or(Cause::Gateway, Cause::of);
    let mut look = plain(Kind::ErrorsJump, scope, value, rules.jump, cause, rules);
    if look.found == Found::Over && certainly(failed, asked) / reference <= rules.jump {
        look.found = Found::Between;
    }
    if well_again(newest, rules.jump * reference, rules) {
        look.found = Found::Below;
    }
    let mostly = leading(counts).map(|leading| format!("; {leading}")).unwrap_or_default();
    let note = Some(format!("usual at this hour: {:.1} %{mostly}", usual * 100.0));
    Some(Look { samples: asked, note, ..look })
}

/// Whether the newest requests are well below a threshold.
fn well_again(newest: &Counts, threshold: f64, rules: &Rules) -> bool {
    newest.asked() >= rules.samples && newest.failed() as f64 <= newest.asked() as f64 * threshold * LOWER
}

fn latency_jump(
    view: &View<'_>,
    scope: Scope,
    answer: &Histogram,
    newest: &Histogram,
    usual: Usual,
    slow: Cause,
) -> Option<Look> {
    let rules = view.rules;
    let usual = usual.answer?;
    let times = |histogram: &Histogram| {
        let median = histogram.quantile(0.5).filter(|_| histogram.count() >= rules.samples);
        median.map(|median| median.as_secs_f64() / usual.max(LATENCY_FLOOR))
    };
    let (samples, now) = (answer.count(), times(newest));
    let times = times(answer);
    let note = Some(format!("usual at this hour: {:.0} ms", usual * 1e3));
    let mut look = plain(Kind::LatencyJump, scope, times, rules.jump, slow, rules);
    if now.is_some_and(|now| now <= rules.jump * LOWER) {
        look.found = Found::Below;
    }
    Some(Look { samples, note, ..look })
}

fn leading(counts: &Counts) -> Option<String> {
    counts.leading().map(|slug| format!("mostly {slug} ({})", slug.row().layer))
}

fn names(view: &View<'_>, reach: Reach) -> Look {
    let (value, samples) = median_above(&view.window.histogram(reach, |slice| &slice.dns), REMEMBERED, view.rules);
    let threshold = view.rules.dns.as_secs_f64();
    Look { samples, ..plain(Kind::Dns, Scope::Gateway, value, threshold, Cause::Names, view.rules) }
}

fn client_tls(view: &View<'_>, reach: Reach) -> Look {
    let (value, samples) = median_above(&view.window.histogram(reach, |slice| &slice.tls), Duration::ZERO, view.rules);
    let threshold = view.rules.tls.as_secs_f64();
    Look { samples, ..plain(Kind::Tls, Scope::Gateway, value, threshold, Cause::ClientTls, view.rules) }
}

/// The median of what took longer than `least`, if there is enough of it, and how much there is.
fn median_above(histogram: &Histogram, least: Duration, rules: &Rules) -> (Option<f64>, u64) {
    let below = if least.is_zero() { 0 } else { histogram.at_most(least) };
    let samples = histogram.count() - below;
    if samples < rules.samples.max(1) {
        return (None, samples);
    }
    let part = (below as f64 + samples as f64 / 2.0) / histogram.count() as f64;
    (histogram.quantile(part).map(|median| median.as_secs_f64()), samples)
}

/// What is so or not.
fn flags(view: &View<'_>) -> Vec<Look> {
    let Standing { usage, memory_short, alone, shares, failing, .. } = *view.standing;
    let flag = |kind, so: bool, cause| plain(kind, Scope::Gateway, Some(f64::from(u8::from(so))), 0.0, cause, view.rules);
    let (kept, severity, raise) = match usage {
        Usage::Ledger => (None, Severity::Degraded, view.rules.raise),
        Usage::Journal => (Some("in the journal on this machine"), Severity::Degraded, view.rules.raise),
        Usage::Nowhere => (Some("in memory only; new requests are refused"), Severity::Down, AT_ONCE),
    };
    let ledger = Look { severity, raise, note: kept.map(str::to_owned), ..flag(Kind::Usage, kept.is_some(), Cause::Ledger) };
    let memory = Look { severity: Severity::Down, raise: AT_ONCE, ..flag(Kind::Memory, memory_short, Cause::Capacity) };
    let lost = plain(Kind::Records, Scope::Gateway, Some(view.dropped as f64), 0.0, Cause::Records, view.rules);
    let note = failing.then(|| "the last write failed".to_owned());
    let found = if failing { Found::Over } else { lost.found };
    let records = Look { found, note, ..lost };
    let sharing = shares.then(|| flag(Kind::Sharing, alone, Cause::Sharing));
    [ledger, memory, records].into_iter().chain(sharing).collect()
}

/// Pools that had exits and have none to use.
fn exits_gone(view: &View<'_>) -> Vec<Look> {
    let look = |pool: &String| {
        let usable = view.standing.usable.get(pool).copied().unwrap_or(0);
        let found = if usable == 0 { Found::Over } else { Found::Below };
        let look = plain(Kind::ExitsGone, Scope::Pool(pool.clone()), Some(usable as f64), 1.0, Cause::Exits, view.rules);
        Look { found, severity: Severity::Down, ..look }
    };
    view.had_exits.keys().map(look).collect()
}

/// A value against a threshold.
fn plain(kind: Kind, scope: Scope, value: Option<f64>, threshold: f64, cause: Cause, rules: &Rules) -> Look {
    let found = match value {
        Some(value) if value > threshold => Found::Over,
        Some(value) if value > threshold * LOWER => Found::Between,
        Some(_) | None => Found::Below,
    };
    let severity = Severity::Degraded;
    Look { kind, scope, found, value, threshold, samples: 0, severity, note: None, raise: rules.raise, cause }
}

/// What takes most of the time of slow answers.
fn slow_because(scope: &Scope, recent: &Slice) -> Cause {
    let mean = |histogram: &Histogram| histogram.mean().unwrap_or_default();
    let connect = match scope.pool() {
        // What goes through an exit is connected there; how long the target took of it is not known.
        Some(pool) if recent.exits.contains_key(pool) => Cause::Exits,
        _ => Cause::Targets,
    };
    let steps = [
        (mean(&recent.queue), Cause::Capacity),
        (mean(&recent.dns), Cause::Names),
        (mean(&recent.connect), connect),
        (mean(&recent.first_byte), Cause::Targets),
    ];
    steps.into_iter().max_by_key(|(time, _)| *time).map_or(Cause::Targets, |(_, cause)| cause)
}

/// The share that is at least behind so many of so many, but for a chance of one in a thousand (Wilson 1927).
fn certainly(of: u64, samples: u64) -> f64 {
    const Z: f64 = 3.0;
    if samples == 0 {
        return 0.0;
    }
    let (n, p) = (samples as f64, of as f64 / samples as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - spread) / (1.0 + Z * Z / n)).max(0.0)
}

impl Cause {
    /// What a fault is a sign of.
    pub(crate) fn of(slug: Slug) -> Cause {
        use outgate_faults::Layer;
        match (slug, slug.row().layer) {
            (Slug::DnsFailed | Slug::DnsTimeout, _) => Cause::Names,
            (Slug::Overloaded, _) => Cause::Capacity,
            (Slug::LedgerUnavailable, _) => Cause::Ledger,
            (_, Layer::Exit) => Cause::Exits,
            (_, Layer::Target | Layer::Origin) => Cause::Targets,
            (_, Layer::Client | Layer::Auth | Layer::Policy | Layer::Plan | Layer::Targeting) => Cause::Gateway,
            (_, Layer::Gateway | Layer::Transport) => Cause::Gateway,
        }
    }
}

/// How long one step is.
pub(crate) const STEP: Grain = Grain::TenSeconds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_certain_only_with_enough_samples() {
        // Of, samples, what is certain.
        let table = [(0, 0, 0.0), (3, 20, 0.032), (15, 100, 0.072), (150, 1000, 0.119), (60, 500, 0.083), (6, 50, 0.038)];
        for (of, samples, expected) in table {
            let certain = certainly(of, samples);
            assert!((certain - expected).abs() < 0.002, "{of} of {samples}: {certain}");
        }
    }
}
