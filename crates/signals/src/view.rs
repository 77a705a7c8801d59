//! Signals and incidents as JSON: for the API, for webhooks and for pages of other programs.

use outgate_faults::Slug;
use serde_json::{Value, json};

use crate::incident::{Incident, Part};
use crate::signal::{Scope, Signal};

impl Signal {
    /// As the API shows it.
    pub fn to_json(&self) -> Value {
        json!({
            "signal": self.kind.name(),
            "of": self.scope.to_string(),
            "pool": self.scope.pool(),
            "country": country(&self.scope),
            "state": self.state.name(),
            "severity": self.severity.map(|severity| severity.name()),
            "value": self.value,
            "unit": self.unit.name(),
            "threshold": self.threshold,
            "since": self.since.map(|at| at.to_string()),
            "samples": self.samples,
            "note": self.note,
            "meaning": self.kind.meaning(),
        })
    }
}

impl Incident {
    /// As the API shows it and webhooks send it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.0,
            "open": self.is_open(),
            "headline": self.headline(),
            "severity": self.severity.name(),
            "cause": self.cause.name(),
            "layer": self.layer().name(),
            "fault": self.leading().map(Slug::name),
            "why": self.why(),
            "fix": self.fix(),
            "began": self.began.to_string(),
            "opened": self.opened.to_string(),
            "closed": self.closed.map(|at| at.to_string()),
            "pools": self.pools(),
            "requests": self.requests,
            "failed": self.failed,
            "faults": self.faults.iter().map(|(slug, count)| json!({ "fault": slug.name(), "layer": slug.row().layer.name(), "count": count })).collect::<Vec<_>>(),
            "signals": self.signals.iter().map(part).collect::<Vec<_>>(),
        })
    }
}

fn part(part: &Part) -> Value {
    json!({
        "signal": part.kind.name(),
        "of": part.scope.to_string(),
        "pool": part.scope.pool(),
        "country": country(&part.scope),
        "raised": part.raised.to_string(),
        "cleared": part.cleared.map(|at| at.to_string()),
        "worst": part.worst,
        "unit": part.unit.name(),
        "threshold": part.threshold,
    })
}

fn country(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Country { country, .. } => Some(country),
        Scope::Gateway | Scope::Pool(_) | Scope::Bound(_) => None,
    }
}
