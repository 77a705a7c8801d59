//! The operator's pages of keys: the list, one key, and the forms that make and change them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_store::amount::parse_duration;
use outgate_store::live::LiveUsage;
use outgate_store::{Grouping, Hour, Key, KeyId, KeyState, Plan, Proof, Secret, UsageQuery, earlier};

use super::Pages;
use super::chart::{self, Bar};
use super::door::{Operator, Sent, go};
use super::form::{As, Form};
use super::frame::{Page, Shown, Tab, mark};
use super::logins::{Note, Shown as ShownOnce};
use super::parts::{Field, Tone, Wrong, ago, badge, bar, table, time};
use super::{faults, requests, words};
use crate::api::keys::{key_patch, new_key};
use crate::api::whole;
use crate::problem::Problem;

/// Keys of one page of the list.
const LISTED: usize = 100;

/// Requests in flight that a key's page lists.
const IN_FLIGHT: usize = 20;

const NEW: [(&str, As); 5] =
    [("id", As::Text), ("plan", As::Text), ("allow_ips", As::List), ("proof", As::Text), ("expires", As::Text)];
const PATCH: [(&str, As); 4] = [("plan", As::Text), ("allow_ips", As::List), ("proof", As::Text), ("expires", As::Text)];

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

/// `GET /new/key`.
pub(super) async fn new(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    new_form(&pages, &signed, &Form::default(), None)
}

fn new_form(pages: &Pages, signed: &super::door::Signed, form: &Form, problem: Option<&Problem>) -> Response {
    let wrong = Wrong(problem);
    let plans = plan_choices(pages, "the default plan");
    let body = html! {
        h1 { "Create a key" }
        (wrong.summary())
        form.panel.stack method="post" action="/keys" {
            (mark(signed))
            (Field { name: "id", label: "Id", hint: "4 to 32 lower-case letters and digits; empty: a random one.", value: form.text("id") }
                .line(&wrong))
            (Field { name: "plan", label: "Plan", hint: "", value: form.text("plan") }.choice(&wrong, &choices(&plans)))
            (sources(form.text("allow_ips"), &wrong))
            (proofs(form.text("proof"), &wrong))
            (expiry(form.text("expires"), &wrong))
            div.actions {
                button.primary type="submit" { "Create the key" }
                a href="/keys" { "Cancel" }
            }
        }
    };
    let page = Page::operator(pages, signed, Tab::Keys, "Create a key").show(body);
    (problem.map_or(StatusCode::OK, Problem::status), page).into_response()
}

fn plan_choices(pages: &Pages, unsaid: &str) -> Vec<(String, String)> {
    let plans = pages.desk.plans(None, 1_000);
    let named = plans.into_iter().map(|(plan, _)| (plan.name.to_string(), plan.name.to_string()));
    std::iter::once((String::new(), unsaid.to_owned())).filter(|(_, label)| !label.is_empty()).chain(named).collect()
}

fn choices(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned.iter().map(|(value, label)| (value.as_str(), label.as_str())).collect()
}

fn sources(value: &str, wrong: &Wrong<'_>) -> Markup {
    let hint = "Addresses or networks, one per line, such as 192.0.2.7 or 198.51.100.0/24. Empty: from anywhere.";
    Field { name: "allow_ips", label: "May be used from", hint, value }.lines(wrong)
}

fn proofs(value: &str, wrong: &Wrong<'_>) -> Markup {
    let options = [("secret", "the secret, from an allowed address"), ("source", "an allowed address is enough")];
    Field { name: "proof", label: "Proof", hint: "", value }.choice(wrong, &options)
}

fn expiry(value: &str, wrong: &Wrong<'_>) -> Markup {
    let hint = "A date (2026-12-31), a time (2026-12-31T18:00:00Z) or a distance (30d). Empty: never.";
    Field { name: "expires", label: "Expires", hint, value }.line(wrong)
}

