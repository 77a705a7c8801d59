//! `outgate plans`: list, create, set, remove.

use clap::{Args, Subcommand};
use outgate_store::amount::{ByteSize, parse_bytes, parse_speed};
use outgate_store::{Country, Period, PlanName, PoolName, PortRange};
use serde_json::{Map, Value, json};

use super::Common;
use super::console::Console;
use super::output::{Colour, Output, Paint};
use super::setting::{Setting, parsed, put, put_list, setting_of};
use super::table::{Column, list, text};
use super::trouble::Trouble;

/// `plans`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate plans create small --bytes 10GB --period month --rate 20 --threads 50
  outgate plans create de-only --pool residential --country de --port 443 --port 8000-8999
  outgate plans set small --bytes 20GB --rate none
  outgate plans list")]
pub(crate) struct Plans {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every plan
    List,
    /// Create a plan; what isn't said has no limit
    #[command(after_help = "\
Examples:
  outgate plans create small --bytes 10GB --rate 20 --burst 40 --threads 50 --speed 2MB
  outgate plans create weekly --bytes 1GB --period 7d")]
    Create {
        /// 1 to 64 lower-case letters, digits, _ and -
        name: PlanName,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change a plan, for every key on it, within a second; what isn't said stays
    #[command(after_help = "\
Examples:
  outgate plans set small --bytes 20GB
  outgate plans set small --bytes none --country none    (no limit any more)")]
    Set {
        /// The plan
        name: PlanName,
        #[command(flatten)]
        limits: Limits,
    },
    /// Remove a plan that no key is on
    Remove {
        /// The plan
        name: PlanName,
    },
}

/// The limits. Each can be `none`.
#[derive(Debug, Args)]
struct Limits {
    /// Payload bytes of both directions per period: 10GB is 10^10, 10GiB is 10 * 2^30
    #[arg(long, value_name = "SIZE", value_parser = setting_of(parse_bytes))]
    bytes: Option<Setting<u64>>,
    /// When the bytes begin again: month (the calendar month in UTC) or a number of days from the key's creation, such as 30d
    #[arg(long, value_name = "month|DAYS", value_parser = parsed::<Period>)]
    period: Option<Setting<Period>>,
    /// Requests per second
    #[arg(long, value_name = "N", value_parser = parsed::<u32>)]
    rate: Option<Setting<u32>>,
    /// Requests that may come at once before the rate holds; as many as the rate if not said
    #[arg(long, value_name = "N", value_parser = parsed::<u32>)]
    burst: Option<Setting<u32>>,
    /// Concurrent tunnels
    #[arg(long, value_name = "N", value_parser = parsed::<u32>)]
    threads: Option<Setting<u32>>,
    /// Bytes per second
    #[arg(long, value_name = "BYTES/S", value_parser = setting_of(parse_speed))]
    speed: Option<Setting<u64>>,
    /// A pool its keys may use (can be repeated); every pool if not said
    #[arg(long = "pool", value_name = "NAME", value_delimiter = ',', value_parser = parsed::<PoolName>)]
    pools: Vec<Setting<PoolName>>,
    /// A target port or range its keys may reach (can be repeated); the gateway's own list if not said
    #[arg(long = "port", value_name = "PORT|FROM-TO", value_delimiter = ',', value_parser = parsed::<PortRange>)]
    ports: Vec<Setting<PortRange>>,
    /// A country its keys may ask for (can be repeated); every country if not said
    #[arg(long = "country", value_name = "CC", value_delimiter = ',', value_parser = parsed::<Country>)]
    countries: Vec<Setting<Country>>,
}

impl Limits {
    /// The fields as the API takes them: absent stays, `null` clears.
    fn fields(self) -> Result<Map<String, Value>, Trouble> {
        let mut fields = Map::new();
        put(&mut fields, "bytes", self.bytes, Value::from);
        put(&mut fields, "period", self.period, |period| Value::from(period.to_string()));
        put(&mut fields, "rate", self.rate, Value::from);
        put(&mut fields, "burst", self.burst, Value::from);
        put(&mut fields, "threads", self.threads, Value::from);
        put(&mut fields, "speed", self.speed, Value::from);
        put_list(&mut fields, "pools", "--pool", self.pools)?;
        put_list(&mut fields, "ports", "--port", self.ports)?;
        put_list(&mut fields, "countries", "--country", self.countries)?;
        Ok(fields)
    }
}

const COLUMNS: &[Column] = &[
    Column::left("NAME", |plan| (text(plan, "name"), Paint::None)),
    Column::right("BYTES", |plan| (size(plan, "bytes"), Paint::None)),
    Column::left("PERIOD", |plan| (text(plan, "period"), Paint::None)),
    Column::right("RATE", |plan| (text(plan, "rate"), Paint::None)),
    Column::right("BURST", |plan| (text(plan, "burst"), Paint::None)),
    Column::right("THREADS", |plan| (text(plan, "threads"), Paint::None)),
    Column::right("SPEED", |plan| (speed(plan), Paint::None)),
    Column::left("POOLS", |plan| (list(plan, "pools", "all"), Paint::None)),
    Column::left("PORTS", |plan| (list(plan, "ports", "default"), Paint::None)),
    Column::left("COUNTRIES", |plan| (list(plan, "countries", "all"), Paint::None)),
    Column::right("KEYS", |plan| (text(plan, "keys"), Paint::None)),
];

/// A number of bytes; `-` when there is no limit.
pub(super) fn size(item: &Value, field: &str) -> String {
    item[field].as_u64().map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string())
}

fn speed(plan: &Value) -> String {
    plan["speed"].as_u64().map_or_else(|| "-".to_owned(), |speed| format!("{}/s", ByteSize(speed)))
}

impl Plans {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        match self.action {
            Action::List => {
                let list = output.list(COLUMNS, "There are no plans yet: outgate plans create NAME --bytes 10GB");
                console.read_all("/v1/plans", list).await
            }
            Action::Create { name, limits } => {
                let mut fields = limits.fields()?;
                fields.insert("name".into(), json!(name));
                let plan = console.post("/v1/plans", &Value::Object(fields)).await?;
                output.one(&plan, |plan, colour| {
                    format!("Plan {name} created.\n\n{}\nNext: outgate keys create --plan {name}", told(plan, colour))
                })
            }
            Action::Set { name, limits } => {
                let fields = limits.fields()?;
                if fields.is_empty() {
                    return Err(Trouble::usage("nothing to set")
                        .next(format!("Say what: outgate plans set {name} --bytes 20GB, or --bytes none for no limit.")));
                }
                let plan = console.patch(&format!("/v1/plans/{name}"), &Value::Object(fields)).await?;
                output.one(&plan, |plan, colour| {
                    format!("Plan {name} changed; its keys follow within a second.\n\n{}", told(plan, colour))
                })
            }
            Action::Remove { name } => {
                console.delete(&format!("/v1/plans/{name}")).await?;
                output.one(&json!({ "name": name, "removed": true }), |_, _| format!("Plan {name} removed."))
            }
        }
    }
}

fn told(plan: &Value, colour: Colour) -> String {
    super::table::Table::new(COLUMNS).page(std::slice::from_ref(plan), colour)
}
