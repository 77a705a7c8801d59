//! Requests: what is in flight, the search among the records, and the report of one request.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_faults::Layer;
use outgate_records::{Privacy, Record, Report};
use outgate_store::live::{InFlight, Listing};

use super::Pages;
use super::door::{Operator, go};
use super::faults;
use super::form::{As, Form};
use super::frame::{LIVE, Page, Shown, Tab};
use super::parts::{Field, Tone, Wrong, badge, outcome_tone, share, slug, table, time};
use super::words;
use crate::api::requests::{filter, natural_stream};
use crate::problem::Problem;

/// Requests in flight that the page lists.
const IN_FLIGHT: usize = 50;

/// Records that a search shows.
const FOUND: usize = 100;

/// Longer than any request id.
const LONGEST_ID: usize = 64;

/// Whose requests a list shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Everybody,
    OneKey,
    /// One key's, for its owner, who has no pages of exits.
    Owner,
}

/// A list of what is in flight.
pub(super) fn in_flight(listing: &Listing, now: Timestamp, of: Of) -> Markup {
    let columns = if of == Of::Everybody { "8" } else { "7" };
    html! {
        (table("In flight", html! {
            table {
                caption {
                    (words::count(listing.all as u64)) " in flight"
                    @if listing.all > listing.requests.len() { ", the newest " (listing.requests.len()) " of them" }
                }
                thead { tr {
                    th scope="col" { "Request" }
                    @if of == Of::Everybody { th scope="col" { "Key" } }
                    th scope="col" { "Target" } th scope="col" { "State" } th.number scope="col" { "For" }
                    th scope="col" { "Pool" } th.minor scope="col" { "Exit" } th.minor scope="col" { "Client" }
                } }
                tbody {
                    @for request in &listing.requests { (flying(request, now, of)) }
                    @if listing.requests.is_empty() { tr { td.empty colspan=(columns) { "Nothing is in flight." } } }
                }
            }
        }))
    }
}

fn flying(request: &InFlight, now: Timestamp, of: Of) -> Markup {
    let state = match (request.connected, request.method.as_str()) {
        (false, _) => (Tone::Quiet, "being set up"),
        (true, "CONNECT") => (Tone::Good, "open tunnel"),
        (true, _) if request.protocol == "socks5" => (Tone::Good, "open tunnel"),
        (true, _) => (Tone::Good, "being answered"),
    };
    html! {
        tr {
            th scope="row" { @if of == Of::Owner { span.mono { (request.request_id) } } @else { a.mono href={ "/requests/" (request.request_id) } { (request.request_id) } } }
            @if of == Of::Everybody { td { a.mono href={ "/keys/" (request.key) } { (request.key) } } }
            td.target { (request.method) " " (request.target) }
            td { (badge(state.0, state.1)) }
            td.number { (words::long(words::since(request.since, now))) }
            td { (request.pool) }
            td.minor { @match &request.exit {
                Some(exit) if of != Of::Owner => a.mono href={ "/exits/" (exit) } { (exit) },
                Some(exit) => span.mono { (exit) },
                None => span.dim { "–" },
            } }
            td.minor { span.mono { (request.client) } " " span.dim { (request.protocol) } }
        }
    }
}

/// What a search may ask for, as the API has it.
const ASKED: [(&str, As); 7] = [
    ("key", As::Text),
    ("outcome", As::Text),
    ("layer", As::Text),
    ("target", As::Text),
    ("exit", As::Text),
    ("since", As::Text),
    ("failed", As::Text),
];

