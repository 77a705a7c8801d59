//! The public status page and its JSON: components, exits per country, open and past incidents. No key, target or address.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_signals::{Incident, Severity, Signal};
use outgate_store::PoolKind;
use outgate_store::live::{Standing, UsageKept};
use serde_json::{Value, json};

use super::Pages;
use super::frame::{CALM, Page};
use super::incidents::{Whose, card, last_end};
use super::parts::{Tone, badge, table};
use super::words;

/// Past incidents on the page; the JSON has as many.
const PAST: usize = 20;

/// Anybody may ask, and many do: what is in front of the console may keep an answer for so long.
const KEPT: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=5"));

/// How a component is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Fine,
    Degraded,
    Down,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Fine => "operational",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Fine => Tone::Good,
            Self::Degraded => Tone::Warn,
            Self::Down => Tone::Bad,
        }
    }

    fn of(severity: Severity) -> Self {
        match severity {
            Severity::Degraded => Self::Degraded,
            Severity::Down => Self::Down,
        }
    }
}

struct Component {
    name: String,
    health: Health,
    what: String,
}

/// Everything that the public may know.
struct Public {
    now: Timestamp,
    components: Vec<Component>,
    /// Connected exits by pool, and in each by country.
    exits: BTreeMap<String, BTreeMap<String, u32>>,
    incidents: Vec<Incident>,
}

impl Public {
    fn of(pages: &Pages) -> Self {
        let (signals, incidents) = pages.desk.watch(|watch| {
            let open = watch.incidents().filter(|incident| incident.is_open());
            let past = watch.incidents().filter(|incident| !incident.is_open()).take(PAST);
            (watch.signals(), open.chain(past).cloned().collect::<Vec<_>>())
        });
        let mut exits: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
        let mut components = vec![gateway(&pages.desk.standing(), &signals)];
        for pool in pages.desk.live.locations().iter() {
            let countries = exits.entry(pool.pool.to_string()).or_default();
            for place in &pool.places {
                let country = place.country.map_or_else(|| "unknown".to_owned(), |country| country.to_string());
                *countries.entry(country).or_default() += place.exits;
            }
            let component = self::pool(pool.pool.as_str(), countries.values().sum(), &signals, pool.kind);
            // A pool that is configured and has no exit yet is nobody's trouble; one that had some and lost them raises a signal.
            let is_used = pool.kind == PoolKind::Direct || !countries.is_empty() || component.health > Health::Fine;
            components.extend(is_used.then_some(component));
        }
        exits.retain(|_, countries| !countries.is_empty());
        Self { now: pages.desk.now(), components, exits, incidents }
    }

    fn worst(&self) -> Health {
        self.components.iter().map(|component| component.health).max().unwrap_or(Health::Fine)
    }
}

/// The worst of the signals that are raised.
fn raised<'a>(signals: impl Iterator<Item = &'a Signal>) -> Health {
    let raised = signals.filter(|signal| signal.state.is_raised()).filter_map(|signal| signal.severity);
    raised.map(Health::of).max().unwrap_or(Health::Fine)
}

fn gateway(standing: &Standing, signals: &[Signal]) -> Component {
    let refusing = standing.memory_short || standing.usage == UsageKept::Nowhere;
    let health = raised(signals.iter().filter(|signal| signal.scope.pool().is_none()));
    let (health, what) = match (refusing, health) {
        (true, _) => (Health::Down, "New requests are refused."),
        (false, Health::Fine) => (Health::Fine, "Requests are taken."),
        (false, worse) => (worse, "Requests are taken; see the open incident."),
    };
    Component { name: "Gateway".to_owned(), health, what: what.to_owned() }
}

