//! `outgate exits`: list, locations, enroll, set, drain, resume, rotate, revoke.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use outgate_store::{Country, ExitId, PoolName, parse_city, parse_label};
use serde_json::{Map, Value, json};

use super::Common;
use super::console::Console;
use super::output::{Form, Output, Paint};
use super::setting::{Setting, parsed, put};
use super::table::{Column, text, time};
use super::trouble::Trouble;

/// `exits`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate exits enroll --name \"phone 7\" --pool mobile --country de
  outgate exits list
  outgate exits drain ID
  outgate exits rotate ID
An exit that fails too often is ejected: given no new tunnels until it passes a check after UNTIL, then let back slowly.")]
pub(crate) struct Exits {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every exit and what is connected of it
    List,
    /// Show where exits are connected: by pool, country, state and city, as users may ask for them
    Locations,
    /// Enroll an exit; the token it dials in with is shown once, now
    #[command(after_help = "\
Examples:
  outgate exits enroll --pool residential --country us --state ca --city losangeles
  outgate exits enroll --name office
  outgate exits enroll --pool mobile --country de --carrier \"Example Mobile\" --max-tunnels 200
  outgate exits enroll --pool datacenter --weight 10
What isn't said here, the exit may say itself when it dials in.")]
    Enroll {
        /// What people call it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The pool it belongs to
        #[arg(long, value_name = "POOL")]
        pool: Option<PoolName>,
        /// Its country: a lower-case ISO 3166-1 code
        #[arg(long, value_name = "CC")]
        country: Option<Country>,
        /// Its state: the second part of the ISO 3166-2 code, lower-case
        #[arg(long, value_name = "STATE", value_parser = parse_label, requires = "country")]
        state: Option<String>,
        /// Its city; case, accents, spaces and hyphens make no difference
        #[arg(long, value_name = "CITY", value_parser = parse_city, requires = "country")]
        city: Option<String>,
        /// The number of its autonomous system
        #[arg(long, value_name = "N")]
        asn: Option<u32>,
        /// Its carrier or provider
        #[arg(long, value_name = "NAME")]
        carrier: Option<String>,
        /// Its share of the traffic against that of the other exits: one of weight 4 takes four times the tunnels [default: 1]
        #[arg(long, value_name = "1-1000", value_parser = clap::value_parser!(u16).range(1..=1000))]
        weight: Option<u16>,
        /// Tunnels it may carry at once [default: as many as the gateway lets any exit carry]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_tunnels: Option<u32>,
    },
    /// Change an exit; what isn't said stays. Where it is was settled when it was enrolled
    #[command(after_help = "\
Examples:
  outgate exits set ID --weight 4
  outgate exits set ID --max-tunnels none --name \"phone 7\"
It holds from the next tunnel on; open ones stay.")]
    Set {
        /// The exit
        id: ExitId,
        #[command(flatten)]
        change: Change,
    },
    /// End an exit for good: its links are closed and its token opens nothing any more
    Revoke {
        /// The exit
        id: ExitId,
    },
    /// Give an exit no new tunnels; the open ones may finish
    Drain {
        /// The exit
        id: ExitId,
    },
    /// End a drain
    Resume {
        /// The exit
        id: ExitId,
    },
    /// Have an exit change its address (its --rotate-command or --rotate-url), and see the address before and after
    #[command(after_help = "\
Meanwhile the exit gets no new tunnels. Exit code 0: it has another address now. 1: it has not, or nobody knows.
The address is the one the gateway sees: behind a proxy on the exit's way, the proxy's.")]
    Rotate {
        /// The exit
        id: ExitId,
    },
}

/// What can be changed. At least one must be.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// What people call it; none: nothing
    #[arg(long, value_name = "NAME", value_parser = parsed::<String>)]
    name: Option<Setting<String>>,
    /// Its share of the traffic against that of the other exits; none: 1
    #[arg(long, value_name = "1-1000", value_parser = parsed::<u16>)]
    weight: Option<Setting<u16>>,
    /// Tunnels it may carry at once; none: as many as the gateway lets any exit carry
    #[arg(long, value_name = "N", value_parser = parsed::<u32>)]
    max_tunnels: Option<Setting<u32>>,
}

