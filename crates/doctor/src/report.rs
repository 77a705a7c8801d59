//! What was found, check by check, and the one verdict at the end. Serialised it is the answer of `--json`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::checks::{Check, Step};
use crate::diagnosis::Diagnosis;
use crate::samples::Sampling;
use crate::thresholds::Phase;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// As it should be.
    Good,
    /// Not as it should be, and no reason to stop.
    Remark,
    /// Wrong: what needs it is skipped.
    Bad,
    /// There was nothing to check.
    NotNeeded,
    /// Not made, because something it needs is wrong.
    Skipped,
}

impl State {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Remark => "remark",
            State::Bad => "bad",
            State::NotNeeded => "not_needed",
            State::Skipped => "skipped",
        }
    }

    /// Whether what needs this check can be checked.
    pub(crate) fn holds(self) -> bool {
        matches!(self, State::Good | State::Remark | State::NotNeeded)
    }
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which check.
    #[serde(serialize_with = "check_name")]
    pub check: Check,
    /// How it came out.
    #[serde(serialize_with = "state_name")]
    pub state: State,
    /// What was seen, in one line.
    pub says: String,
    /// More of it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How long it took.
    #[serde(rename = "ms", serialize_with = "maybe_ms", skip_serializing_if = "Option::is_none")]
    pub time: Option<Duration>,
    /// What it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
}

impl Finding {
    pub(crate) fn new(check: Check, state: State, says: impl Into<String>) -> Finding {
        let says = crate::proxy_url::printable(&says.into());
        Finding { check, state, says, details: Vec::new(), time: None, diagnosis: None }
    }

    pub(crate) fn detail(mut self, line: impl Into<String>) -> Finding {
        self.details.push(crate::proxy_url::printable(&line.into()));
        self
    }

    pub(crate) fn time(self, time: Option<Duration>) -> Finding {
        Finding { time, ..self }
    }

    pub(crate) fn points_to(self, diagnosis: Diagnosis) -> Finding {
        Finding { diagnosis: Some(diagnosis), ..self }
    }
}

/// One phase's time against its threshold.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Which phase.
    #[serde(serialize_with = "phase_name")]
    pub phase: Phase,
    /// Past the proxy.
    #[serde(rename = "direct_ms", serialize_with = "maybe_ms")]
    pub direct: Option<Duration>,
    /// Through the proxy.
    #[serde(rename = "proxied_ms", serialize_with = "maybe_ms")]
    pub proxied: Option<Duration>,
    /// From where on it is slow.
    #[serde(rename = "limit_ms", serialize_with = "maybe_ms")]
    pub limit: Option<Duration>,
}

impl Timing {
    /// Whether the proxied time is over the limit.
    pub fn is_slow(&self) -> bool {
        matches!((self.proxied, self.limit), (Some(time), Some(limit)) if time > limit)
    }
}

/// How it all came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Requests work.
    Healthy,
    /// Some fail, or something will make them fail.
    Impaired,
    /// Requests fail.
    Broken,
}

impl Health {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Impaired => "impaired",
            Health::Broken => "broken",
        }
    }
}

/// The one verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// How it came out.
    #[serde(serialize_with = "health_name")]
    pub health: Health,
    /// The step that found it, 1 to 5.
    pub step: Option<u8>,
    /// What it is, unless nothing is wrong.
    pub diagnosis: Option<Diagnosis>,
    /// What else was seen that is no reason for the verdict, a sentence each.
    pub remarks: Vec<String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this JSON.
    pub version: u8,
    /// When the examination began.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// The proxy, without credentials.
    pub proxy: String,
    /// The real target, if one was given.
    pub target: Option<String>,
    /// The neutral target.
    pub neutral: String,
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Times of the last good request, or the last that came far enough.
    pub timings: Vec<Timing>,
    /// What sampling showed.
    pub samples: Option<Sampling>,
    /// The verdict.
    pub verdict: Verdict,
}

impl Report {
    /// The findings of one step.
    pub fn of_step(&self, step: Step) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.check.step() == step)
    }
}

/// Milliseconds with three digits behind the point.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// For people: three digits or so.
pub(crate) fn shown_time(time: Duration) -> String {
    let ms = milliseconds(time);
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1000.0),
    }
}

fn maybe_ms<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(milliseconds).serialize(serializer)
}

fn check_name<S: Serializer>(check: &Check, serializer: S) -> Result<S::Ok, S::Error> {
    check.name().serialize(serializer)
}

fn state_name<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    state.name().serialize(serializer)
}

fn phase_name<S: Serializer>(phase: &Phase, serializer: S) -> Result<S::Ok, S::Error> {
    phase.name().serialize(serializer)
}

fn health_name<S: Serializer>(health: &Health, serializer: S) -> Result<S::Ok, S::Error> {
    health.name().serialize(serializer)
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    at.to_string().serialize(serializer)
}
