//! The watch: told every second how things stand, it keeps the history, raises and clears signals, opens and closes incidents.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use outgate_meter::{Gauges, Snapshot};

use crate::gate::{Edge, Found, Gate};
use crate::history::{Grain, History};
use crate::incident::{Incident, IncidentId};
use crate::incidents::{Incidents, Joined};
use crate::kept::{KeptHistory, KeptIncidents};
use crate::looks::{Look, STEP, View, looks};
use crate::rules::Rules;
use crate::signal::{Kind, Scope, Signal, State};
use crate::slice::Slice;
use crate::standing::Standing;
use crate::window::{Reach, Window};

/// A pool that had no exits for so long is not missed any more: it was taken down, not lost.
const MISSED_FOR: Duration = Duration::from_secs(86_400);
/// Steps without an observation that are made up for: an hour's, which is as far back as any rule looks.
const MISSED_MOST: i64 = 360;
/// So long after a start exits may take to come back.
const ARRIVAL: Duration = Duration::from_secs(60);

/// Watches a gateway. It reads no clock and opens nothing.
#[derive(Debug)]
pub struct Watch {
    rules: Rules,
    history: History,
    window: Window,
    signals: BTreeMap<(Kind, Scope), Watched>,
    incidents: Incidents,
    /// When each pool had an exit to use for the last time.
    had_exits: BTreeMap<String, Timestamp>,
    now: Option<Now>,
}

/// What is watched, between two looks.
#[derive(Debug)]
struct Watched {
    gate: Gate,
    look: Look,
}

/// The present step, minute and hour.
#[derive(Debug)]
struct Now {
    first: Timestamp,
    counted: Snapshot,
    step: Stretch,
    minute: Stretch,
    hour: Stretch,
    standing: Standing,
    /// Records dropped before this step.
    dropped: u64,
}

