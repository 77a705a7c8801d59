//! `outgate keys`: list, show, create, set, rotate, suspend, resume, revoke, block, unblock.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;
use outgate_store::amount::{AmountError, parse_duration};
use outgate_store::{KeyId, MomentError, PlanName, parse_until};
use serde_json::{Map, Value, json};

use super::Common;
use super::console::Console;
use super::output::{Colour, Output, Paint};
use super::plans::size;
use super::setting::{Setting, put, put_list, setting_of};
use super::table::{Column, list, text, time};
use super::trouble::Trouble;

/// `keys`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate keys create --plan small
  outgate keys create --allow-ip 192.0.2.0/24 --expires 30d
  outgate keys set ID --plan large --expires none
  outgate keys rotate ID --grace 1h
  outgate keys block ID --why \"sends spam\"
  outgate keys list --json")]
pub(crate) struct Keys {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every key
    List,
    /// Show one key
    Show {
        /// The key
        id: KeyId,
    },
    /// Create a key; its secret is shown once, now
    #[command(after_help = "\
Examples:
  outgate keys create
  outgate keys create --plan small --expires 2026-12-31
  outgate keys create --allow-ip 192.0.2.7 --allow-ip 2001:db8::/32
  outgate keys create --allow-ip 192.0.2.7 --by-ip    (no password needed from there)")]
    Create {
        /// Its plan; if not said the one called default, else the one of the first run, else the only one
        #[arg(long, value_name = "NAME")]
        plan: Option<PlanName>,
        /// An address or network it may be used from (can be repeated); from anywhere if not said
        #[arg(long = "allow-ip", value_name = "CIDR", value_delimiter = ',', value_parser = source)]
        allow_ips: Vec<String>,
        /// Requests from its --allow-ip addresses need no credentials; two keys that name an address alike are nobody there
        #[arg(long, requires = "allow_ips")]
        by_ip: bool,
        /// When it stops working: a date (its first moment in UTC), a time such as 2026-12-31T18:00:00Z, or from now: 30d
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        expires: Option<String>,
        /// Its id, 4 to 32 lower-case letters and digits; a random one if not said
        #[arg(long, value_name = "ID")]
        id: Option<KeyId>,
    },
    /// Change a key; what isn't said stays
    #[command(after_help = "\
Examples:
  outgate keys set ID --plan large                        (what was used in the period stays used)
  outgate keys set ID --expires 30d
  outgate keys set ID --allow-ip 192.0.2.7 --proof ip      (no password needed from there)
  outgate keys set ID --allow-ip none --proof secret
A new list of addresses replaces the old one, for new requests. Bytes, speed and the end hold for open tunnels too.")]
    Set {
        /// The key
        id: KeyId,
        #[command(flatten)]
        change: Change,
    },
    /// Give a key a new secret, shown once, now
    Rotate {
        /// The key
        id: KeyId,
        /// How long the present secret stays good; it ends at once if not said
        #[arg(long, value_name = "TIME", value_parser = duration)]
        grace: Option<String>,
    },
    /// Stop a key until it is resumed; its open tunnels end within a second
    Suspend {
        /// The key
        id: KeyId,
    },
    /// Let a suspended key work again
    Resume {
        /// The key
        id: KeyId,
    },
    /// End a key for good
    Revoke {
        /// The key
        id: KeyId,
    },
    /// Stop a key for a reason, until it is unblocked; its open tunnels end within a second
    Block {
        /// The key
        id: KeyId,
        /// Why, for the audit trail and whoever looks at the key
        #[arg(long, value_name = "REASON", default_value = "")]
        why: String,
    },
    /// Lift a block
    Unblock {
        /// The key
        id: KeyId,
    },
}

/// What can be changed. At least one must be.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// Another plan
    #[arg(long, value_name = "NAME")]
    plan: Option<PlanName>,
    /// An address or network it may be used from (can be repeated); none: from anywhere
    #[arg(long = "allow-ip", value_name = "CIDR", value_delimiter = ',', value_parser = setting_of(source))]
    allow_ips: Vec<Setting<String>>,
    /// What a request must show: secret, or ip for an --allow-ip address alone
    #[arg(long, value_name = "secret|ip", value_parser = ["secret", "ip"])]
    proof: Option<String>,
    /// When it stops working; none: never
    #[arg(long, value_name = "WHEN", value_parser = setting_of(moment))]
    expires: Option<Setting<String>>,
}

impl Change {
    fn fields(self) -> Result<Map<String, Value>, Trouble> {
        let mut fields = Map::new();
        fields.extend(self.plan.map(|plan| ("plan".into(), json!(plan))));
        put_list(&mut fields, "allow_ips", "--allow-ip", self.allow_ips)?;
        fields.extend(self.proof.map(|proof| ("proof".into(), json!(if proof == "ip" { "source" } else { "secret" }))));
        put(&mut fields, "expires", self.expires, Value::from);
        Ok(fields)
    }
}

fn source(text: &str) -> Result<String, String> {
    let fits = text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    if fits { Ok(text.to_owned()) } else { Err("write an address or network, such as 192.0.2.7 or 192.0.2.0/24".to_owned()) }
}

