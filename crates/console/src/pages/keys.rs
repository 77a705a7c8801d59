//! The operator's pages of keys: the list and one key. What an owner sees of a key is made of the same pieces.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_store::live::LiveUsage;
use outgate_store::{Grouping, Hour, Key, KeyId, KeyState, Plan, Proof, UsageQuery, earlier};

use super::Pages;
use super::chart::{self, Bar};
use super::door::{Operator, Signed, go};
use super::form::Form;
use super::frame::{Page, Shown, Tab};
use super::key_forms::{change_forms, levers};
use super::parts::{Tone, ago, badge, bar, table, time};
use super::{faults, requests, words};
use crate::problem::Problem;

/// Keys of one page of the list.
const LISTED: usize = 100;

/// Requests in flight that a key's page lists.
const IN_FLIGHT: usize = 20;

/// `GET /keys`.
pub(super) async fn list(
    State(pages): State<Pages>,
    Operator(signed): Operator,
    query: Query<Vec<(String, String)>>,
) -> Response {
    let asked = |name: &str| query.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.trim());
    let wanted = asked("find");
    if let Ok(id) = wanted.parse::<KeyId>()
        && pages.desk.key(&id).is_ok()
    {
        return go(&format!("/keys/{id}"));
    }
    let after = asked("after").parse::<KeyId>().ok();
    let mut keys = pages.desk.keys(after.as_ref(), LISTED + 1);
    let next = (keys.len() > LISTED).then(|| keys[LISTED - 1].id.clone());
    keys.truncate(LISTED);
    let now = pages.desk.now();
    let body = html! {
        div.title {
            h1 { "Keys" }
            a.button.primary href="/new/key" { "Create a key" }
        }
        form.search method="get" action="/keys" role="search" {
            label for="find" { "Key id" }
            input #find name="find" value=(wanted) autocapitalize="none" spellcheck="false" autocomplete="off";
            button type="submit" { "Go to it" }
        }
        @if !wanted.is_empty() { p.note.warn role="status" { "There is no key " span.mono { (wanted) } "." } }
        div #keys data-live {
            (table("Keys", html! {
                table {
                    caption { "Every key, by id" }
                    thead { tr {
                        th scope="col" { "Key" } th scope="col" { "State" } th scope="col" { "Plan" }
                        th scope="col" { "Used in this period" }
                        th.number scope="col" { "In flight" } th.minor scope="col" { "Expires" }
                    } }
                    tbody {
                        @for key in &keys { (row(&pages, key, now)) }
                        @if keys.is_empty() { tr { td.empty colspan="6" { "There are no keys here." } } }
                    }
                }
            }))
        }
        nav.paging aria-label="Pages of the list" {
            @if after.is_some() { a href="/keys" { "From the start" } }
            @if let Some(next) = &next { a rel="next" href={ "/keys?after=" (next) } { "Next " (LISTED) } }
        }
    };
    Page::operator(&pages, &signed, Tab::Keys, "Keys").live(super::frame::LIVE).show(body)
}

fn row(pages: &Pages, key: &Key, now: Timestamp) -> Markup {
    let used = pages.desk.key_usage(&key.id);
    let plan = pages.desk.plan(&key.plan).ok();
    html! {
        tr {
            th scope="row" { a.mono href={ "/keys/" (key.id) } { (key.id) } }
            td { (state(key, now)) }
            td { a href={ "/plans/" (key.plan) } { (key.plan) } }
            td.meter { @if let Some(plan) = &plan { (used_bytes(key, plan, used, now)) } }
            td.number { (words::count(used.map_or(0, |used| used.open))) }
            td.minor { @match key.expires { Some(at) => (time(at)), None => span.dim { "never" } } }
        }
    }
}

/// A key's state as a badge.
pub(super) fn state(key: &Key, now: Timestamp) -> Markup {
    match &key.state {
        KeyState::Active if key.expired(now) => badge(Tone::Warn, "expired"),
        KeyState::Active => badge(Tone::Good, "active"),
        KeyState::Suspended => badge(Tone::Warn, "suspended"),
        KeyState::Blocked { .. } => badge(Tone::Bad, "blocked"),
        KeyState::Revoked => badge(Tone::Quiet, "revoked"),
    }
}