#[derive(Debug)]
struct Stretch {
    grain: Grain,
    start: Timestamp,
    slice: Slice,
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
    /// Other signals joined an open incident.
    Grew(Incident),
    /// An incident was closed.
    Closed(Incident),
}

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            history: History::default(),
            window: Window::default(),
            signals: BTreeMap::new(),
            incidents: Incidents::default(),
            had_exits: BTreeMap::new(),
            now: None,
        }
    }

    /// A watch that goes on from what an earlier run kept. Signals that were raised then are raised until they are seen to be fine.
    pub fn restored(rules: Rules, history: Option<KeptHistory>, incidents: Option<KeptIncidents>) -> Self {
        let mut watch = Self::new(rules);
        if let Some(kept) = history {
            kept.minutes.into_iter().for_each(|bucket| watch.history.push(Grain::Minute, bucket));
            kept.hours.into_iter().for_each(|bucket| watch.history.push(Grain::Hour, bucket));
            watch.had_exits = kept.had_exits;
        }
        if let Some(kept) = incidents {
            watch.incidents = Incidents::restored(kept.incidents);
        }
        for incident in watch.incidents.all().iter().filter(|incident| incident.is_open()) {
            for part in incident.signals.iter().filter(|part| part.cleared.is_none()) {
                let look = Look {
                    kind: part.kind,
                    scope: part.scope.clone(),
                    found: Found::Over,
                    value: None,
                    threshold: part.threshold,
                    samples: 0,
                    severity: incident.severity,
                    note: Some("since before the last start".into()),
                    raise: watch.rules.raise,
                    cause: incident.cause,
                };
                watch.signals.insert((part.kind, part.scope.clone()), Watched { gate: Gate::raised_since(part.raised), look });
            }
        }
        watch
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts other rules in force, from the next look on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What happened.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How every signal stands: raised ones first, then by kind and scope. Pools and countries have signals while something
    /// happens in them.
    pub fn signals(&self) -> Vec<Signal> {
        let mut signals: Vec<Signal> = self.signals.values().map(Watched::signal).collect();
        signals.sort_by_key(|signal| !signal.state.is_raised());
        signals
    }

    /// Incidents, newest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.all().iter().rev()
    }

    /// The incident of this name.
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.find(id)
    }

    /// The history as the next run needs it, with the present minute and hour as far as they are.
    pub fn kept_history(&self) -> KeptHistory {
        let mut history = self.history.clone();
        if let Some(now) = &self.now {
            for stretch in [&now.minute, &now.hour] {
                history.push(stretch.grain, stretch.slice.bucket(stretch.start));
            }
        }
        let buckets = |grain| history.buckets(grain).iter().cloned().collect();
        KeptHistory::new(buckets(Grain::Minute), buckets(Grain::Hour), self.had_exits.clone())
    }

    /// The incidents as the next run needs them.
    pub fn kept_incidents(&self) -> KeptIncidents {
        KeptIncidents::new(self.incidents.all().to_vec())
    }

    /// Takes in what was counted up to now and how things stand. To be called about once a second with a clock's time; signals are
    /// looked at every ten seconds. A clock that is set back begins anew, one that is set forward leaves a gap.
    pub fn observe(&mut self, now: Timestamp, counted: &Snapshot, gauges: &Gauges) -> Vec<Change> {
        let start = STEP.start(now);
        let mut present = match self.now.take() {
            Some(present) if present.step.start <= start => present,
            // The clock was set back: what was seen at times that are to come is not to be mixed with what comes.
            Some(present) => {
                self.window.clear();
                Now { counted: present.counted, ..Now::at(now, gauges) }
            }
            None => Now::at(now, gauges),
        };
        let mut changes = Vec::new();
        if present.step.start != start {
            changes = self.end_step(&mut present, start);
        }
        let slice = Slice::of(&counted.since(&present.counted), gauges);
        present.counted.clone_from(counted);
        present.step.slice.merge(&slice);
        present.standing.see(gauges);
        for (pool, usable) in &present.standing.usable {
            if *usable > 0 {
                self.had_exits.insert(pool.clone(), now);
            }
        }
        self.now = Some(present);
        changes
    }

    /// The present step is over, and another begins.
    fn end_step(&mut self, now: &mut Now, start: Timestamp) -> Vec<Change> {
        let slice = now.step.begin(start, &mut self.history);
        for stretch in [&mut now.minute, &mut now.hour] {
            stretch.slice.merge(&slice.1);
            if stretch.grain.start(start) != stretch.start {
                stretch.begin(stretch.grain.start(start), &mut self.history);
            }
        }
        let missed = (start.as_second() - slice.0.as_second()) / STEP.seconds() - 1;
        self.window.push(slice.1, &self.rules);
        // A gap in which nothing was observed counts as one in which nothing happened.
        for _ in 0..missed.clamp(0, MISSED_MOST) {
            self.window.push(Slice::default(), &self.rules);
        }
        let standing = std::mem::take(&mut now.standing);
        let dropped = standing.dropped.saturating_sub(std::mem::replace(&mut now.dropped, standing.dropped));
        let forgotten = start - MISSED_FOR;
        self.had_exits.retain(|_, last| *last >= forgotten);
        let arriving = start.duration_since(now.first).unsigned_abs() < ARRIVAL;
        let none = BTreeMap::new();
        let view = View {
            now: start,
            rules: &self.rules,
            window: &self.window,
            history: &self.history,
            standing: &standing,
            dropped,
            had_exits: if arriving { &none } else { &self.had_exits },
        };
        let looks = looks(&view);
        self.judge(start, looks)
    }

    /// Takes every look through its signal's gate, and what comes of it to the incidents.
    fn judge(&mut self, now: Timestamp, looks: Vec<Look>) -> Vec<Change> {
        let mut edges = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for look in looks {
            let key = (look.kind, look.scope.clone());
            let known = self.signals.get_mut(&key);
            seen.insert(key.clone());
            let worth_keeping = look.scope.pool().is_none() || look.value.is_some();
            let watched = match known {
                Some(watched) => watched,
                None if worth_keeping => {
                    self.signals.entry(key.clone()).or_insert(Watched { gate: Gate::default(), look: look.clone() })
                }
                None => continue,
            };
            let edge = watched.gate.look(now, look.found, look.raise, self.rules.clear_after);
            watched.look = look;
            edges.extend(edge.map(|edge| (key, edge)));
        }
        // What is not looked at any more: a country without requests, a pool that was taken out of the configuration.
        for (key, watched) in self.signals.iter_mut().filter(|(key, _)| !seen.contains(*key)) {
            let edge = watched.gate.look(now, Found::Below, watched.look.raise, self.rules.clear_after);
            watched.look.value = None;
            edges.extend(edge.map(|edge| (key.clone(), edge)));
        }
        let changes = self.tell(now, edges);
        self.signals.retain(|key, watched| {
            let idle = watched.gate.is_idle() && watched.look.value.is_none();
            !idle || (key.1.pool().is_none() && seen.contains(key))
        });
        self.incidents.forget(now - self.rules.keep);
        changes
    }

    fn tell(&mut self, now: Timestamp, edges: Vec<((Kind, Scope), Edge)>) -> Vec<Change> {
        self.window.newest().into_iter().for_each(|newest| self.incidents.goes_on(newest));
        let recent = self.window.least(Reach::of(&self.rules));
        let (mut changes, mut opened, mut grown, mut closed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((kind, scope), edge) in edges {
            let Some(watched) = self.signals.get(&(kind, scope.clone())) else { continue };
            match edge {
                Edge::Raised(began) => {
                    changes.push(Change::Raised(watched.signal()));
                    match self.incidents.raised(now, began, &watched.look, &recent) {
                        Joined::Opened(id) => opened.push(id),
                        Joined::Grew(id) if !opened.contains(&id) && !grown.contains(&id) => grown.push(id),
                        Joined::Grew(_) | Joined::Nothing => {}
                    }
                }
                Edge::Cleared => {
                    changes.push(Change::Cleared(watched.signal()));
                    closed.extend(self.incidents.cleared(now, kind, &scope));
                }
            }
        }
        for watched in self.signals.values().filter(|watched| watched.gate.state(true).is_raised()) {
            self.incidents.worst(&watched.look);
        }
        // Told when all of it is known: an incident that opens with five signals is told once, with the five.
        type Telling = fn(Incident) -> Change;
        let told: [(Vec<IncidentId>, Telling); 3] = [(opened, Change::Opened), (grown, Change::Grew), (closed, Change::Closed)];
        for (ids, change) in told {
            changes.extend(ids.iter().filter_map(|id| self.incidents.find(id)).cloned().map(change));
        }
        changes
    }
}

