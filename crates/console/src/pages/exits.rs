//! The operator's pages of exits: where they are and how they are, one exit, and the form that enrols one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_store::live::{ExitHealth, ExitStatus};
use outgate_store::{Country, Exit, ExitId, ExitState, Labels, Secret};

use super::Pages;
use super::door::{Operator, Sent, Signed, go};
use super::form::{As, Form};
use super::frame::{LIVE, Page, Shown, Tab, mark};
use super::logins::{Note, Shown as ShownOnce};
use super::parts::{Field, Tone, Wrong, ago, badge, table, time};
use super::words;
use crate::api::exits::{exit_patch, new_exit};
use crate::api::whole;
use crate::problem::Problem;

/// Exits of one page of the list.
const LISTED: usize = 100;

/// Countries that a list shows; the rest are summed up.
const COUNTRIES: usize = 60;

const NEW: [(&str, As); 9] = [
    ("name", As::Text),
    ("pool", As::Text),
    ("country", As::Text),
    ("state", As::Text),
    ("city", As::Text),
    ("asn", As::Number),
    ("carrier", As::Text),
    ("weight", As::Number),
    ("max_tunnels", As::Number),
];
const PATCH: [(&str, As); 3] = [("name", As::Text), ("weight", As::Number), ("max_tunnels", As::Number)];

/// How the connected exits of one pool and country are.
#[derive(Default)]
pub(super) struct Together {
    pub(super) healthy: u64,
    pub(super) slow: u64,
    pub(super) ejected: u64,
    pub(super) tunnels: u64,
}

impl Together {
    /// How many are connected.
    pub(super) fn all(&self) -> u64 {
        self.healthy + self.slow + self.ejected
    }
}

/// The connected exits by pool and country.
pub(super) fn by_place(pages: &Pages) -> BTreeMap<(String, Option<Country>), Together> {
    let mut places: BTreeMap<(String, Option<Country>), Together> = BTreeMap::new();
    for exit in pages.desk.live.exits_online() {
        let here = places.entry((exit.pool.to_string(), exit.labels.country)).or_default();
        here.tunnels += exit.tunnels;
        match exit.health {
            ExitHealth::Healthy => here.healthy += 1,
            ExitHealth::SlowStart { .. } => here.slow += 1,
            ExitHealth::Ejected { .. } => here.ejected += 1,
        }
    }
    places
}

/// A table of them.
pub(super) fn places(places: &BTreeMap<(String, Option<Country>), Together>) -> Markup {
    table(
        "Exits by pool and country",
        html! {
            table {
                caption { "Connected exits by pool and country" }
                thead { tr {
                    th scope="col" { "Pool" } th scope="col" { "Country" } th.number scope="col" { "Connected" }
                    th.number scope="col" { "Healthy" } th.number scope="col" { "Let back" } th.number scope="col" { "Ejected" }
                    th.number scope="col" { "Tunnels" }
                } }
                tbody {
                    @for ((pool, country), here) in places.iter().take(COUNTRIES) {
                        tr {
                            th scope="row" { (pool) }
                            td { (country_name(*country)) }
                            td.number { (words::count(here.all())) }
                            td.number { (words::count(here.healthy)) }
                            td.number { @if here.slow > 0 { (badge(Tone::Warn, &here.slow.to_string())) } @else { "0" } }
                            td.number { @if here.ejected > 0 { (badge(Tone::Bad, &here.ejected.to_string())) } @else { "0" } }
                            td.number { (words::count(here.tunnels)) }
                        }
                    }
                    @if places.is_empty() { tr { td.empty colspan="7" { "No exit is connected. The pool " span.mono { "direct" } " needs none." } } }
                    @if places.len() > COUNTRIES { tr { td.empty colspan="7" { "and " (places.len() - COUNTRIES) " more places" } } }
                }
            }
        },
    )
}

fn country_name(country: Option<Country>) -> String {
    country.map_or_else(|| "unknown".to_owned(), |country| format!("{} ({country})", country.name()))
}

