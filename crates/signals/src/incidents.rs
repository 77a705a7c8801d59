//! Opens, joins and closes incidents as signals are raised and cleared.

use std::time::Duration;

use jiff::Timestamp;

use crate::incident::{Incident, IncidentId, Part};
use crate::looks::Look;
use crate::signal::{Kind, Scope};
use crate::slice::{Counts, Slice, merge_faults};

/// What comes back so soon after it went is the same incident.
const REOPENED_WITHIN: Duration = Duration::from_secs(600);
/// What begins in several places at almost the same time has one cause.
const TOGETHER: Duration = Duration::from_secs(600);
/// Parts of one incident; a fleet in a hundred countries need not be listed whole.
const MOST_PARTS: usize = 64;
/// Incidents that are kept, however young.
const MOST: usize = 2_000;

/// The incidents, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    all: Vec<Incident>,
}

/// What a raised signal did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Joined {
    /// It opened an incident, or one again.
    Opened(IncidentId),
    /// It is part of an open one.
    Grew(IncidentId),
    /// It was part of it before, or is one too many to be listed.
    Nothing,
}

impl Incidents {
    /// Those that were kept.
    pub(crate) fn restored(mut all: Vec<Incident>) -> Self {
        all.sort_by(|one, other| one.opened.cmp(&other.opened).then_with(|| one.id.cmp(&other.id)));
        Self { all }
    }

    /// All, oldest first.
    pub(crate) fn all(&self) -> &[Incident] {
        &self.all
    }

    /// The incident of this name.
    pub(crate) fn find(&self, id: &IncidentId) -> Option<&Incident> {
        self.all.iter().find(|incident| incident.id == *id)
    }

    /// A signal was raised, which had been over its threshold since `began`. `recent` is what happened lately.
    pub(crate) fn raised(&mut self, now: Timestamp, began: Timestamp, look: &Look, recent: &Slice) -> Joined {
        let part = Part {
            kind: look.kind,
            scope: look.scope.clone(),
            raised: now,
            cleared: None,
            worst: look.value.unwrap_or_default(),
            unit: look.kind.unit(),
            threshold: look.threshold,
        };
        let Some(at) = self.where_it_belongs(now, look) else {
            let id = self.new_id(now);
            let mut incident = Incident {
                id: id.clone(),
                cause: look.cause,
                severity: look.severity,
                began,
                opened: now,
                closed: None,
                signals: vec![part],
                requests: 0,
                failed: 0,
                faults: Vec::new(),
            };
            incident.add(recent);
            self.all.push(incident);
            return Joined::Opened(id);
        };
        let incident = &mut self.all[at];
        let again = incident.closed.take().is_some();
        if look.kind.is_about_failures() && incident.signals.iter().all(|part| part.kind.is_about_time()) {
            // Of slowness the cause was only guessed; faults name it.
            incident.cause = look.cause;
        }
        incident.severity = incident.severity.max(look.severity);
        incident.began = incident.began.min(began);
        let known = incident.signals.iter().position(|known| known.kind == part.kind && known.scope == part.scope);
        if let Some(at) = known {
            let known = &mut incident.signals[at];
            (known.cleared, known.worst) = (None, worse(known.kind, known.worst, part.worst));
        } else if incident.signals.len() < MOST_PARTS {
            incident.signals.push(part);
        } else {
            return Joined::Nothing;
        }
        match (again, known.is_none()) {
            (true, _) => Joined::Opened(incident.id.clone()),
            (false, true) => Joined::Grew(incident.id.clone()),
            (false, false) => Joined::Nothing,
        }
    }

    /// A signal was cleared. The incident that closed with it.
    pub(crate) fn cleared(&mut self, now: Timestamp, kind: Kind, scope: &Scope) -> Option<IncidentId> {
        let is_it = |part: &Part| part.kind == kind && part.scope == *scope && part.cleared.is_none();
        let incident = self.all.iter_mut().rev().find(|i| i.is_open() && i.signals.iter().any(is_it))?;
        incident.signals.iter_mut().filter(|part| is_it(part)).for_each(|part| part.cleared = Some(now));
        if incident.signals.iter().any(|part| part.cleared.is_none()) {
            return None;
        }
        incident.closed = Some(now);
        Some(incident.id.clone())
    }

