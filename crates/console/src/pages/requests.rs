//! Requests: what is in flight, the search among the records, and the report of one request.

use std::ops::ControlFlow;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_faults::Layer;
use outgate_records::{Filter, Found, Record, Records, Stream};
use outgate_store::live::{InFlight, Listing};
use outgate_store::parse_since;

use super::Pages;
use super::door::{Operator, go};
use super::faults;
use super::frame::{LIVE, Page, Shown, Tab};
use super::parts::{Field, Tone, Wrong, badge, outcome_tone, slug, table, time};
use super::words;
use crate::problem::Problem;

/// Requests in flight that the page lists.
const IN_FLIGHT: usize = 50;

/// Records that a search shows.
const FOUND: usize = 100;

/// How far a search looks back when nobody says.
const REACH: &str = "1h";

/// Searches at a time: each reads files on a thread of its own.
pub(super) const SEARCHES: usize = 2;

/// How long a search may go on; what was found by then is shown, and that there may be more.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// What a search asks for, as it was typed.
#[derive(Default)]
struct Search {
    id: String,
    key: String,
    outcome: String,
    layer: String,
    target: String,
    exit: String,
    since: String,
    failed: bool,
}

impl Search {
    fn of(query: &[(String, String)]) -> Self {
        let asked = |name: &str| query.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.trim()).to_owned();
        Self {
            id: asked("id"),
            key: asked("key"),
            outcome: asked("outcome"),
            layer: asked("layer"),
            target: asked("target"),
            exit: asked("exit"),
            since: asked("since"),
            failed: asked("failed") == "yes",
        }
    }

    /// Whether anything is asked for.
    fn asks(&self) -> bool {
        self.failed
            || [&self.key, &self.outcome, &self.layer, &self.target, &self.exit, &self.since]
                .iter()
                .any(|field| !field.is_empty())
    }

    fn filter(&self, now: Timestamp) -> Result<Filter, Problem> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let since = if self.since.is_empty() { REACH } else { &self.since };
        let wrong = |field: &str, why: String| Problem::invalid_fields(vec![(field.to_owned(), why)]);
        let layer = match self.layer.as_str() {
            "" => None,
            name => {
                let layer = Layer::ALL.iter().find(|layer| layer.name() == name);
                Some(*layer.ok_or_else(|| wrong("layer", "is none of the layers".to_owned()))?)
            }
        };
        Ok(Filter {
            since: Some(parse_since(since, now).map_err(|error| wrong("since", error.to_string()))?),
            outcomes: some(&self.outcome).into_iter().collect(),
            failed: self.failed,
            layer,
            key: some(&self.key),
            target: some(&self.target),
            exit: some(&self.exit),
            ..Filter::default()
        })
    }
}