/// `GET /exits`.
pub(super) async fn list(
    State(pages): State<Pages>,
    Operator(signed): Operator,
    query: Query<Vec<(String, String)>>,
) -> Response {
    let after = query.iter().find(|(name, _)| name == "after").and_then(|(_, after)| after.parse::<ExitId>().ok());
    let mut exits = pages.desk.exits(after.as_ref(), LISTED + 1);
    let next = (exits.len() > LISTED).then(|| exits[LISTED - 1].0.id.clone());
    exits.truncate(LISTED);
    let now = pages.desk.now();
    let body = html! {
        div.title {
            h1 { "Exits" }
            a.button.primary href="/new/exit" { "Enrol an exit" }
        }
        div #places data-live { (places(&by_place(&pages))) }
        h2 { "Every exit" }
        div #exits data-live {
            (table("Every exit", html! {
                table {
                    caption { "Enrolled exits, by id" }
                    thead { tr {
                        th scope="col" { "Exit" } th scope="col" { "Name" } th scope="col" { "Now" } th scope="col" { "Pool" } th scope="col" { "Where" }
                        th.number scope="col" { "Tunnels" } th.number.minor scope="col" { "Round trip" } th.minor scope="col" { "Connected" }
                    } }
                    tbody {
                        @for (exit, online) in &exits { (row(exit, online.as_ref(), now)) }
                        @if exits.is_empty() { tr { td.empty colspan="8" { "There are no exits here." } } }
                    }
                }
            }))
        }
        nav.paging aria-label="Pages of the list" {
            @if after.is_some() { a href="/exits" { "From the start" } }
            @if let Some(next) = &next { a rel="next" href={ "/exits?after=" (next) } { "Next " (LISTED) } }
        }
    };
    Page::operator(&pages, &signed, Tab::Exits, "Exits").live(LIVE).show(body)
}

fn row(exit: &Exit, online: Option<&ExitStatus>, now: Timestamp) -> Markup {
    let labels = online.map_or(&exit.labels, |online| &online.labels);
    let pool = online.map(|online| online.pool.to_string()).or_else(|| exit.pool.as_ref().map(ToString::to_string));
    html! {
        tr {
            th scope="row" { a.mono href={ "/exits/" (exit.id) } { (exit.id) } }
            td { (exit.name.as_deref().unwrap_or("")) }
            td { (health(exit, online)) }
            td { (pool.unwrap_or_default()) }
            td { (place(labels)) }
            td.number { @if let Some(online) = online { (words::count(online.tunnels)) } }
            td.number.minor { @if let Some(rtt) = online.and_then(|online| online.rtt) { (words::duration(rtt)) } }
            td.minor { @if let Some(online) = online { (ago(online.since, now)) } }
        }
    }
}

fn health(exit: &Exit, online: Option<&ExitStatus>) -> Markup {
    match (exit.state, online.map(|online| online.health)) {
        (ExitState::Revoked, _) => badge(Tone::Quiet, "revoked"),
        (_, None) => badge(Tone::Bad, "not connected"),
        (ExitState::Draining, Some(_)) => badge(Tone::Warn, "draining"),
        (_, Some(ExitHealth::Healthy)) => badge(Tone::Good, "healthy"),
        (_, Some(ExitHealth::SlowStart { .. })) => badge(Tone::Warn, "let back"),
        (_, Some(ExitHealth::Ejected { .. })) => badge(Tone::Bad, "ejected"),
    }
}