impl Now {
    fn at(now: Timestamp, gauges: &Gauges) -> Self {
        let stretch = |grain: Grain| Stretch { grain, start: grain.start(now), slice: Slice::default() };
        Now {
            first: now,
            counted: Snapshot::default(),
            step: stretch(STEP),
            minute: stretch(Grain::Minute),
            hour: stretch(Grain::Hour),
            standing: Standing::default(),
            dropped: gauges.records.dropped,
        }
    }
}

impl Stretch {
    /// Ends, goes to the history, and begins anew at `start`. What it was, and when it began.
    fn begin(&mut self, start: Timestamp, history: &mut History) -> (Timestamp, Slice) {
        let began = std::mem::replace(&mut self.start, start);
        let slice = std::mem::take(&mut self.slice);
        history.push(self.grain, slice.bucket(began));
        (began, slice)
    }
}

impl Watched {
    fn signal(&self) -> Signal {
        let Look { kind, scope, value, threshold, samples, severity, note, .. } = &self.look;
        let state = self.gate.state(value.is_some());
        Signal {
            kind: *kind,
            scope: scope.clone(),
            state,
            severity: matches!(state, State::Raised | State::Clearing).then_some(*severity),
            value: *value,
            unit: kind.unit(),
            threshold: *threshold,
            since: self.gate.since,
            samples: *samples,
            note: note.clone(),
        }
    }
}