/// `GET /requests`.
pub(super) async fn search(
    State(pages): State<Pages>,
    Operator(signed): Operator,
    query: Query<Vec<(String, String)>>,
) -> Response {
    let search = Search::of(&query);
    if !search.id.is_empty() {
        let plain: String = search.id.chars().filter(char::is_ascii_alphanumeric).collect();
        return go(&format!("/requests/{plain}"));
    }
    let now = pages.desk.now();
    let listing = pages.desk.live.requests_in_flight(None, IN_FLIGHT).await;
    let found = match search.asks() {
        true => Some(match search.filter(now) {
            Ok(filter) => newest(&pages, filter).await,
            Err(problem) => Err(problem),
        }),
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
            (finder(&search, problem))
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

fn finder(search: &Search, problem: Option<&Problem>) -> Markup {
    let wrong = Wrong(problem);
    let layers: Vec<(&str, &str)> =
        std::iter::once(("", "any")).chain(Layer::ALL.iter().map(|layer| (layer.name(), layer.name()))).collect();
    html! {
        form.stack method="get" action="/requests" {
            div.columns {
                (Field { name: "key", label: "Key", hint: "", value: &search.key }.line(&wrong))
                (Field { name: "outcome", label: "Fault", hint: "A slug, or ok.", value: &search.outcome }.line(&wrong))
                (Field { name: "layer", label: "Layer", hint: "", value: &search.layer }.choice(&wrong, &layers))
                (Field { name: "target", label: "Target", hint: "A host, host:port or *.example.com.", value: &search.target }.line(&wrong))
                (Field { name: "exit", label: "Exit", hint: "", value: &search.exit }.line(&wrong))
                (Field { name: "since", label: "Since", hint: "Such as 15m or 2026-11-21. Empty: one hour.", value: &search.since }.line(&wrong))
            }
            label.check { input type="checkbox" name="failed" value="yes" checked[search.failed]; " Only what went wrong" }
            button.primary type="submit" { "Find" }
        }
    }
}

/// What a search found.
pub(super) struct Finds {
    records: Vec<Record>,
    /// Whether it ended before it had looked everywhere.
    cut: bool,
}

fn list(found: &Finds) -> Markup {
    html! {
        (table("Requests found", html! {
            table {
                caption { @match found.records.len() { FOUND => { "The newest " (FOUND) }, number => (number) } " requests, newest first"
                    @if found.cut { "; the search was stopped after " (PATIENCE.as_secs()) " s, so there may be others" } }
                thead { tr {
                    th scope="col" { "Request" } th scope="col" { "Began" } th scope="col" { "Outcome" } th.number scope="col" { "Status" }
                    th scope="col" { "Target" } th scope="col" { "Key" } th.minor scope="col" { "Exit" } th.number.minor scope="col" { "Bytes" }
                    th.number scope="col" { "Took" }
                } }
                tbody {
                    @for record in &found.records { (row(record)) }
                    @if found.records.is_empty() { tr { td.empty colspan="9" { "Nothing like that was found." } } }
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

/// The newest records that are wanted. Reads files: on a thread of its own, and few at a time.
async fn newest(pages: &Pages, filter: Filter) -> Result<Finds, Problem> {
    let records = pages.sight.records.clone().ok_or_else(no_records)?;
    // Refused credentials lie apart; who asks for their faults wants to see them.
    let stream = if wants_auth(&filter) { Stream::Auth } else { Stream::Access };
    reading(pages, move || {
        let until = std::time::Instant::now() + PATIENCE;
        let (mut kept, mut cut) = (std::collections::VecDeque::with_capacity(FOUND), false);
        records.each(stream, &filter, &mut |line| {
            if let Some(record) = Record::parse(line) {
                if kept.len() == FOUND {
                    kept.pop_back();
                }
                kept.push_front(record);
            }
            cut = std::time::Instant::now() > until;
            if cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(Finds { records: kept.into(), cut })
    })
    .await
}

fn wants_auth(filter: &Filter) -> bool {
    let auth = |slug: &String| outgate_faults::Slug::parse(slug).is_some_and(|slug| slug.row().layer == Layer::Auth);
    filter.layer == Some(Layer::Auth) || filter.outcomes.iter().any(auth)
}

/// The record of a request.
pub(super) async fn find(pages: &Pages, id: &str) -> Result<Option<Found>, Problem> {
    let records: Records = pages.sight.records.clone().ok_or_else(no_records)?;
    let id = id.to_owned();
    reading(pages, move || records.find(&id)).await
}

fn no_records() -> Problem {
    Problem::not_found("this gateway keeps no records: records.enabled is false in its configuration")
}

async fn reading<T: Send + 'static>(
    pages: &Pages,
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let Ok(_turn) = pages.searches.acquire().await else { return Err(Problem::internal()) };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the records can't be read");
            Err(Problem::internal())
        }
        Err(_) => Err(Problem::internal()),
    }
}

/// `GET /requests/{id}`: its report.
pub(super) async fn report(State(pages): State<Pages>, Operator(signed): Operator, Path(id): Path<String>) -> Shown {
    let now = pages.desk.now();
    let body = match find(&pages, &id).await? {
        Some(found) => told(&pages.sight.name, &found.record, faults::Reader::Operator),
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
pub(super) fn told(gateway: &str, record: &Record, reader: faults::Reader) -> Markup {
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
            div.secret.plain { pre tabindex="0" { code { (text(gateway, record)) } } }
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
            @if let Some(told) = &record.told { div.wide { dt { "Body sent" } dd { code { (told) } } } }
        }
    }
}

/// Each step with its time; what is beyond document 004's bounds is marked.
fn steps(record: &Record) -> Markup {
    let ms = &record.ms;
    let steps = [
        ("Queue", Some(ms.queue), f64::INFINITY),
        ("TLS with the client", ms.tls, 500.0),
        ("Name resolution", Some(ms.dns), 200.0),
        ("Connecting", Some(ms.connect), f64::INFINITY),
        ("Set-up in all", ms.setup, 2_000.0),
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
                            td.share { (super::parts::bar((took / longest).min(0.799))) @if took > slow { " " (badge(Tone::Warn, "slow")) } }
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

/// The report as plain lines.
fn text(gateway: &str, record: &Record) -> String {
    let ms = &record.ms;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let optional = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let mut lines = vec![
        format!("request   {}", record.request_id),
        format!("time      {:.3}", record.time),
        format!("gateway   {gateway}"),
        format!("key       {}", or_none(&record.key)),
        format!("client    {} ({})", masked(&record.client), record.protocol),
        format!("target    {} {}", record.method, record.target),
        format!("outcome   {}{}", record.outcome, record.layer.as_ref().map(|layer| format!(" ({layer})")).unwrap_or_default()),
        format!("status    {}", record.status.map_or_else(|| "-".to_owned(), |status| status.to_string())),
        format!("way       pool {}, exit {}, country {}", or_none(&record.pool), or_none(&record.exit), or_none(&record.country)),
        format!("stage     {}, attempts {}", record.stage, record.attempts),
        format!("bytes     {} up, {} down", record.bytes_up, record.bytes_down),
        format!(
            "ms        queue {:.1}, tls {}, dns {:.1}, connect {:.1}, setup {}, first byte {}, total {:.1}",
            ms.queue,
            optional(ms.tls),
            ms.dns,
            ms.connect,
            optional(ms.setup),
            optional(ms.first_byte),
            ms.total
        ),
    ];
    lines.extend(record.tries.iter().map(|attempt| {
        let through = attempt.exit.as_deref().unwrap_or("direct");
        format!("attempt   {through}: {} after {:.1} ms, took {:.1} ms", attempt.outcome, attempt.at, attempt.ms)
    }));
    lines.extend(record.told.as_ref().or(record.sentence.as_ref()).map(|told| format!("told      {told}")));
    lines.join("\n")
}

/// An address of which only the network is left: a /24, a /48.
fn masked(address: &str) -> String {
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.x")
        }
        Ok(std::net::IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:x")
        }
        Err(_) => "-".to_owned(),
    }
}