/// Checked here, counted by the gateway's clock.
fn moment(text: &str) -> Result<String, MomentError> {
    parse_until(text, Timestamp::now()).map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<String, AmountError> {
    parse_duration(text).map(|_| text.to_owned())
}

const COLUMNS: &[Column] = &[
    Column::left("ID", |key| (text(key, "id"), Paint::None)),
    Column::left("PLAN", |key| (text(key, "plan"), Paint::None)),
    Column::left("STATE", state),
    Column::right("USED", |key| (size(&key["period"], "bytes"), Paint::None)),
    Column::right("LIMIT", |key| (size(&key["period"], "limit"), Paint::None)),
    Column::right("OPEN", |key| (text(key, "open"), Paint::None)),
    Column::left("EXPIRES", |key| (time(key, "expires"), Paint::None)),
    Column::left("CREATED", |key| (time(key, "created"), Paint::None)),
    Column::left("ALLOWED FROM", |key| (list(key, "allow_ips", "anywhere"), Paint::None)),
];

fn state(key: &Value) -> (String, Paint) {
    match key["state"].as_str() {
        Some("active") if key["expired"] == json!(true) => ("expired".to_owned(), Paint::Careful),
        Some("active") => ("active".to_owned(), Paint::Good),
        Some("suspended") => ("suspended".to_owned(), Paint::Careful),
        _ => (text(key, "state"), Paint::Bad),
    }
}

impl Keys {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        match self.action {
            Action::List => {
                let list = output.list(COLUMNS, "There are no keys yet: outgate keys create");
                console.read_all("/v1/keys", list).await
            }
            Action::Show { id } => {
                let key = console.read(&format!("/v1/keys/{id}")).await?;
                output.one(&key, shown)
            }
            Action::Create { plan, allow_ips, by_ip, expires, id } => {
                let mut fields = Map::new();
                fields.insert("allow_ips".into(), json!(allow_ips));
                fields.insert("proof".into(), json!(if by_ip { "source" } else { "secret" }));
                fields.extend(plan.map(|plan| ("plan".into(), json!(plan))));
                fields.extend(expires.map(|expires| ("expires".into(), json!(expires))));
                fields.extend(id.map(|id| ("id".into(), json!(id))));
                let key = console.post("/v1/keys", &Value::Object(fields)).await?;
                output.one(&key, |key, colour| {
                    format!(
                        "Key created. Its secret is shown only now; keep it.\n\n{}{}",
                        secret(key, colour),
                        shown(key, colour)
                    )
                })
            }
            Action::Set { id, change } => {
                let key = console.patch(&format!("/v1/keys/{id}"), &Value::Object(change.fields()?)).await?;
                output.one(&key, |key, colour| format!("Key {id} changed.\n\n{}", shown(key, colour)))
            }
            Action::Rotate { id, grace } => {
                let fields = grace.map_or_else(|| json!({}), |grace| json!({ "grace": grace }));
                let key = console.post(&format!("/v1/keys/{id}/rotate"), &fields).await?;
                output.one(&key, |key, colour| {
                    let old = match time(key, "old_secret_until") {
                        none if none == "-" => "the old one has ended".to_owned(),
                        until => format!("the old one stays good until {until}"),
                    };
                    format!("New secret of key {id}, shown only now; {old}.\n\n{}", secret(key, colour))
                })
            }
            Action::Suspend { id } => {
                act(console, output, &id, "suspend", &json!({}), "suspended; its open tunnels are ending").await
            }
            Action::Resume { id } => act(console, output, &id, "resume", &json!({}), "active").await,
            Action::Revoke { id } => {
                act(console, output, &id, "revoke", &json!({}), "revoked for good; its open tunnels are ending").await
            }
            Action::Block { id, why } => {
                act(console, output, &id, "block", &json!({ "why": why }), "blocked; its open tunnels are ending").await
            }
            Action::Unblock { id } => act(console, output, &id, "unblock", &json!({}), "active").await,
        }
    }
}

async fn act(
    console: &Console,
    output: &mut Output<'_>,
    id: &KeyId,
    action: &str,
    fields: &Value,
    outcome: &str,
) -> Result<(), Trouble> {
    let key = console.post(&format!("/v1/keys/{id}/{action}"), fields).await?;
    output.one(&key, |_, _| format!("Key {id} is {outcome}."))
}

fn secret(key: &Value, colour: Colour) -> String {
    format!("  id      {}\n  secret  {}\n\n", text(key, "id"), colour.paint(Paint::Heading, &text(key, "secret")))
}

fn shown(key: &Value, colour: Colour) -> String {
    let (state, paint) = state(key);
    let period = &key["period"];
    let mut lines = vec![
        ("id", text(key, "id")),
        ("plan", text(key, "plan")),
        ("state", colour.paint(paint, &state)),
        ("used", used(period)),
        ("begins again", time(period, "end")),
        ("open now", text(key, "open")),
        ("allowed from", list(key, "allow_ips", "anywhere")),
        ("shows", if key["proof"] == json!("source") { "its address" } else { "its secret" }.to_owned()),
        ("expires", time(key, "expires")),
        ("created", time(key, "created")),
    ];
    if key["state"] == json!("blocked") {
        lines.insert(3, ("blocked for", text(key, "blocked_why")));
    }
    if !key["old_secret_until"].is_null() {
        lines.push(("old secret", format!("good until {}", time(key, "old_secret_until"))));
    }
    let mut out = String::new();
    for (name, value) in lines {
        out.push_str(&format!("{}  {value}\n", colour.paint(Paint::Quiet, &format!("{name:<12}"))));
    }
    out
}

fn used(period: &Value) -> String {
    let (bytes, start) = (size(period, "bytes"), time(period, "start"));
    match period["limit"] {
        Value::Null => format!("{bytes} since {start} (no limit)"),
        _ => format!("{bytes} of {} since {start}", size(period, "limit")),
    }
}