fn pool(name: &str, exits: u32, signals: &[Signal], kind: PoolKind) -> Component {
    let health = raised(signals.iter().filter(|signal| signal.scope.pool() == Some(name)));
    let what = match exits {
        _ if kind == PoolKind::Direct => "The gateway's own addresses.".to_owned(),
        0 => "No exit is connected.".to_owned(),
        1 => "1 exit is connected.".to_owned(),
        many => format!("{} exits are connected.", words::count(many.into())),
    };
    Component { name: format!("Pool {name}"), health, what }
}

/// `GET /status`.
pub(super) async fn show(State(pages): State<Pages>) -> Response {
    let public = Public::of(&pages);
    let worst = public.worst();
    let (open, past): (Vec<&Incident>, Vec<&Incident>) = public.incidents.iter().partition(|incident| incident.is_open());
    let (class, headline) = match worst {
        Health::Fine => ("ok", "Everything works"),
        Health::Degraded => ("warn", "Some things work worse than they should"),
        Health::Down => ("bad", "Something is down"),
    };
    let body = html! {
        h1.hidden { "Status of " (pages.sight.name) }
        div #worst data-live {
            p class={ "banner " (class) } { strong { (headline) } @if open.is_empty() { span { (last_end(past.iter().copied(), public.now)) } } }
        }
        div #open data-live { @if !open.is_empty() { h2.hidden { "Open incidents" } } @for incident in &open { (card(incident, public.now, Whose::Public)) } }
        section aria-labelledby="components-here" {
            h2 #components-here { "Components" }
            ul.components #components data-live { @for component in &public.components {
                li { span.name { (component.name) } span.dim { (component.what) } (badge(component.health.tone(), component.health.name())) }
            } }
        }
        section aria-labelledby="exits-here" {
            h2 #exits-here { "Exits by country" }
            div #exits data-live { (exits(&public.exits)) }
        }
        section aria-labelledby="past-here" {
            h2 #past-here { "Past incidents" }
            div #past data-live {
                @if past.is_empty() { p.empty { "There was none in the last 90 days." } }
                @for incident in &past { (card(incident, public.now, Whose::Public)) }
            }
        }
        p.dim { "For programs: " a href="/status.json" { "status.json" } }
    };
    ([KEPT], Page::public(&pages, headline).live(CALM).show(body)).into_response()
}

fn exits(pools: &BTreeMap<String, BTreeMap<String, u32>>) -> Markup {
    html! {
        @if pools.is_empty() { p.empty { "No exit is connected." } } @else {
            (table("Exits by country", html! {
                table.narrow {
                    caption { "Connected exits" }
                    thead { tr { th scope="col" { "Pool" } th scope="col" { "Country" } th.number scope="col" { "Exits" } } }
                    tbody { @for (pool, countries) in pools { @for (country, exits) in countries {
                        tr { th scope="row" { (pool) } td { (country_name(country)) } td.number { (words::count((*exits).into())) } }
                    } } }
                }
            }))
        }
    }
}

fn country_name(code: &str) -> String {
    code.parse::<outgate_store::Country>().map_or_else(|_| code.to_owned(), |country| format!("{} ({code})", country.name()))
}

/// `GET /status.json`.
pub(super) async fn json(State(pages): State<Pages>) -> Response {
    let public = Public::of(&pages);
    let components = public.components.iter();
    let components =
        components.map(|component| json!({ "name": component.name, "status": component.health.name(), "what": component.what }));
    let body = json!({
        "time": format!("{:.0}", public.now),
        "gateway": pages.sight.name,
        "status": public.worst().name(),
        "components": components.collect::<Vec<Value>>(),
        "exits": public.exits,
        "incidents": public.incidents.iter().map(incident).collect::<Vec<Value>>(),
    });
    ([KEPT], [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], Json(body)).into_response()
}

fn incident(incident: &Incident) -> Value {
    json!({
        "id": incident.id.to_string(),
        "headline": incident.headline(),
        "severity": incident.severity.name(),
        "layer": incident.layer().name(),
        "pools": incident.pools(),
        "began": format!("{:.0}", incident.began),
        "ended": incident.closed.map(|at| format!("{at:.0}")),
    })
}