fn place(labels: &Labels) -> String {
    let parts = [labels.city.clone(), labels.state.clone(), labels.country.map(|country| country.name().to_owned())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `GET /new/exit`.
pub(super) async fn new(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    new_form(&pages, &signed, &Form::default(), None)
}

fn new_form(pages: &Pages, signed: &Signed, form: &Form, problem: Option<&Problem>) -> Response {
    let wrong = Wrong(problem);
    let field = |name, label, hint| Field { name, label, hint, value: form.text(name) }.line(&wrong);
    let body = html! {
        h1 { "Enrol an exit" }
        p { "What is left empty, the exit may say itself when it dials in." }
        (wrong.summary())
        form.panel.stack method="post" action="/exits" {
            (mark(signed))
            div.columns {
                (field("name", "Name", "What people call it."))
                (field("pool", "Pool", "Such as residential."))
                (field("country", "Country", "Two letters, such as us."))
                (field("state", "State", "Of that country, such as ca."))
                (field("city", "City", ""))
                (field("asn", "AS number", ""))
                (field("carrier", "Carrier", ""))
                (field("weight", "Weight", "Its share of the traffic, 1 to 1000."))
                (field("max_tunnels", "Tunnels at once", "Empty: no cap."))
            }
            div.actions { button.primary type="submit" { "Enrol the exit" } a href="/exits" { "Cancel" } }
        }
    };
    let page = Page::operator(pages, signed, Tab::Exits, "Enrol an exit").show(body);
    (problem.map_or(StatusCode::OK, Problem::status), page).into_response()
}

/// `POST /exits`.
pub(super) async fn enroll(State(pages): State<Pages>, sent: Sent<Operator>) -> Response {
    let Sent { by: Operator(signed), form } = sent;
    let mut fields = form.fields(&NEW);
    let new = new_exit(&mut fields);
    let enrolled = match fields.finish(Some(new)) {
        Ok(new) => {
            let (desk, who) = (Arc::clone(&pages.desk), signed.who());
            whole(async move { desk.enroll_exit(&who, new).await }).await
        }
        Err(problem) => Err(problem),
    };
    match enrolled {
        Ok((exit, token)) => {
            let line = pages.desk.exit_door().map(|door| {
                let scheme = if door.tls { "wss" } else { "ws" };
                Secret::new(format!("outgate exit --gateway {scheme}://{} --token {}", door.address, token.expose()))
            });
            let shown = ShownOnce { of: format!("Token of exit {}", exit.id), secret: token, line, remark: None };
            signed.leave(&pages, Note::Secret(shown));
            go(&format!("/exits/{}", exit.id))
        }
        Err(problem) => new_form(&pages, &signed, &form, Some(&problem)),
    }
}

/// `GET /exits/{id}`.
pub(super) async fn show(State(pages): State<Pages>, Operator(signed): Operator, Path(id): Path<String>) -> Shown {
    let exit = find(&pages, &id)?;
    Ok(one(&pages, &signed, &exit, None))
}

fn find(pages: &Pages, id: &str) -> Result<Exit, Problem> {
    let id = id.parse::<ExitId>().map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(pages.desk.exit(&id)?)
}

fn one(pages: &Pages, signed: &Signed, exit: &Exit, refused: Option<(&Form, &Problem)>) -> Response {
    let now = pages.desk.now();
    let online = pages.desk.exit_online(&exit.id);
    let body = html! {
        div.title {
            h1 { "Exit " span.mono { (exit.id) } }
            span #state data-live { (health(exit, online.as_ref())) }
        }
        div #now data-live { (facts(exit, online.as_ref(), now)) }
        p { a href={ "/requests?exit=" (exit.id) } { "Find requests through this exit" } }
        @if exit.state != ExitState::Revoked { (change_forms(signed, exit, refused)) }
    };
    let page = Page::operator(pages, signed, Tab::Exits, format!("Exit {}", exit.id)).live(LIVE).show(body);
    (refused.map_or(StatusCode::OK, |(_, problem)| problem.status()), page).into_response()
}

fn facts(exit: &Exit, online: Option<&ExitStatus>, now: Timestamp) -> Markup {
    let labels = online.map_or(&exit.labels, |online| &online.labels);
    html! {
        dl.facts {
            @if let Some(name) = &exit.name { div { dt { "Name" } dd { (name) } } }
            @if let Some(pool) = online.map(|online| &online.pool).or(exit.pool.as_ref()) { div { dt { "Pool" } dd { (pool) } } }
            div { dt { "Where" } dd { (place(labels)) } }
            @if let Some(asn) = labels.asn { div { dt { "AS number" } dd { (asn) } } }
            @if let Some(carrier) = &labels.carrier { div { dt { "Carrier" } dd { (carrier) } } }
            div { dt { "Weight" } dd { (exit.weight) } }
            div { dt { "Tunnels at once" } dd { @match exit.max_tunnels { Some(most) => (most), None => "no cap" } } }
            @if let Some(online) = online {
                div { dt { "Tunnels now" } dd { (words::count(online.tunnels)) } }
                div { dt { "Links" } dd { (online.links) } }
                @if let Some(rtt) = online.rtt { div { dt { "Round trip" } dd { (words::duration(rtt)) } } }
                div { dt { "Connected" } dd { (ago(online.since, now)) } }
                div { dt { "Agent" } dd { (online.agent) } }
                @if let Some(gateway) = &online.gateway { div { dt { "Linked to gateway" } dd { (gateway) } } }
                @match online.health {
                    ExitHealth::Ejected { why, until } => div { dt { "Ejected" } dd { (why) "; checked for its return at " (time(until)) } },
                    ExitHealth::SlowStart { until } => div { dt { "Let back" } dd { "takes less than its share until " (time(until)) } },
                    ExitHealth::Healthy => {}
                }
            }
            div { dt { "Enrolled" } dd { (ago(exit.created, now)) } }
        }
    }
}

fn change_forms(signed: &Signed, exit: &Exit, refused: Option<(&Form, &Problem)>) -> Markup {
    let wrong = Wrong(refused.map(|(_, problem)| problem));
    let path = |action: &str| format!("/exits/{}/{action}", exit.id);
    let (name, weight) = (exit.name.clone().unwrap_or_default(), exit.weight.to_string());
    let cap = exit.max_tunnels.map(|cap| cap.to_string()).unwrap_or_default();
    let said = |name: &'static str, present: &str| refused.map_or(present, |(form, _)| form.text(name)).to_owned();
    let button = |action: &str, label: &str| {
        html! { form method="post" action=(path(action)) { (mark(signed)) button type="submit" { (label) } } }
    };
    html! {
        div.actions #levers data-live {
            @if exit.state == ExitState::Draining { (button("resume", "Give it tunnels again")) } @else { (button("drain", "Drain")) }
            (button("rotate", "Change its address"))
        }
        section aria-labelledby="change" {
            h2 #change { "Change" }
            (wrong.summary())
            details.panel #settings open[refused.is_some()] {
                summary { "Name, weight, cap" }
                form.stack method="post" action=(path("set")) {
                    (mark(signed))
                    (Field { name: "name", label: "Name", hint: "", value: &said("name", &name) }.line(&wrong))
                    (Field { name: "weight", label: "Weight", hint: "Its share of the traffic, 1 to 1000.", value: &said("weight", &weight) }.line(&wrong))
                    (Field { name: "max_tunnels", label: "Tunnels at once", hint: "Empty: no cap.", value: &said("max_tunnels", &cap) }.line(&wrong))
                    button.primary type="submit" { "Save" }
                }
            }
            details.panel #revocation {
                summary { "Revoke" }
                form.stack method="post" action=(path("revoke")) {
                    (mark(signed))
                    p { "Its links are closed and its token opens nothing any more." }
                    label.check { input type="checkbox" name="sure" value="yes" required; " I mean it" }
                    button.danger type="submit" { "Revoke the exit for good" }
                }
            }
        }
    }
}

