//! The watch: told every second how things stand, it keeps the history, raises and clears signals, opens and closes incidents.

use crate::history::History;
use crate::incident::{Incident, IncidentId};
use crate::rules::Rules;
use crate::signal::Signal;

/// Watches a gateway. It reads no clock and opens nothing.
#[derive(Debug)]
pub struct Watch {
    rules: Rules,
    history: History,
    signals: Vec<Signal>,
    /// Oldest first.
    incidents: Vec<Incident>,
}

/// What an observation changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A signal was raised.
    Raised(Signal),
    /// A signal was cleared.
    Cleared(Signal),
    /// An incident was opened; again, if it had been closed a few minutes ago.
    Opened(Incident),
    /// Another signal joined an open incident.
    Grew(Incident),
    /// An incident was closed.
    Closed(Incident),
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, history: History::default(), signals: Vec::new(), incidents: Vec::new() }
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What happened.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How every signal stands: raised ones first, then by kind and scope.
    pub fn signals(&self) -> Vec<Signal> {
        self.signals.clone()
    }

    /// Incidents, newest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().rev()
    }

    /// The incident of this name.
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.iter().find(|incident| incident.id == *id)
    }
}