/// `POST /keys`.
pub(super) async fn create(State(pages): State<Pages>, sent: Sent<Operator>) -> Response {
    let Sent { by: Operator(signed), form } = sent;
    let mut fields = form.fields(&NEW);
    let new = new_key(&mut fields, pages.desk.now());
    let created = match fields.finish(Some(new)) {
        Ok(new) => {
            let (desk, who) = (Arc::clone(&pages.desk), signed.who());
            whole(async move { desk.create_key(&who, new).await }).await
        }
        Err(problem) => Err(problem),
    };
    match created {
        Ok((key, secret)) => {
            signed.leave(&pages, shown_once(&pages, &key, secret, None));
            go(&format!("/keys/{}", key.id))
        }
        Err(problem) => new_form(&pages, &signed, &form, Some(&problem)),
    }
}

/// The note with a key's new secret.
pub(super) fn shown_once(pages: &Pages, key: &Key, secret: Secret<String>, remark: Option<String>) -> Note {
    let line = pages.sight.proxies.first().and_then(|proxy| {
        let (scheme, address) = proxy.split_once("://")?;
        let line = format!("curl -x '{scheme}://{}:{}@{address}' https://example.com/", key.id, secret.expose());
        Some(Secret::new(line))
    });
    Note::Secret(ShownOnce { of: format!("Secret of key {}", key.id), secret, line, remark })
}

/// `GET /keys/{id}`.
pub(super) async fn show(State(pages): State<Pages>, Operator(signed): Operator, Path(id): Path<String>) -> Shown {
    let key = find(&pages, &id)?;
    show_with(&pages, &signed, &key, &Form::default(), None).await
}

fn find(pages: &Pages, id: &str) -> Result<Key, Problem> {
    let id = id.parse::<KeyId>().map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(pages.desk.key(&id)?)
}

async fn show_with(pages: &Pages, signed: &super::door::Signed, key: &Key, form: &Form, problem: Option<&Problem>) -> Shown {
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

/// The buttons for what is done often.
fn levers(signed: &super::door::Signed, key: &Key) -> Markup {
    let button = |action: &str, label: &str| {
        html! {
            form method="post" action={ "/keys/" (key.id) "/" (action) } { (mark(signed)) button type="submit" { (label) } }
        }
    };
    html! {
        div.actions #levers data-live {
            @match key.state {
                KeyState::Active => (button("suspend", "Suspend")),
                KeyState::Suspended => (button("resume", "Resume")),
                KeyState::Blocked { .. } => (button("unblock", "Lift the block")),
                KeyState::Revoked => {}
            }
        }
    }
}

fn change_forms(pages: &Pages, signed: &super::door::Signed, key: &Key, form: &Form, problem: Option<&Problem>) -> Markup {
    let wrong = Wrong(problem);
    let plans = plan_choices(pages, "");
    let sources_now = key.allow_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let expires = key.expires.map(|at| at.to_string()).unwrap_or_default();
    let plan = key.plan.to_string();
    let said = |name: &'static str, present: &str| if problem.is_some() { form.text(name) } else { present }.to_owned();
    let path = |action: &str| format!("/keys/{}/{action}", key.id);
    html! {
        section aria-labelledby="change" {
            h2 #change { "Change" }
            (wrong.summary())
            details.panel #settings open[problem.is_some()] {
                summary { "Plan, addresses, expiry" }
                form.stack method="post" action=(path("set")) {
                    (mark(signed))
                    (Field { name: "plan", label: "Plan", hint: "", value: &said("plan", &plan) }.choice(&wrong, &choices(&plans)))
                    (sources(&said("allow_ips", &sources_now), &wrong))
                    (proofs(&said("proof", key.proof.name()), &wrong))
                    (expiry(&said("expires", &expires), &wrong))
                    button.primary type="submit" { "Save" }
                }
            }
            details.panel #rotation {
                summary { "New secret" }
                form.stack method="post" action=(path("rotate")) {
                    (mark(signed))
                    (Field { name: "grace", label: "The present secret stays good for", value: "",
                        hint: "Such as 1h or 2d, at most 90d. Empty: it ends now." }.line(&Wrong::default()))
                    button.primary type="submit" { "Make a new secret" }
                }
            }
            @if !matches!(key.state, KeyState::Blocked { .. }) {
                details.panel #blocking {
                    summary { "Block" }
                    form.stack method="post" action=(path("block")) {
                        (mark(signed))
                        (Field { name: "why", label: "Why", hint: "For you and other operators; the key's owner is not told.", value: "" }
                            .line(&Wrong::default()))
                        button type="submit" { "Block the key" }
                    }
                }
            }
            details.panel #revocation {
                summary { "Revoke" }
                form.stack method="post" action=(path("revoke")) {
                    (mark(signed))
                    p { "A revoked key never works again; its open tunnels end at once." }
                    label.check { input type="checkbox" name="sure" value="yes" required; " I mean it" }
                    button.danger type="submit" { "Revoke the key for good" }
                }
            }
        }
    }
}

