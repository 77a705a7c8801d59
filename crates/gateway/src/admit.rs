//! Admits a caller to a target: policy, then plan. Only here a [`Permit`] is made.

use std::sync::Arc;

use outgate_egress::guard::{Verdict, judge_name};
use outgate_egress::{Guard, Host};
use outgate_faults::{Fault, raise};
use outgate_store::Country;

use crate::accounts::{Account, Accounts, Meter};
use crate::credentials::Modifiers;
use crate::head::Target;
use crate::identify::Caller;
use crate::limits::{give_back, take_slot};
use crate::load::{Carried, Load};
use crate::policy::{self, Policy, Ruling};
use crate::sessions::{Enlisted, Sessions};
use crate::settings::PoolSettings;

/// The right to reach one target once. While it lives it holds one of the key's threads, its place
/// among the sessions and its part of the gateway's load; all end when it drops.
pub(crate) struct Permit {
    pub(crate) account: Arc<Account>,
    pub(crate) pool: PoolSettings,
    pub(crate) modifiers: Modifiers,
    pub(crate) meter: Meter,
    pub(crate) enlisted: Enlisted,
    _thread: Thread,
    _carried: Carried,
}

/// One of a key's threads.
struct Thread(Arc<Account>);

impl Drop for Thread {
    fn drop(&mut self) {
        give_back(&self.0.live.open);
    }
}

/// What admission goes by.
pub(crate) struct Rules<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) pools: &'a [PoolSettings],
    pub(crate) default_pool: &'a str,
    pub(crate) guard: &'a Guard,
    pub(crate) load: &'a Arc<Load>,
}

/// Admits, or refuses with the first reason in SPEC's order. `nanos` is the gateway's monotonic time.
pub(crate) fn admit(
    rules: &Rules<'_>,
    accounts: &Accounts,
    sessions: &std::rc::Rc<Sessions>,
    caller: Caller,
    target: &Target,
    nanos: u64,
) -> Result<Permit, Fault> {
    let Caller { account, modifiers } = caller;
    let pool = may_go(rules, &account, &modifiers, target)?;
    // Behind the policy, whose refusals hold whatever the load; before the plan, of which it must not cost anything.
    let carried = rules.load.take()?;
    let meter = accounts.meter(&account, &pool.name);
    meter.allowance()?;
    account.take_rate(nanos)?;
    let limit = account.plan.threads.unwrap_or(u32::MAX);
    if !take_slot(&account.live.open, limit) {
        return Err(raise::threads_exceeded(limit));
    }
    let thread = Thread(account.clone());
    let enlisted = sessions.enlist(account.key.id.clone());
    Ok(Permit { account, pool, modifiers, meter, enlisted, _thread: thread, _carried: carried })
}

/// Policy: whether this key may go there that way at all, whatever it has used.
fn may_go(rules: &Rules<'_>, account: &Account, modifiers: &Modifiers, target: &Target) -> Result<PoolSettings, Fault> {
    let plan = &account.plan;
    let ports = if plan.ports.is_empty() { &rules.policy.ports } else { &plan.ports };
    if !ports.iter().any(|range| range.contains(target.port)) {
        return Err(raise::port_denied(target.port, policy::list(ports)));
    }
    let verdict = match &target.host {
        Host::Ip(ip) => rules.guard.judge(*ip),
        Host::Name(name) => judge_name(name),
    };
    let wanted = modifiers.pool.as_deref().unwrap_or(rules.default_pool);
    let pool = rules.pools.iter().find(|pool| pool.name.as_str() == wanted);
    match verdict {
        Verdict::Metadata => return Err(raise::target_metadata(&target.host)),
        // An exit's network may have other ranges open than the gateway's: there the exit judges.
        Verdict::Private(class) if pool.is_none_or(|p| p.kind == outgate_store::PoolKind::Direct) => {
            return Err(raise::target_private(&target.host, class));
        }
        Verdict::Private(_) | Verdict::Allowed => {}
    }
    if let Ruling::Denied(rule) = rules.policy.rule_on(target, None) {
        return Err(raise::target_denied(&target.host, rule));
    }
    let pool =
        pool.filter(|pool| plan.pools.is_empty() || plan.pools.contains(&pool.name)).ok_or_else(|| raise::pool_denied(wanted))?;
    if let Some(country) = modifiers.country.as_deref().and_then(|text| Country::parse(text).ok())
        && !plan.countries.is_empty()
        && !plan.countries.contains(&country)
    {
        return Err(raise::country_denied(country));
    }
    Ok(pool.clone())
}