/// `GET /requests`.
pub(super) async fn search(State(pages): State<Pages>, Operator(signed): Operator, uri: Uri) -> Response {
    let asked = Form::read(uri.query().unwrap_or_default().as_bytes());
    if !asked.text("id").is_empty() {
        let plain: String = asked.text("id").chars().filter(char::is_ascii_alphanumeric).collect();
        return go(&format!("/requests/{plain}"));
    }
    let now = pages.desk.now();
    let listing = pages.desk.live.requests_in_flight(None, IN_FLIGHT).await;
    let found = match ASKED.iter().any(|(name, _)| !asked.text(name).is_empty()) {
        true => Some(find_newest(&pages, &asked, now).await),
        false => None,
    };
    let problem = found.as_ref().and_then(|found| found.as_ref().err());
    let body = html! {
        h1 { "Requests" }
        form.search method="get" action="/requests" role="search" aria-label="By request id" {
            label for="id" { "Request id" }
            input #id name="id" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="64" placeholder="6a01f3…";
            button.primary type="submit" { "Show its report" }
        }
        details.panel #filters open[found.is_some()] {
            summary { "Find by key, fault, target, exit" }
            (finder(&asked, problem))
        }
        @if let Some(found) = &found {
            section aria-labelledby="found" {
                h2 #found { "Found" }
                @match found {
                    Ok(found) => (list(found)),
                    Err(problem) => p.note.bad role="alert" { (problem.detail()) },
                }
            }
        }
        section aria-labelledby="flying-now" {
            h2 #flying-now { "In flight" }
            div #flying data-live { (in_flight(&listing, now, Of::Everybody)) }
        }
    };
    let page = Page::operator(&pages, &signed, Tab::Requests, "Requests");
    // A search is not made again and again because somebody reads its result.
    let page = if found.is_some() { page } else { page.live(LIVE) };
    (problem.map_or(StatusCode::OK, Problem::status), page.show(body)).into_response()
}

async fn find_newest(pages: &Pages, asked: &Form, now: Timestamp) -> Result<Vec<Record>, Problem> {
    let mut fields = asked.fields(&ASKED);
    let filter = filter(&mut fields, now);
    let filter = fields.finish(Some(filter))?;
    pages.desk.search.newest(natural_stream(&filter), filter, FOUND).await
}

fn finder(asked: &Form, problem: Option<&Problem>) -> Markup {
    let wrong = Wrong(problem);
    let layers: Vec<(&str, &str)> =
        std::iter::once(("", "any")).chain(Layer::ALL.iter().map(|layer| (layer.name(), layer.name()))).collect();
    html! {
        form.stack method="get" action="/requests" {
            div.columns {
                (Field { name: "key", label: "Key", hint: "", value: asked.text("key") }.line(&wrong))
                (Field { name: "outcome", label: "Fault", hint: "A slug, or ok.", value: asked.text("outcome") }.line(&wrong))
                (Field { name: "layer", label: "Layer", hint: "", value: asked.text("layer") }.choice(&wrong, &layers))
                (Field { name: "target", label: "Target", hint: "A host, host:port or *.example.com.", value: asked.text("target") }.line(&wrong))
                (Field { name: "exit", label: "Exit", hint: "", value: asked.text("exit") }.line(&wrong))
                (Field { name: "since", label: "Since", hint: "Such as 15m or 2026-11-21. Empty: one day.", value: asked.text("since") }.line(&wrong))
            }
            label.check { input type="checkbox" name="failed" value="true" checked[asked.text("failed") == "true"]; " Only what went wrong" }
            button.primary type="submit" { "Find" }
        }
    }
}

fn list(found: &[Record]) -> Markup {
    html! {
        (table("Requests found", html! {
            table {
                caption { @if found.len() == FOUND { "The newest " } (found.len()) " requests, newest first" }
                thead { tr {
                    th scope="col" { "Request" } th scope="col" { "Began" } th scope="col" { "Outcome" } th.number scope="col" { "Status" }
                    th scope="col" { "Target" } th scope="col" { "Key" } th.minor scope="col" { "Exit" } th.number.minor scope="col" { "Bytes" }
                    th.number scope="col" { "Took" }
                } }
                tbody {
                    @for record in found { (row(record)) }
                    @if found.is_empty() { tr { td.empty colspan="9" { "Nothing like that was found." } } }
                }
            }
        }))
    }
}