/// `POST /keys/{id}/{action}`.
pub(super) async fn act(State(pages): State<Pages>, Path((id, action)): Path<(String, String)>, sent: Sent<Operator>) -> Shown {
    let Sent { by: Operator(signed), form } = sent;
    let key = find(&pages, &id)?;
    let (desk, who, id) = (Arc::clone(&pages.desk), signed.who(), key.id.clone());
    let done = match action.as_str() {
        "set" => {
            let mut fields = form.fields(&PATCH);
            let patch = key_patch(&mut fields, pages.desk.now());
            let changed = match fields.finish(Some(patch)) {
                Ok(patch) => whole(async move { desk.set_key(&who, &id, patch).await }).await,
                Err(problem) => Err(problem),
            };
            match changed {
                Ok(_) => "The key was changed; it holds from now on.",
                Err(problem) => return show_with(&pages, &signed, &key, &form, Some(&problem)).await,
            }
        }
        "rotate" => return rotate(&pages, &signed, &key, &form).await,
        "suspend" => {
            whole(async move { desk.suspend_key(&who, &id).await }).await?;
            "The key is suspended; its open tunnels were cut."
        }
        "resume" => {
            whole(async move { desk.resume_key(&who, &id).await }).await?;
            "The key is active again."
        }
        "block" => {
            let why = form.text("why").to_owned();
            whole(async move { desk.block_key(&who, &id, &why).await }).await?;
            "The key is blocked; its open tunnels were cut."
        }
        "unblock" => {
            whole(async move { desk.unblock_key(&who, &id).await }).await?;
            "The block is lifted; the key is active."
        }
        "revoke" if form.text("sure") == "yes" => {
            whole(async move { desk.revoke_key(&who, &id).await }).await?;
            "The key is revoked for good; its open tunnels were cut."
        }
        "revoke" => return Err(Problem::invalid("tick the box to say that you mean it: a revoked key never works again").into()),
        _ => return Err(Problem::no_such_route(&format!("/keys/{id}/{action}")).into()),
    };
    signed.leave(&pages, Note::Done(done.to_owned()));
    Ok(go(&format!("/keys/{}", key.id)))
}

async fn rotate(pages: &Pages, signed: &super::door::Signed, key: &Key, form: &Form) -> Shown {
    let grace = match form.text("grace") {
        "" => std::time::Duration::ZERO,
        text => parse_duration(text).map_err(|error| Problem::invalid_fields(vec![("grace".into(), error.to_string())]))?,
    };
    let (desk, who, id) = (Arc::clone(&pages.desk), signed.who(), key.id.clone());
    let (key, secret) = whole(async move { desk.rotate_key(&who, &id, grace).await }).await?;
    let remark = key.old_secret.map(|old| format!("The secret before is good until {} UTC.", words::moment(old.until)));
    signed.leave(pages, shown_once(pages, &key, secret, remark));
    Ok(go(&format!("/keys/{}", key.id)))
}
