//! What Outgate is to reach, against whom.

use crate::measure::Measure;

pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) measure: Measure,
    /// The number compared, by its name in the reading.
    pub(crate) field: &'static str,
    pub(crate) ours: &'static str,
    /// `None`: the number itself is the goal's, not a ratio.
    pub(crate) theirs: Option<&'static str>,
    pub(crate) want: Want,
}

#[derive(Clone, Copy)]
pub(crate) enum Want {
    AtLeast(f64),
    AtMost(f64),
}

impl Want {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Want {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(out, "≥ {bound}"),
            Self::AtMost(bound) => write!(out, "≤ {bound}"),
        }
    }
}

const fn goal(
    what: &'static str,
    measure: Measure,
    field: &'static str,
    ours: &'static str,
    theirs: Option<&'static str>,
    want: Want,
) -> Goal {
    Goal { what, measure, field, ours, theirs, want }
}

use Measure::{Down, Gets, Idle, Latency, Setups, Up};
use Want::{AtLeast, AtMost};

const DIRECT: &str = "outgate";
const EXIT: &str = "outgate-exit";

#[rustfmt::skip] // A table: one row a line.
pub(crate) static GOALS: &[Goal] = &[
    goal("set-ups per second", Setups, "per_second", DIRECT, Some("haproxy-tcp"), AtLeast(0.78)),
    goal("set-ups per second", Setups, "per_second", DIRECT, Some("squid"), AtLeast(2.2)),
    goal("set-ups per second", Setups, "per_second", DIRECT, Some("tinyproxy"), AtLeast(1.0)),
    goal("forwarded GETs per second", Gets, "per_second", DIRECT, Some("haproxy-http"), AtLeast(0.85)),
    goal("forwarded GETs per second", Gets, "per_second", DIRECT, Some("squid"), AtLeast(3.2)),
    goal("forwarded GETs per second", Gets, "per_second", DIRECT, Some("tinyproxy"), AtLeast(1.0)),
    goal("bulk down", Down, "gbit_per_second", DIRECT, Some("nginx"), AtLeast(1.8)),
    goal("bulk up", Up, "gbit_per_second", DIRECT, Some("nginx"), AtLeast(1.8)),
    goal("bulk down", Down, "gbit_per_second", DIRECT, Some("squid"), AtLeast(1.0)),
    goal("bulk up", Up, "gbit_per_second", DIRECT, Some("squid"), AtLeast(1.0)),
    goal("CPU per byte, down", Down, "cpu_s_per_gib", DIRECT, Some("nginx"), AtMost(0.45)),
    goal("CPU per byte, up", Up, "cpu_s_per_gib", DIRECT, Some("nginx"), AtMost(0.45)),
    goal("slowest of 8 tunnels' share, down", Down, "fair_share", DIRECT, None, AtLeast(0.6)),
    goal("slowest of 8 tunnels' share, up", Up, "fair_share", DIRECT, None, AtLeast(0.6)),
    goal("KiB per idle tunnel", Idle, "kib_per_tunnel", DIRECT, None, AtMost(6.0)),
    goal("KiB per idle tunnel, both ends", Idle, "kib_per_tunnel", EXIT, None, AtMost(20.0)),
    goal("first echoed byte, p50", Latency, "p50_us", DIRECT, Some("squid"), AtMost(0.65)),
    goal("first echoed byte, p99", Latency, "p99_us", DIRECT, Some("squid"), AtMost(0.7)),
    goal("set-ups through an exit", Setups, "per_second", EXIT, Some("rathole"), AtLeast(1.3)),
    goal("bulk down through an exit", Down, "gbit_per_second", EXIT, Some("rathole"), AtLeast(1.8)),
    goal("bulk up through an exit", Up, "gbit_per_second", EXIT, Some("rathole"), AtLeast(1.8)),
    goal("slowest share through an exit, down", Down, "fair_share", EXIT, None, AtLeast(0.6)),
    goal("slowest share through an exit, up", Up, "fair_share", EXIT, None, AtLeast(0.6)),
    goal("KiB resident under bulk, both ends, down", Down, "rss_kib", EXIT, None, AtMost(131_072.0)),
    goal("KiB resident under bulk, both ends, up", Up, "rss_kib", EXIT, None, AtMost(131_072.0)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers;

    #[test]
    fn goals_name_peers_that_do_the_measure() {
        assert!(!GOALS.is_empty());
        for goal in GOALS {
            for name in [Some(goal.ours), goal.theirs].into_iter().flatten() {
                let peer = peers::named(name).unwrap_or_else(|failure| panic!("{}: {failure}", goal.what));
                assert!(peer.measures.contains(&goal.measure), "{}: {name}", goal.what);
            }
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        for (want, value, met) in
            [(AtLeast(2.0), 2.0, true), (AtLeast(2.0), 1.9, false), (AtMost(2.0), 2.0, true), (AtMost(2.0), 2.1, false)]
        {
            assert_eq!(want.is_met(value), met, "{want} {value}");
        }
    }
}