fn row(record: &Record) -> Markup {
    html! {
        tr {
            th scope="row" { a.mono href={ "/requests/" (record.request_id) } { (record.request_id) } }
            td { (time(record.time)) }
            td { @if record.is_ok() { (badge(Tone::Good, "ok")) } @else { (slug(&record.outcome)) } }
            td.number { @if let Some(status) = record.status { (status) } }
            td.target { (record.method) " " (record.target) }
            td { @if let Some(key) = &record.key { a.mono href={ "/keys/" (key) } { (key) } } }
            td.minor { @if let Some(exit) = &record.exit { span.mono { (exit) } } }
            td.number.minor { (words::bytes(record.bytes_up.saturating_add(record.bytes_down))) }
            td.number { (millis(record.ms.total)) }
        }
    }
}

/// The record of a request.
pub(super) async fn find(pages: &Pages, id: &str) -> Result<Option<Record>, Problem> {
    // Nobody's id: no need to look.
    if id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Ok(None);
    }
    Ok(pages.desk.search.find(id.to_ascii_lowercase()).await?.map(|found| found.record))
}

/// `GET /requests/{id}`: its report.
pub(super) async fn report(State(pages): State<Pages>, Operator(signed): Operator, Path(id): Path<String>) -> Shown {
    let now = pages.desk.now();
    let body = match find(&pages, &id).await? {
        Some(record) => told(&record, faults::Reader::Operator),
        None => {
            let listing = pages.desk.live.requests_in_flight(None, usize::MAX).await;
            let flying: Vec<InFlight> = listing.requests.into_iter().filter(|request| request.request_id == id).collect();
            if flying.is_empty() {
                return Err(Problem::not_found(format!(
                    "there is no record of a request {}. Records are kept as long as [records] says, and a request of the last second may not be written yet",
                    id.chars().take(64).collect::<String>()
                ))
                .into());
            }
            html! {
                h1 { "Request " span.mono { (id) } }
                p { "It is in flight: its record is written when it ends." }
                (in_flight(&Listing { all: 1, requests: flying }, now, Of::Everybody))
            }
        }
    };
    Ok(Page::operator(&pages, &signed, Tab::Requests, format!("Request {id}")).show(body))
}

/// The report of a request.
pub(super) fn told(record: &Record, reader: faults::Reader) -> Markup {
    html! {
        h1 { "Request " span.mono { (record.request_id) } }
        p.lead {
            @if record.is_ok() { (badge(Tone::Good, "ok")) } @else { (badge(outcome_tone(&record.outcome), &record.outcome)) }
            " " (record.method) " " span.target { (record.target) }
        }
        @if let Some(sentence) = &record.sentence { p.sentence { (sentence) } }
        (facts(record, reader))
        (steps(record))
        @if !record.tries.is_empty() { (tries(record)) }
        @if let Some(slug) = record.slug() { section aria-labelledby="explained" {
            h2 #explained { "What it means" }
            (faults::explanation(slug))
        } }
        section aria-labelledby="paste" {
            h2 #paste { "For support" }
            p.dim { "Safe to paste: no secret, and the client's address is masked." }
            div.secret.plain { pre tabindex="0" { code { (Report::of(record, Privacy::Public)) } } }
        }
    }
}

