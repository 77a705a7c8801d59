//! The desk's operations on plans.

use std::sync::Arc;

use outgate_store::{Change, Country, Period, Plan, PlanName, PoolName, PortRange};

use crate::desk::{Desk, DeskError, Entry, page};

/// No list of a plan or key is longer: it is looked through on every request.
pub(crate) const LIST_LIMIT: usize = 256;

/// What happens to one field.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Patch<T> {
    /// It stays.
    #[default]
    Keep,
    /// It has no limit any more.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Patch<T> {
    pub(crate) fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

impl<T> Patch<Vec<T>> {
    pub(crate) fn apply_list(self, list: &mut Vec<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => list.clear(),
            Self::Set(values) => *list = values,
        }
    }
}

/// A change of a plan, field by field.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PlanPatch {
    /// Bytes per period.
    pub bytes: Patch<u64>,
    /// The period; clearing it means the calendar month.
    pub period: Patch<Period>,
    /// Requests per second.
    pub rate: Patch<u32>,
    /// Burst.
    pub burst: Patch<u32>,
    /// Concurrent tunnels.
    pub threads: Patch<u32>,
    /// Bytes per second.
    pub speed: Patch<u64>,
    /// Pools.
    pub pools: Patch<Vec<PoolName>>,
    /// Ports.
    pub ports: Patch<Vec<PortRange>>,
    /// Countries.
    pub countries: Patch<Vec<Country>>,
}

impl PlanPatch {
    fn apply(self, plan: &mut Plan) {
        self.bytes.apply(&mut plan.bytes);
        match self.period {
            Patch::Keep => {}
            Patch::Clear => plan.period = Period::Month,
            Patch::Set(period) => plan.period = period,
        }
        self.rate.apply(&mut plan.rate);
        self.burst.apply(&mut plan.burst);
        self.threads.apply(&mut plan.threads);
        self.speed.apply(&mut plan.speed);
        self.pools.apply_list(&mut plan.pools);
        self.ports.apply_list(&mut plan.ports);
        self.countries.apply_list(&mut plan.countries);
    }
}

fn check(plan: &Plan) -> Result<(), DeskError> {
    let mut problems = Vec::new();
    for (field, number) in [
        ("rate", plan.rate.map(u64::from)),
        ("burst", plan.burst.map(u64::from)),
        ("threads", plan.threads.map(u64::from)),
        ("speed", plan.speed),
    ] {
        if number == Some(0) {
            problems.push((field, "must be at least 1; to let nothing through, suspend the keys".to_owned()));
        }
    }
    for (field, number) in [("bytes", plan.bytes), ("speed", plan.speed)] {
        if number.is_some_and(|number| i64::try_from(number).is_err()) {
            problems.push((field, format!("must be at most {} (9.2 EB)", i64::MAX)));
        }
    }
    if plan.burst.is_some() && plan.rate.is_none() {
        problems.push(("burst", "needs a rate: it says how many requests may come at once before the rate holds".to_owned()));
    }
    for (field, length) in [("pools", plan.pools.len()), ("ports", plan.ports.len()), ("countries", plan.countries.len())] {
        if length > LIST_LIMIT {
            problems.push((field, format!("has {length} entries; {LIST_LIMIT} are allowed")));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(DeskError::Invalid(problems)) }
}

impl Desk {
    /// Creates a plan; one of that name must not exist.
    pub async fn create_plan(&self, who: &str, name: PlanName, limits: PlanPatch) -> Result<Arc<Plan>, DeskError> {
        let turn = self.turn().await;
        if self.book().plans.contains_key(&name) {
            return Err(DeskError::Conflict(format!("there is already a plan {name}; change it with set")));
        }
        let mut plan = Plan::unlimited(name);
        limits.apply(&mut plan);
        check(&plan)?;
        let entry = Entry { who, what: "plan.create", subject: plan.name.as_str(), detail: told(&plan) };
        self.commit(turn, entry, Change::PutPlan(plan.clone())).await?;
        Ok(Arc::new(plan))
    }

    /// Changes a plan for every key on it.
    pub async fn set_plan(&self, who: &str, name: &PlanName, patch: PlanPatch) -> Result<Arc<Plan>, DeskError> {
        let turn = self.turn().await;
        let before = self.plan(name)?;
        let mut plan = Plan::clone(&before);
        patch.apply(&mut plan);
        check(&plan)?;
        if plan != *before {
            let entry = Entry { who, what: "plan.set", subject: name.as_str(), detail: difference(&before, &plan) };
            self.commit(turn, entry, Change::PutPlan(plan.clone())).await?;
        }
        Ok(Arc::new(plan))
    }

    /// Removes a plan that no key is on.
    pub async fn remove_plan(&self, who: &str, name: &PlanName) -> Result<(), DeskError> {
        let turn = self.turn().await;
        self.plan(name)?;
        let entry = Entry { who, what: "plan.remove", subject: name.as_str(), detail: String::new() };
        self.commit(turn, entry, Change::RemovePlan(name.clone())).await
    }

    /// One plan.
    pub fn plan(&self, name: &PlanName) -> Result<Arc<Plan>, DeskError> {
        let found = self.book().plans.get(name).cloned();
        found.ok_or_else(|| DeskError::NotFound { what: "plan", id: name.to_string() })
    }

    /// A page of plans, ascending by name, with the number of keys on each.
    pub fn plans(&self, after: Option<&PlanName>, limit: usize) -> Vec<(Arc<Plan>, usize)> {
        let book = self.book();
        page(&book.plans, after, limit).map(|(name, plan)| (Arc::clone(plan), book.keys_on(name))).collect()
    }

    /// How many keys are on a plan.
    pub fn keys_on(&self, plan: &PlanName) -> usize {
        self.book().keys_on(plan)
    }
}

/// A new plan's limits in one line, for the audit trail.
fn told(plan: &Plan) -> String {
    let limited = limits(plan).into_iter().filter(|(_, value)| value != NO_LIMIT);
    limited.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// What changed of a plan, for the audit trail.
fn difference(before: &Plan, after: &Plan) -> String {
    let [before, after] = [before, after].map(limits);
    let mut after = after.into_iter();
    shown(before.map(|(name, value)| (name, value, after.next().map(|(_, value)| value).unwrap_or_default())))
}

const NO_LIMIT: &str = "none";

fn limits(plan: &Plan) -> [(&'static str, String); 9] {
    let number = |number: Option<u64>| number.map_or_else(|| NO_LIMIT.to_owned(), |number| number.to_string());
    let list = |list: String| if list.is_empty() { NO_LIMIT.to_owned() } else { list };
    [
        ("period", plan.period.to_string()),
        ("bytes", number(plan.bytes)),
        ("rate", number(plan.rate.map(u64::from))),
        ("burst", number(plan.burst.map(u64::from))),
        ("threads", number(plan.threads.map(u64::from))),
        ("speed", number(plan.speed)),
        ("pools", list(texts(&plan.pools))),
        ("ports", list(texts(&plan.ports))),
        ("countries", list(texts(&plan.countries))),
    ]
}

/// What changed, as `field before -> after`, for the audit trail.
pub(crate) fn shown<const N: usize>(fields: [(&str, String, String); N]) -> String {
    let changed = fields.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(field, before, after)| format!("{field} {before} -> {after}")).collect::<Vec<_>>().join(", ")
}

pub(crate) fn texts<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}