impl Change {
    fn fields(self) -> Map<String, Value> {
        let mut fields = Map::new();
        put(&mut fields, "name", self.name, Value::from);
        put(&mut fields, "weight", self.weight, Value::from);
        put(&mut fields, "max_tunnels", self.max_tunnels, Value::from);
        fields
    }
}

const COLUMNS: &[Column] = &[
    Column::left("ID", |exit| (text(exit, "id"), Paint::None)),
    Column::left("NAME", |exit| (text(exit, "name"), Paint::None)),
    Column::left("STATUS", status),
    Column::left("POOL", |exit| (told(exit, "pool"), Paint::None)),
    Column::left("COUNTRY", |exit| (told(exit, "country"), Paint::None)),
    Column::left("STATE", |exit| (told(exit, "state"), Paint::None)),
    Column::left("CITY", |exit| (told(exit, "city"), Paint::None)),
    Column::right("ASN", |exit| (told(exit, "asn"), Paint::None)),
    Column::left("GATEWAY", |exit| (text(&exit["online"], "gateway"), Paint::None)),
    Column::right("TUNNELS", |exit| (text(&exit["online"], "tunnels"), Paint::None)),
    Column::right("RTT", |exit| (rtt(exit), Paint::None)),
    Column::left("SINCE", |exit| (time(&exit["online"], "since"), Paint::None)),
    Column::left("UNTIL", |exit| (time(&exit["online"], "health_until"), Paint::None)),
    Column::left("WHY", |exit| (text(&exit["online"], "ejected_why"), Paint::None)),
];

const PLACES: &[Column] = &[
    Column::left("POOL", |place| (text(place, "pool"), Paint::None)),
    Column::left("COUNTRY", |place| (text(place, "country"), Paint::None)),
    Column::left("STATE", |place| (text(place, "state"), Paint::None)),
    Column::left("CITY", |place| (text(place, "city"), Paint::None)),
    Column::right("EXITS", |place| (text(place, "exits"), Paint::None)),
];

/// A row for every place of a pool: its cities, then what is left of its states, its countries and the world, so that the
/// exits add up.
fn places(of: &Value) -> Vec<Value> {
    let pool = &of["pool"];
    let mut rows = Vec::new();
    let mut row = |country: &Value, state: &Value, city: &Value, exits: u64| {
        if exits > 0 {
            rows.push(json!({ "pool": pool, "country": country, "state": state, "city": city, "exits": exits }));
        }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let count = |value: &Value| value["exits"].as_u64().unwrap_or(0);
    let nothing = Value::Null;
    row(&nothing, &nothing, &nothing, of["elsewhere"].as_u64().unwrap_or(0));
    for country in list(&of["countries"]) {
        let (code, cities) = (&country["country"], list(&country["cities"]));
        let states = list(&country["states"]);
        let in_state = |state: &Value| cities.iter().filter(|city| city["state"] == *state).map(count).sum::<u64>();
        let known: u64 = states.iter().map(count).sum::<u64>() + in_state(&nothing);
        row(code, &nothing, &nothing, count(&country).saturating_sub(known));
        for city in cities.iter().filter(|city| city["state"].is_null()) {
            row(code, &nothing, &city["city"], count(city));
        }
        for state in states {
            let label = &state["state"];
            row(code, label, &nothing, count(&state).saturating_sub(in_state(label)));
            for city in cities.iter().filter(|city| city["state"] == *label) {
                row(code, label, &city["city"], count(city));
            }
        }
    }
    rows
}

/// What was agreed when it dialled in; offline, what it was enrolled with.
fn told(exit: &Value, field: &str) -> String {
    if exit["online"][field].is_null() { text(exit, field) } else { text(&exit["online"], field) }
}

fn status(exit: &Value) -> (String, Paint) {
    match (exit["status"].as_str(), exit["online"].is_null()) {
        (Some("active"), false) => match exit["online"]["health"].as_str() {
            Some("ejected") => ("ejected".to_owned(), Paint::Bad),
            Some("slow_start") => ("slow_start".to_owned(), Paint::Careful),
            _ => ("online".to_owned(), Paint::Good),
        },
        (Some("active"), true) => ("offline".to_owned(), Paint::Careful),
        (Some("draining"), _) => ("draining".to_owned(), Paint::Careful),
        _ => (text(exit, "status"), Paint::Bad),
    }
}

fn rtt(exit: &Value) -> String {
    exit["online"]["rtt_ms"].as_f64().map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1}ms"))
}

