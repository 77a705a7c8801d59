//! Keys near their limits: looked for among all keys, off the console's thread and not more often than every few seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};
use outgate_store::{Key, KeyId, KeyState, later};

use super::Pages;
use super::keys::period_bytes;
use super::parts::{bar, table};
use super::words;
use crate::desk::Desk;

/// From this part of a limit on a key is near it.
const NEAR: f64 = 0.8;

/// Keys that are shown.
const SHOWN: usize = 10;

/// How old a look may be: with a million keys it takes a good part of a second.
const FRESH: Duration = Duration::from_secs(10);

/// Keys looked at under one lock of the desk's book.
const PORTION: usize = 2_000;

/// The last look.
#[derive(Default)]
pub(super) struct Near(Mutex<Option<(Timestamp, Arc<Vec<Close>>)>>);

/// A key that is near a limit.
pub(super) struct Close {
    key: KeyId,
    plan: String,
    part: f64,
    what: String,
}

/// The keys nearest to a limit, nearest first.
pub(super) async fn nearest(pages: &Pages) -> Arc<Vec<Close>> {
    let now = pages.desk.now();
    let kept = {
        let mut last = pages.near.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((at, close)) if now < later(*at, FRESH) && now >= *at => return Arc::clone(close),
            // Whoever comes while the look is taken sees the one before.
            Some((at, close)) => {
                *at = now;
                Some(Arc::clone(close))
            }
            None => {
                *last = Some((now, Arc::default()));
                None
            }
        }
    };
    let desk = Arc::clone(&pages.desk);
    let close = match tokio::task::spawn_blocking(move || look(&desk, now)).await {
        Ok(close) => Arc::new(close),
        Err(_) => kept.unwrap_or_default(),
    };
    *pages.near.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&close)));
    close
}

fn look(desk: &Desk, now: Timestamp) -> Vec<Close> {
    let mut close = Vec::new();
    let mut after = None;
    loop {
        let keys = desk.keys(after.as_ref(), PORTION);
        close.extend(keys.iter().filter_map(|key| judge(desk, key, now)));
        // Of a million keys at their limit only the nearest are kept.
        if close.len() > 100 * SHOWN {
            keep_nearest(&mut close);
        }
        match keys.last() {
            Some(last) if keys.len() == PORTION => after = Some(last.id.clone()),
            _ => break,
        }
    }
    keep_nearest(&mut close);
    close
}

fn keep_nearest(close: &mut Vec<Close>) {
    close.sort_by(|one, other| other.part.total_cmp(&one.part).then_with(|| one.key.cmp(&other.key)));
    close.truncate(SHOWN);
}

fn judge(desk: &Desk, key: &Key, now: Timestamp) -> Option<Close> {
    if key.state != KeyState::Active {
        return None;
    }
    let plan = desk.plan(&key.plan).ok()?;
    if plan.bytes.is_none() && plan.threads.is_none() {
        return None;
    }
    let used = desk.key_usage(&key.id)?;
    let bytes = plan.bytes.map(|limit| {
        let bytes = period_bytes(key, &plan, Some(used), now);
        (bytes as f64 / limit.max(1) as f64, format!("{} of {}", words::bytes(bytes), words::bytes(limit)))
    });
    let threads =
        plan.threads.map(|limit| (used.open as f64 / f64::from(limit.max(1)), format!("{} of {limit} in flight", used.open)));
    let nearest = bytes.into_iter().chain(threads).max_by(|one, other| one.0.total_cmp(&other.0));
    let (part, what) = nearest.filter(|(part, _)| *part >= NEAR)?;
    Some(Close { key: key.id.clone(), plan: plan.name.to_string(), part, what })
}

/// The list.
pub(super) fn list(close: &[Close]) -> Markup {
    html! {
        @if close.is_empty() {
            p.empty { "No key has used more than " (words::percent(NEAR)) " of its bytes or of what it may have in flight." }
        } @else {
            (table("Keys near their limits", html! {
                table {
                    caption.hidden { "Keys near their limits, nearest first" }
                    thead { tr { th scope="col" { "Key" } th scope="col" { "Plan" } th scope="col" { "Used" } } }
                    tbody { @for key in close {
                        tr {
                            th scope="row" { a.mono href={ "/keys/" (key.key) } { (key.key) } }
                            td { (key.plan) }
                            td.meter { (bar(key.part)) span { (key.what) } }
                        }
                    } }
                }
            }))
        }
    }
}