/// What a key moved in its present period, against its plan's limit.
pub(super) fn used_bytes(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Markup {
    let bytes = period_bytes(key, plan, used, now);
    html! {
        @match plan.bytes {
            Some(limit) => {
                (bar(bytes as f64 / limit.max(1) as f64))
                span { (words::bytes(bytes)) " of " (words::bytes(limit)) }
            }
            None => span { (words::bytes(bytes)) span.dim { " of unlimited" } },
        }
    }
}

/// Bytes of the present period. A key that was idle when its period ended still shows the old one until its next use.
pub(super) fn period_bytes(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> u64 {
    let start = plan.period.start(key.period_anchor, now);
    used.filter(|used| used.period_start == start).map_or(0, |used| used.period_bytes)
}

/// `GET /keys/{id}`.
pub(super) async fn show(State(pages): State<Pages>, Operator(signed): Operator, Path(id): Path<String>) -> Shown {
    let key = find(&pages, &id)?;
    show_with(&pages, &signed, &key, &Form::default(), None).await
}

/// The key that a path names.
pub(super) fn find(pages: &Pages, id: &str) -> Result<Key, Problem> {
    let id = id.parse::<KeyId>().map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(pages.desk.key(&id)?)
}

/// The page; with the form that was refused, if one was.
pub(super) async fn show_with(pages: &Pages, signed: &Signed, key: &Key, form: &Form, problem: Option<&Problem>) -> Shown {
    let now = pages.desk.now();
    let plan = pages.desk.plan(&key.plan)?;
    let used = pages.desk.key_usage(&key.id);
    let in_flight = pages.desk.live.requests_in_flight(Some(key.id.clone()), IN_FLIGHT).await;
    let faults = pages.desk.live.own_faults(&key.id);
    let hours = traffic_of(pages, &key.id, now).await;
    let body = html! {
        div.title {
            h1 { "Key " span.mono { (key.id) } }
            span #state data-live { (state(key, now)) }
        }
        @if let KeyState::Blocked { why } = &key.state { @if !why.is_empty() { p.note.warn { "Blocked: " (why) } } }
        div #now data-live { (facts(key, &plan, used, now)) }
        @if key.state != KeyState::Revoked { (levers(signed, key)) }
        section aria-labelledby="in-flight" {
            h2 #in-flight { "In flight" }
            div #flying data-live { (requests::in_flight(&in_flight, now, requests::Of::OneKey)) }
        }
        section aria-labelledby="last-faults" {
            h2 #last-faults { "Last faults" }
            div #faults data-live { (faults::own(&faults, now, faults::Reader::Operator)) }
            p { a href={ "/requests?key=" (key.id) } { "Find this key's requests" } }
        }
        section aria-labelledby="traffic" {
            h2 #traffic { "Traffic of the last 24 hours" }
            (traffic(&hours))
        }
        @if key.state != KeyState::Revoked { (change_forms(pages, signed, key, form, problem)) }
    };
    let page = Page::operator(pages, signed, Tab::Keys, format!("Key {}", key.id)).live(super::frame::LIVE).show(body);
    Ok((problem.map_or(StatusCode::OK, Problem::status), page).into_response())
}

/// What a key is and has, in a list of terms.
pub(super) fn facts(key: &Key, plan: &Plan, used: Option<LiveUsage>, now: Timestamp) -> Markup {
    let open = used.map_or(0, |used| used.open);
    html! {
        dl.facts {
            div { dt { "Plan" } dd { (plan.name) } }
            div.meter {
                dt { "Used in this period" }
                dd { (used_bytes(key, plan, used, now)) }
            }
            div { dt { "Period ends" } dd { (time(plan.period.end(key.period_anchor, now))) } }
            div.meter {
                dt { "In flight" }
                dd {
                    @match plan.threads {
                        Some(limit) => { (bar(open as f64 / f64::from(limit.max(1)))) span { (open) " of " (limit) } }
                        None => span { (open) },
                    }
                }
            }
            div {
                dt { "Requests per second" }
                dd {
                    @match plan.rate {
                        Some(rate) => {
                            (rate) ", bursts of " (plan.burst.unwrap_or(rate))
                            @if let Some(left) = used.and_then(|used| used.rate_left) { span.dim { " (" (left) " left now)" } }
                        }
                        None => "unlimited",
                    }
                }
            }
            div { dt { "Speed" } dd { @match plan.speed { Some(speed) => (words::speed(speed as f64)), None => "unlimited" } } }
            div {
                dt { "May be used from" }
                dd { @if key.allow_ips.is_empty() { "anywhere" } @else { @for net in &key.allow_ips { span.mono { (net) } " " } } }
            }
            div { dt { "Proof" } dd { @match key.proof { Proof::Secret => "secret", Proof::Source => "address alone" } } }
            div { dt { "Expires" } dd { @match key.expires { Some(at) => (time(at)), None => "never" } } }
            div { dt { "Created" } dd { (ago(key.created, now)) } }
            @if let Some(old) = key.old_secret.filter(|old| now < old.until) {
                div { dt { "Old secret good until" } dd { (time(old.until)) } }
            }
        }
    }
}

/// Bytes of a key by hour, of the last day, oldest first.
pub(super) async fn traffic_of(pages: &Pages, key: &KeyId, now: Timestamp) -> Vec<Bar> {
    const HOURS: usize = 24;
    let first = Hour::of(earlier(now, std::time::Duration::from_secs(3_600 * (HOURS as u64 - 1))));
    let query = UsageQuery { key: Some(key.clone()), since: first.start(), by: Grouping::Hour, after: None, limit: HOURS + 1 };
    let rows = pages.desk.delivered_usage(query).await.unwrap_or_default();
    let hour = |number: usize| Hour(first.0 + number as i64);
    let of = |hour: Hour| {
        rows.iter()
            .find(|row| row.group.parse::<Timestamp>().is_ok_and(|at| at == hour.start()))
            .map(|row| row.counters)
            .unwrap_or_default()
    };
    (0..HOURS).map(hour).map(|hour| Bar { at: hour.start(), parts: [of(hour).down, of(hour).up] }).collect()
}

/// Traffic by hour, drawn.
pub(super) fn traffic(hours: &[Bar]) -> Markup {
    chart::bars("Traffic by hour", ["down", "up"], hours, words::bytes)
}
