//! Admits a caller to a target: policy, then plan. Only here a [`Permit`] is made.

use std::sync::Arc;
use std::time::Duration;

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
use crate::shares::lot::Lot;
use crate::shares::{Granted, Lacks};

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
#[derive(Debug)]
pub(crate) struct Thread(Arc<Account>);

impl Thread {
    /// One that was just taken.
    pub(crate) fn taken(account: Arc<Account>) -> Self {
        Self(account)
    }
}

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
pub(crate) async fn admit(
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
    let thread = match account.live.lot.as_deref() {
        None => within_plan(&account, &meter, |limit| limit, nanos)?,
        Some(lot) => shared(&account, &meter, lot, nanos).await?,
    };
    let enlisted = sessions.enlist(account.key.id.clone());
    Ok(Permit { account, pool, modifiers, meter, enlisted, _thread: thread, _carried: carried })
}

/// Plan: bytes, rate, threads, of which `part` is this gateway's.
fn within_plan(account: &Arc<Account>, meter: &Meter, part: impl Fn(u32) -> u32, nanos: u64) -> Result<Thread, Fault> {
    meter.allowance(nanos)?;
    account.take_rate(&part, nanos)?;
    take_thread(account, part)
}

fn take_thread(account: &Arc<Account>, part: impl Fn(u32) -> u32) -> Result<Thread, Fault> {
    let limit = account.plan.threads.map_or(u32::MAX, part);
    if take_slot(&account.live.open, limit) { Ok(Thread(account.clone())) } else { Err(threads_exceeded(account)) }
}

fn threads_exceeded(account: &Account) -> Fault {
    raise::threads_exceeded(account.plan.threads.unwrap_or(u32::MAX))
}

/// The same when the limits are shared with other gateways. Asks nobody while this one has what it takes.
async fn shared(account: &Arc<Account>, meter: &Meter, lot: &Lot, nanos: u64) -> Result<Thread, Fault> {
    let plan = &account.plan;
    let part = |limit| lot.shares.part(limit);
    lot.count_setup();
    if !lot.shares.together() {
        return within_plan(account, meter, part, nanos);
    }
    let bytes = meter.allowance(nanos)? == 0;
    if let Some(wait) = plan.rate.and_then(|_| lot.no_token_for(nanos)) {
        return Err(account.rate_limited(Duration::from_nanos(wait), 0));
    }
    let token = plan.rate.is_some() && !lot.take_token(nanos);
    let thread = match plan.threads {
        None => Some(take_thread(account, part)?),
        Some(_) => lot.take_thread(&account.live.open).then(|| Thread(account.clone())),
    };
    let lacks = Lacks { bytes, token, slot: thread.is_none() };
    let thread = match thread {
        Some(thread) if lacks == Lacks::default() => return Ok(thread),
        thread => thread,
    };
    // Boxed: few set-ups come by here, and an open tunnel's task is as large as the largest of its futures.
    let granted = Box::pin(lot.shares.ask(account.clone(), lacks)).await;
    // Where bytes are still on their way, whoever moves them waits.
    meter.allowance(nanos)?;
    match granted {
        None if token => account.take_rate(part, nanos)?,
        Some(Granted { no_token: Some(none), .. }) => return Err(account.rate_limited(none.wait, u64::from(none.remaining))),
        None | Some(_) => {}
    }
    match (thread, granted) {
        (Some(thread), _) => Ok(thread),
        (None, None) => take_thread(account, part),
        (None, Some(granted)) => granted.thread.ok_or_else(|| threads_exceeded(account)),
    }
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