fn facts(record: &Record, reader: faults::Reader) -> Markup {
    let operator = reader == faults::Reader::Operator;
    html! {
        dl.facts {
            div { dt { "Began" } dd { (time(record.time)) } }
            @if let Some(status) = record.status { div { dt { "Status told" } dd { (status) } } }
            @if let Some(key) = &record.key { div { dt { "Key" } dd { @if operator { a.mono href={ "/keys/" (key) } { (key) } } @else { span.mono { (key) } } } } }
            div { dt { "Came from" } dd { span.mono { (record.client) } " by " (record.protocol) } }
            @if let Some(pool) = &record.pool { div { dt { "Pool" } dd { (pool) } } }
            @if let Some(exit) = &record.exit { div { dt { "Exit" } dd { @if operator { a.mono href={ "/exits/" (exit) } { (exit) } } @else { span.mono { (exit) } } @if let Some(country) = &record.country { " in " (country) } } } }
            @if let Some(gateway) = &record.gateway { div { dt { "By gateway" } dd { (gateway) } } }
            @if let Some(session) = &record.session { div { dt { "Session" } dd { span.mono { (session) } @if let Some(before) = &record.session_moved { ", moved from exit " (before) } } } }
            @if let Some(address) = &record.address { div { dt { "Target's address" } dd { span.mono { (address) } } } }
            div { dt { "Came as far as" } dd { (record.stage) } }
            @if let Some(ended) = &record.ended_by { div { dt { "Ended by" } dd { (ended) } } }
            div { dt { "Sent up" } dd { (words::bytes(record.bytes_up)) } }
            div { dt { "Sent down" } dd { (words::bytes(record.bytes_down)) } }
            div { dt { "Attempts" } dd { (record.attempts) } }
            @if let Some(trace) = &record.trace_id { div { dt { "Trace" } dd { span.mono { (trace) } } } }
            @if operator { @if let Some(detail) = &record.detail { div.wide { dt { "Detail, for the operator" } dd { (detail) } } } }
            @let told = Report::of(record, Privacy::Full).told;
            div.wide { dt { "What the client was told" } dd { (told.answer) @if let Some(body) = &told.body { ": " code { (body) } } } }
        }
    }
}

/// Each step with its time; what is beyond document 004's bounds is marked.
fn steps(record: &Record) -> Markup {
    let ms = &record.ms;
    let steps = [
        ("Queue", Some(ms.queue), f64::INFINITY),
        ("TLS with the client", ms.tls, 500.0),
        ("Name resolution", Some(ms.dns).filter(|took| *took > 0.0), 200.0),
        ("Connecting", Some(ms.connect), f64::INFINITY),
        ("Until the answer", ms.setup, 2_000.0),
        ("First byte", ms.first_byte, 2_000.0),
        ("From begin to end", Some(ms.total), f64::INFINITY),
    ];
    let longest = ms.total.max(0.001);
    html! {
        section aria-labelledby="steps" {
            h2 #steps { "Where the time went" }
            (table("Steps and their times", html! {
                table.narrow {
                    caption { "Steps and their times" }
                    thead { tr { th scope="col" { "Step" } th.number scope="col" { "Took" } th scope="col" { span.hidden { "Share" } } } }
                    tbody { @for (name, took, slow) in steps { @if let Some(took) = took {
                        tr {
                            th scope="row" { (name) }
                            td.number { (millis(took)) }
                            td.share { (share(took / longest)) @if took > slow { " " (badge(Tone::Warn, "slow")) } }
                        }
                    } } }
                }
            }))
        }
    }
}

fn tries(record: &Record) -> Markup {
    html! {
        section aria-labelledby="tries" {
            h2 #tries { "Attempts" }
            (table("Attempts", html! {
                table.narrow {
                    caption { "What was tried, in order" }
                    thead { tr { th.number scope="col" { "After" } th scope="col" { "Through" } th scope="col" { "Outcome" } th.number scope="col" { "Took" } } }
                    tbody { @for attempt in &record.tries {
                        tr {
                            td.number { (millis(attempt.at)) }
                            td.mono { (attempt.exit.as_deref().or(attempt.proxy.as_deref()).unwrap_or("direct")) }
                            td { @if attempt.outcome == "ok" { (badge(Tone::Good, "ok")) } @else { span.mono { (attempt.outcome) } } }
                            td.number { (millis(attempt.ms)) }
                        }
                    } }
                }
            }))
        }
    }
}

fn millis(ms: f64) -> String {
    words::duration(Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default())
}