/// `POST /exits/{id}/{action}`.
pub(super) async fn act(State(pages): State<Pages>, Path((id, action)): Path<(String, String)>, sent: Sent<Operator>) -> Shown {
    let Sent { by: Operator(signed), form } = sent;
    let exit = find(&pages, &id)?;
    let (desk, who, id) = (Arc::clone(&pages.desk), signed.who(), exit.id.clone());
    let note = match action.as_str() {
        "set" => {
            let mut fields = form.fields(&PATCH);
            let patch = exit_patch(&mut fields);
            let set = match fields.finish(Some(patch)) {
                Ok(patch) => whole(async move { desk.set_exit(&who, &id, patch).await }).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = set {
                return Ok(one(&pages, &signed, &exit, Some((&form, &problem))));
            }
            Note::Done("The exit was changed, from its next tunnel on.".to_owned())
        }
        "drain" => {
            whole(async move { desk.drain_exit(&who, &id).await }).await?;
            Note::Done("The exit gets no new tunnels; the open ones may finish.".to_owned())
        }
        "resume" => {
            whole(async move { desk.resume_exit(&who, &id).await }).await?;
            Note::Done("The exit gets tunnels again.".to_owned())
        }
        "rotate" => match whole(async move { desk.rotate_exit(&who, &id).await }).await {
            Ok(done) if done.changed() => Note::Done(format!("Its address was {}, now it is {}.", done.before, done.after)),
            Ok(done) => Note::Failed(format!("It was asked, and its address is still {}.", done.after)),
            Err(problem) => Note::Failed(format!("Its address was not changed: {}.", problem.detail())),
        },
        "revoke" if form.text("sure") == "yes" => {
            whole(async move { desk.revoke_exit(&who, &id).await }).await?;
            Note::Done("The exit is revoked for good.".to_owned())
        }
        "revoke" => return Err(Problem::invalid("tick the box to say that you mean it: a revoked exit never comes back").into()),
        _ => return Err(Problem::no_such_route(&format!("/exits/{}/{action}", exit.id)).into()),
    };
    signed.leave(&pages, note);
    Ok(go(&format!("/exits/{}", exit.id)))
}
