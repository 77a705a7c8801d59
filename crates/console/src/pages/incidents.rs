//! Signals and incidents as the operator sees them, and the cards that the status page shows of incidents.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_signals::{Incident, Severity, Signal, State as Standing};

use super::Pages;
use super::door::Operator;
use super::frame::{LIVE, Page, Tab};
use super::parts::{Tone, ago, badge, prose, slug, table, time};
use super::words;

/// Past incidents that a page lists.
const LISTED: usize = 100;

/// `GET /incidents`.
pub(super) async fn list(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    let now = pages.desk.now();
    let (signals, incidents) =
        pages.desk.watch(|watch| (watch.signals(), watch.incidents().take(LISTED).cloned().collect::<Vec<_>>()));
    let (open, past): (Vec<_>, Vec<_>) = incidents.into_iter().partition(Incident::is_open);
    let body = html! {
        h1 { "Incidents" }
        div #open data-live {
            @if open.is_empty() { p.standing { (badge(Tone::Good, "none open")) } }
            @if !open.is_empty() { h2.hidden { "Open incidents" } }
            @for incident in &open { (card(incident, now, Whose::Operator)) }
        }
        h2 { "Signals" }
        div #signals data-live { (self::signals(&signals, now, Which::All)) }
        h2 { "Past incidents" }
        div #past data-live {
            @if past.is_empty() { p.empty { "There was none in the last 90 days." } }
            @for incident in &past { (card(incident, now, Whose::Operator)) }
        }
    };
    Page::operator(&pages, &signed, Tab::Incidents, "Incidents").live(LIVE).show(body)
}

/// Which signals a list shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that are not fine, and those of the whole gateway.
    Interesting,
}

/// Signals with their values and thresholds.
pub(super) fn signals(signals: &[Signal], now: Timestamp, which: Which) -> Markup {
    let wanted = |signal: &&Signal| {
        which == Which::All
            || !matches!(signal.state, Standing::Fine | Standing::Unknown)
            || signal.scope == outgate_signals::Scope::Gateway
    };
    let shown: Vec<&Signal> = signals.iter().filter(wanted).collect();
    table(
        "Signals",
        html! {
            table {
                caption { "What is watched, and how it stands" }
                thead { tr {
                    th scope="col" { "Signal" } th scope="col" { "Of" } th scope="col" { "State" } th.number scope="col" { "Value" }
                    th.number scope="col" { "Threshold" } th.minor scope="col" { "Since" } th.minor scope="col" { "About" }
                } }
                tbody {
                    @for signal in &shown { (row(signal, now)) }
                    @if shown.is_empty() { tr { td.empty colspan="7" { "Nothing has been watched for long enough yet." } } }
                }
            }
        },
    )
}

fn row(signal: &Signal, now: Timestamp) -> Markup {
    let tone = match (signal.state, signal.severity) {
        (Standing::Unknown, _) => Tone::Quiet,
        (Standing::Fine, _) => Tone::Good,
        (Standing::Pending | Standing::Clearing, _) => Tone::Warn,
        (Standing::Raised, Some(Severity::Down)) => Tone::Bad,
        (Standing::Raised, _) => Tone::Warn,
    };
    html! {
        tr {
            th scope="row" { span.mono { (signal.kind) } }
            td { (signal.scope) }
            td { (badge(tone, signal.state.name())) }
            td.number { (signal.value.map_or_else(|| "–".to_owned(), |value| signal.unit.show(value))) }
            td.number { (signal.unit.show(signal.threshold)) }
            td.minor { @if let Some(since) = signal.since { (ago(since, now)) } }
            td.minor { (signal.kind.meaning()) @if let Some(note) = &signal.note { "; " (note) } }
        }
    }
}

/// For whom an incident is told: the public is told what, since when and until when.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Operator,
    Public,
}

/// One incident.
pub(super) fn card(incident: &Incident, now: Timestamp, whose: Whose) -> Markup {
    let tone = match (incident.is_open(), incident.severity) {
        (false, _) => Tone::Quiet,
        (true, Severity::Degraded) => Tone::Warn,
        (true, Severity::Down) => Tone::Bad,
    };
    let pools = incident.pools();
    html! {
        article class={ "incident " (tone.class()) } id={ "i-" (incident.id) } {
            h3 { (incident.headline()) }
            p.dim {
                (badge(tone, if incident.is_open() { incident.severity.name() } else { "over" }))
                " began " (time(incident.began))
                @match incident.closed {
                    Some(closed) => { ", ended " (time(closed)) " after " (words::long(words::since(incident.began, closed))) }
                    None => { ", " (words::long(words::since(incident.began, now))) " so far" }
                }
                @match pools.as_slice() { [] => {}, [pool] => { " · pool " (pool) }, several => { " · pools " (several.join(", ")) } }
                " · layer " (incident.layer().name())
            }
            @if whose == Whose::Operator { (inside(incident)) }
        }
    }
}

fn inside(incident: &Incident) -> Markup {
    html! {
        @if incident.requests > 0 {
            p {
                (words::count(incident.failed)) " of " (words::count(incident.requests)) " requests failed meanwhile ("
                (words::percent(incident.failed as f64 / incident.requests as f64)) ")."
                @if !incident.faults.is_empty() {
                    " " @for (number, (fault, count)) in incident.faults.iter().take(3).enumerate() {
                        @if number > 0 { ", " } (slug(fault.name())) " " (words::count(*count))
                    }
                }
            }
        }
        details id={ "d-" (incident.id) } open[incident.is_open()] {
            summary { "Cause and fix" }
            dl.explained { dt { "Cause" } dd { (prose(incident.why())) } dt { "Fix" } dd { (prose(incident.fix())) } }
            ul.plain {
                @for part in &incident.signals {
                    li {
                        span.mono { (part.kind) } " (" (part.scope) "): worst " (part.unit.show(part.worst)) ", threshold " (part.unit.show(part.threshold))
                        ", raised " (words::clock(part.raised))
                        @if let Some(cleared) = part.cleared { ", cleared " (words::clock(cleared)) }
                    }
                }
            }
        }
    }
}

/// How long ago the last incident ended, for a line that says that all is well.
pub(super) fn last_end<'a>(incidents: impl Iterator<Item = &'a Incident>, now: Timestamp) -> Markup {
    let last = incidents.filter_map(|incident| incident.closed).max();
    html! { @if let Some(last) = last { " The last incident ended " (ago(last, now)) "." } }
}