    /// Adds what happened in the newest step to every open incident.
    pub(crate) fn goes_on(&mut self, newest: &Slice) {
        self.all.iter_mut().filter(|incident| incident.is_open()).for_each(|incident| incident.add(newest));
    }

    /// Notes how bad a raised signal is now.
    pub(crate) fn worst(&mut self, look: &Look) {
        let Some(value) = look.value else { return };
        let open = self.all.iter_mut().filter(|incident| incident.is_open());
        for incident in open {
            let part = incident.signals.iter_mut().find(|p| p.kind == look.kind && p.scope == look.scope && p.cleared.is_none());
            if let Some(part) = part {
                part.worst = worse(part.kind, part.worst, value);
                incident.severity = incident.severity.max(look.severity);
            }
        }
    }

    /// Forgets what was closed before `before`, and the oldest beyond the bound.
    pub(crate) fn forget(&mut self, before: Timestamp) {
        self.all.retain(|incident| incident.closed.is_none_or(|closed| closed >= before));
        let excess = self.all.len().saturating_sub(MOST);
        self.all.drain(..excess);
    }

    /// The incident that a raised signal is part of.
    fn where_it_belongs(&self, now: Timestamp, look: &Look) -> Option<usize> {
        let newest = |fits: &dyn Fn(&Incident) -> bool| self.all.iter().rposition(fits);
        let here = |incident: &Incident| same_place(now, incident, &look.scope);
        let same = |incident: &Incident| incident.cause == look.cause && here(incident);
        // Two faces of one trouble: it is slow, and it fails.
        let other_face = |incident: &Incident| {
            let (times, failures) = (look.kind.is_about_time(), look.kind.is_about_failures());
            let only_slow = incident.signals.iter().all(|part| part.kind.is_about_time());
            let fails = incident.signals.iter().any(|part| part.kind.is_about_failures());
            here(incident) && (times && fails || failures && only_slow)
        };
        let lately = |incident: &Incident| {
            incident.closed.is_some_and(|closed| now.duration_since(closed).unsigned_abs() < REOPENED_WITHIN) && same(incident)
        };
        newest(&|incident| incident.is_open() && same(incident))
            .or_else(|| newest(&|incident| incident.is_open() && other_face(incident)))
            .or_else(|| newest(&lately))
    }

    fn new_id(&self, now: Timestamp) -> IncidentId {
        let name = now.strftime("%Y-%m-%dT%H-%M-%S").to_string();
        let taken = |name: &str| self.all.iter().any(|incident| incident.id.0 == name);
        if !taken(&name) {
            return IncidentId(name);
        }
        let further = (2..).map(|number| format!("{name}-{number}")).find(|name| !taken(name));
        IncidentId(further.unwrap_or(name))
    }
}

/// Whether a signal of this scope can be of this incident.
fn same_place(now: Timestamp, incident: &Incident, scope: &Scope) -> bool {
    let Some(pool) = scope.pool() else { return true };
    let of_all = incident.signals.iter().any(|part| part.scope.pool().is_none());
    of_all || incident.pools().contains(&pool) || now.duration_since(incident.opened).unsigned_abs() < TOGETHER
}

/// The worse of two values: of exits that are left the fewer, of everything else the more.
fn worse(kind: Kind, one: f64, other: f64) -> f64 {
    if kind == Kind::ExitsGone { one.min(other) } else { one.max(other) }
}

impl Incident {
    /// Counts what happened in the pools that it is about.
    fn add(&mut self, slice: &Slice) {
        let mut counts = Counts::default();
        if self.signals.iter().any(|part| part.scope.pool().is_none()) {
            counts.merge(&slice.all.counts);
        } else {
            let pools = self.pools().into_iter().filter_map(|pool| slice.pools.get(pool));
            pools.for_each(|series| counts.merge(&series.counts));
        }
        self.requests += counts.asked();
        self.failed += counts.failed();
        self.faults.sort_by_key(|(slug, _)| *slug);
        merge_faults(&mut self.faults, &counts.errors);
        self.faults.sort_by_key(|(slug, count)| (std::cmp::Reverse(*count), *slug));
    }
}