impl Exits {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        match self.action {
            Action::List => {
                let list = output.list(COLUMNS, "There are no exits yet: outgate exits enroll --pool residential --country us");
                console.read_all("/v1/exits", list).await
            }
            Action::Locations => {
                let located = console.read("/v1/locations").await?;
                let pools = located["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
                if output.form == Form::Json {
                    return output.one(&json!(pools), |_, _| String::new());
                }
                let rows: Vec<Value> = pools.iter().flat_map(places).collect();
                let mut list = output.list(PLACES, "No exit is connected.");
                list.page(&rows)?;
                list.end()
            }
            Action::Enroll { name, pool, country, state, city, asn, carrier, weight, max_tunnels } => {
                let mut fields = Map::new();
                fields.extend(name.map(|name| ("name".into(), json!(name))));
                fields.extend(pool.map(|pool| ("pool".into(), json!(pool))));
                fields.extend(country.map(|country| ("country".into(), json!(country))));
                fields.extend(state.map(|state| ("state".into(), json!(state))));
                fields.extend(city.map(|city| ("city".into(), json!(city))));
                fields.extend(asn.map(|asn| ("asn".into(), json!(asn))));
                fields.extend(carrier.map(|carrier| ("carrier".into(), json!(carrier))));
                fields.extend(weight.map(|weight| ("weight".into(), json!(weight))));
                fields.extend(max_tunnels.map(|most| ("max_tunnels".into(), json!(most))));
                let exit = console.post("/v1/exits", &Value::Object(fields)).await?;
                output.one(&exit, |exit, colour| {
                    let (id, token) = (text(exit, "id"), text(exit, "token"));
                    let shown = colour.paint(Paint::Heading, &token);
                    format!(
                        "Exit enrolled. Its token is shown only now; keep it.\n\n  id     {id}\n  token  {shown}\n\n{}",
                        start_line(&exit["door"], &token)
                    )
                })
            }
            Action::Set { id, change } => {
                let exit = console.patch(&format!("/v1/exits/{id}"), &Value::Object(change.fields())).await?;
                output.one(&exit, |exit, _| {
                    let (name, weight, most) = (text(exit, "name"), text(exit, "weight"), text(exit, "max_tunnels"));
                    format!("Exit {id} changed: name {name}, weight {weight}, max tunnels {most}.")
                })
            }
            Action::Revoke { id } => {
                act(console, output, &id, "revoke", "revoked; its links are closed and its token opens nothing any more").await
            }
            Action::Drain { id } => {
                act(console, output, &id, "drain", "draining: no new tunnels, the open ones may finish").await
            }
            Action::Rotate { id } => rotate(console, output, &id).await,
            Action::Resume { id } => act(console, output, &id, "resume", "given tunnels again").await,
        }
    }
}

async fn act(console: &Console, output: &mut Output<'_>, id: &ExitId, action: &str, outcome: &str) -> Result<(), Trouble> {
    let exit = console.post(&format!("/v1/exits/{id}/{action}"), &json!({})).await?;
    output.one(&exit, |_, _| format!("Exit {id} is {outcome}."))
}

/// The longest that a hook may take by its exit's word, and the gateway's own waits around it.
const ROTATION: Duration = Duration::from_secs(15 * 60);

async fn rotate(console: &Console, output: &mut Output<'_>, id: &ExitId) -> Result<(), Trouble> {
    let (path, nothing) = (format!("/v1/exits/{id}/rotate"), json!({}));
    let mut asking = std::pin::pin!(console.post_patiently(&path, &nothing, ROTATION));
    let mut progress = Progress::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let rotation = loop {
        tokio::select! {
            done = &mut asking => break done,
            _ = ticks.tick() => progress.show(id),
        }
    };
    progress.end();
    let rotation = rotation?;
    let (before, after) = (text(&rotation, "before"), text(&rotation, "after"));
    let seconds = rotation["took_ms"].as_f64().unwrap_or_default() / 1_000.0;
    output.one(&rotation, |rotation, colour| {
        let (paint, verdict) = match rotation["changed"].as_bool() {
            Some(true) => (Paint::Good, "changed"),
            Some(false) | None => (Paint::Careful, "not changed"),
        };
        format!("Exit {id}: address {} in {seconds:.1} s: {before} before, {after} now.", colour.paint(paint, verdict))
    })?;
    if rotation["changed"] == true {
        return Ok(());
    }
    output.end()?;
    Err(Trouble::failed(format!("the exit's hook said that it worked, but it still leaves from {after}"))
        .next("Does the hook wait until the new address is in use? Does the line give another address at all?"))
}

/// How long it has taken so far, on a terminal only.
struct Progress {
    started: Instant,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self { started: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, id: &ExitId) {
        self.write(&format!("\r\x1b[Krotating {id}: {} s", self.started.elapsed().as_secs()));
    }

    fn end(&mut self) {
        self.write("\r\x1b[K");
    }

    fn write(&mut self, text: &str) {
        if self.terminal {
            // Nobody reads it: then nobody misses it.
            let mut stderr = std::io::stderr();
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        }
    }
}

/// What to run on the machine that is to be the exit.
fn start_line(door: &Value, token: &str) -> String {
    let Some(address) = door["address"].as_str().and_then(|address| address.parse::<SocketAddr>().ok()) else {
        return "This gateway has no door for exits yet: add [exits] with address = \"0.0.0.0:8443\" to its configuration."
            .to_owned();
    };
    let tls = door["tls"] == true;
    let scheme = if tls { "wss" } else { "ws" };
    // A certificate is for a name, and the unspecified address is no address to dial.
    let (host, note) = match tls || address.ip().is_unspecified() {
        false => (address.to_string(), String::new()),
        true => {
            let which = if tls {
                "the gateway's name as in its certificate"
            } else {
                "the gateway's name or address as that machine reaches it"
            };
            (format!("HOST:{}", address.port()), format!("\n\nHOST is {which}."))
        }
    };
    format!("On the machine that is to be the exit:\n  outgate exit --gateway {scheme}://{host} --token {token}{note}")
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_line_to_start_an_exit_fits_the_door() {
        let cases = [
            (json!({ "address": "192.0.2.1:8082", "tls": false }), "--gateway ws://192.0.2.1:8082 --token T"),
            (
                json!({ "address": "[::]:8082", "tls": false }),
                "--gateway ws://HOST:8082 --token T\n\nHOST is the gateway's name or address",
            ),
            (
                json!({ "address": "0.0.0.0:8443", "tls": true }),
                "--gateway wss://HOST:8443 --token T\n\nHOST is the gateway's name as in",
            ),
            (json!({ "address": "192.0.2.1:8443", "tls": true }), "--gateway wss://HOST:8443"),
            (Value::Null, "[exits]"),
        ];
        for (door, part) in cases {
            let line = start_line(&door, "T");
            assert!(line.contains(part), "{door}: {line}");
        }
    }
}
