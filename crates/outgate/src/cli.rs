//! The command line: every command, its flags, and the help that teaches them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use outgate_client::classify::Way;
use outgate_faults::Dialect;
use outgate_store::{Country, PoolName, PortRange, Secret};

use crate::admin::AdminCommand;

/// A forward-proxy gateway that always names the cause of a failure.
///
/// Try it: `outgate quickstart` starts a gateway with one exit and prints a curl line to paste.
/// When something fails: `outgate explain SLUG` (or a status such as 403) says why and what to do.
#[derive(Debug, Parser)]
#[command(name = "outgate", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a gateway, one exit and the console on this machine, ready to try
    Quickstart(Quickstart),
    /// Run a gateway from a configuration file
    Gateway(Gateway),
    /// Run an exit: dial a gateway and carry its tunnels out from here
    Exit(Box<Exit>),
    /// Run a local proxy in front of upstream proxies, for programs that can't be changed
    Relay(Box<Relay>),
    /// Explain a fault or a status: cause, fix, whether to retry
    Explain(Explain),
    /// Find out what is wrong with any proxy, whose fault it is, and what to do next
    Doctor(Box<Doctor>),
    /// Check a configuration file and list everything that is wrong with it
    Check(Check),
    /// Look after the ledger itself: its schema, its soundness, its move to another place
    #[command(subcommand)]
    Store(StoreCommand),
    #[command(flatten)]
    Admin(AdminCommand),
}

/// Starts a gateway, one local exit and the console; makes a plan and a key on the first run.
///
/// Ends with Ctrl-C. The data folder can be used again: the key and its secret stay the same.
#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Where the proxy listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where the console (admin API) listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub(crate) console: SocketAddr,
    /// The data folder: ledger, records, certificates
    #[arg(long, value_name = "DIR", default_value = "./outgate-data")]
    pub(crate) data: PathBuf,
    /// How faults are spelled: outgate, rfc, atlasvpn, proxies.fo
    #[arg(long, value_name = "NAME", default_value = "outgate", value_parser = dialect)]
    pub(crate) dialect: Dialect,
    /// Open a range of addresses that is closed by default, such as 127.0.0.0/8 (repeatable)
    #[arg(long, value_name = "CIDR")]
    pub(crate) allow_target: Vec<IpNet>,
    /// Allow a port besides 80, 443, 8080 and 8443 (repeatable)
    #[arg(long, value_name = "PORT|FROM-TO")]
    pub(crate) allow_port: Vec<PortRange>,
    /// Print one line of JSON once ready, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs a gateway until SIGTERM or SIGINT, then drains.
///
/// SIGHUP, or a change of the configuration file, puts the new configuration in force without cutting a tunnel. With mistakes in
/// it nothing changes, and the log says what they are.
#[derive(Debug, Args)]
#[command(after_help = "\
As a service, with restarts that refuse nobody: deploy/systemd/outgate-gateway.socket. More: docs/operating.md")]
pub(crate) struct Gateway {
    /// The configuration file; `outgate check FILE` tells what is wrong with one
    #[arg(long, value_name = "FILE", default_value = "outgate.toml")]
    pub(crate) config: PathBuf,
    /// Don't look for changes of the file; SIGHUP still reads it again
    #[arg(long)]
    pub(crate) no_watch: bool,
}

/// Dials a gateway and stays linked to it; needs no open port, works behind NAT.
///
/// The token comes from `outgate exits enroll`, with the line to start. Every option is also a variable of the
/// environment, as shown. SIGTERM or Ctrl-C lets open tunnels finish; a second one ends at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate exit --gateway wss://gw.example.com:8443 --token-file token --country us
  outgate exit --gateway wss://gw.example.com:8443 --token-file token --max-tunnels 200 --speed 2MB/s
  outgate exit --gateway wss://gw.example.com:8443 --token-file token --proxy http://me:secret@proxy:3128
  outgate exit --gateway wss://gw.example.com:8443 --token-file token --rotate-command 'mmcli -m 0 -r'

As a service: deploy/systemd/outgate-exit.service. More: docs/exits.md")]
pub(crate) struct Exit {
    /// The gateway's endpoint for exits: wss:// where its door has a certificate, else ws://
    #[arg(long, value_name = "ws[s]://HOST:PORT", env = "OUTGATE_EXIT_GATEWAY")]
    pub(crate) gateway: outgate_exit::GatewayUrl,
    /// The token from `outgate exits enroll`; better in a file or in the environment, where no process list shows it
    #[arg(long, value_name = "TOKEN", env = "OUTGATE_EXIT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file that holds the token and nothing else
    #[arg(long, value_name = "FILE", env = "OUTGATE_EXIT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust this CA (PEM) for wss:// instead of the system's
    #[arg(long, value_name = "FILE", env = "OUTGATE_EXIT_CA")]
    pub(crate) ca: Option<PathBuf>,

    /// The pool to serve, unless the operator enrolled it with one
    #[arg(long, value_name = "NAME", env = "OUTGATE_EXIT_POOL", help_heading = "What it says of itself")]
    pub(crate) pool: Option<PoolName>,
    /// Where this exit is: ISO 3166-1 alpha-2, lower case
    #[arg(long, value_name = "CC", env = "OUTGATE_EXIT_COUNTRY", help_heading = "What it says of itself")]
    pub(crate) country: Option<Country>,
    /// ISO 3166-2 subdivision, lower case, without the country
    #[arg(
        long,
        value_name = "ST",
        env = "OUTGATE_EXIT_STATE",
        help_heading = "What it says of itself",
        value_parser = outgate_store::parse_label
    )]
    pub(crate) state: Option<String>,
    /// The city; case, accents, spaces and hyphens make no difference
    #[arg(
        long,
        value_name = "CITY",
        env = "OUTGATE_EXIT_CITY",
        help_heading = "What it says of itself",
        value_parser = outgate_store::parse_city
    )]
    pub(crate) city: Option<String>,
    /// The autonomous system's number
    #[arg(long, value_name = "N", env = "OUTGATE_EXIT_ASN", help_heading = "What it says of itself")]
    pub(crate) asn: Option<u32>,

    /// Connections to the gateway: with two, one may break without an interruption
    #[arg(
        long,
        value_name = "N",
        env = "OUTGATE_EXIT_LINKS",
        help_heading = "The way to the gateway",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(outgate_exit::MOST_LINKS))
    )]
    pub(crate) links: u32,
    /// Go to the gateway through this HTTP proxy, or "none"; by default the one HTTPS_PROXY (for wss://), HTTP_PROXY (for
    /// ws://) or ALL_PROXY names, unless NO_PROXY excepts the gateway. Targets are reached without it
    #[arg(
        long,
        value_name = "http://[USER:PASSWORD@]HOST:PORT",
        env = "OUTGATE_EXIT_PROXY",
        help_heading = "The way to the gateway",
        hide_env_values = true
    )]
    pub(crate) proxy: Option<String>,

    /// Most tunnels at once, over all links
    #[arg(
        long,
        value_name = "N",
        env = "OUTGATE_EXIT_MAX_TUNNELS",
        help_heading = "What it carries",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_tunnels: u32,
    /// Most bytes per second over all tunnels, both ways together, such as 2MB/s; shared fairly
    #[arg(
        long,
        value_name = "BYTES/S",
        env = "OUTGATE_EXIT_SPEED",
        help_heading = "What it carries",
        value_parser = speed
    )]
    pub(crate) speed: Option<u64>,
    /// How long a target may take to accept a connection, such as 10s
    #[arg(
        long,
        value_name = "TIME",
        env = "OUTGATE_EXIT_CONNECT_TIMEOUT",
        help_heading = "What it carries",
        default_value = "10s",
        value_parser = some_time
    )]
    pub(crate) connect_timeout: Duration,
    /// Leave from this address of this machine; @FILE reads it from a file, again after every rotation
    #[arg(long, value_name = "IP|@FILE", env = "OUTGATE_EXIT_SOURCE", help_heading = "What it carries")]
    pub(crate) source: Option<outgate_exit::Source>,
    /// Open a range of addresses that is closed by default (repeatable)
    #[arg(long, value_name = "CIDR", env = "OUTGATE_EXIT_ALLOW_TARGET", help_heading = "What it carries", value_delimiter = ',')]
    pub(crate) allow_target: Vec<IpNet>,
    /// How long open tunnels may go on after SIGTERM, such as 30s
    #[arg(
        long,
        value_name = "TIME",
        env = "OUTGATE_EXIT_GRACE",
        help_heading = "What it carries",
        default_value = "30s",
        value_parser = outgate_store::amount::parse_duration
    )]
    pub(crate) grace: Duration,

    /// Run this with /bin/sh -c to get another address when the gateway asks (`outgate exits rotate ID`); exit code 0 says
    /// that the new address is in use
    #[arg(
        long,
        value_name = "CMD",
        env = "OUTGATE_EXIT_ROTATE_COMMAND",
        help_heading = "Rotating its address",
        conflicts_with = "rotate_url"
    )]
    pub(crate) rotate_command: Option<String>,
    /// POST to this URL instead, such as a modem's own page; a 2xx answer says that the new address is in use
    #[arg(
        long,
        value_name = "URL",
        env = "OUTGATE_EXIT_ROTATE_URL",
        help_heading = "Rotating its address",
        hide_env_values = true
    )]
    pub(crate) rotate_url: Option<outgate_exit::HookUrl>,
    /// The command is killed, or the URL given up, after this
    #[arg(
        long,
        value_name = "TIME",
        env = "OUTGATE_EXIT_ROTATE_TIMEOUT",
        help_heading = "Rotating its address",
        default_value = "60s",
        value_parser = some_time
    )]
    pub(crate) rotate_timeout: Duration,
}

/// A duration that is not nothing.
fn some_time(text: &str) -> Result<Duration, String> {
    let time = outgate_store::amount::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(time) }
}

/// A speed that moves something.
fn speed(text: &str) -> Result<u64, String> {
    let speed = outgate_store::amount::parse_speed(text).map_err(|error| error.to_string())?;
    if speed < 1024 { Err("must be at least 1 KiB/s: less carries nothing".to_owned()) } else { Ok(speed) }
}

/// Runs a local proxy that sends what it is asked through any list of upstream proxies, and tries again what can be.
///
/// HTTP and SOCKS5 come in on one port. Example: outgate relay --listen 127.0.0.1:3128 --upstream http://USER:PASSWORD@HOST:PORT
/// More, and everything that a file can say: docs/relay.md
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// Where programs connect to; port 0 takes a free one (repeatable; in place of the file's)
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<SocketAddr>,
    /// An upstream: http, https, socks5 or socks5h (repeatable). Others on this machine can read a command line: a file or the
    /// variable keeps a password from them
    #[arg(long, value_name = "URL", env = "OUTGATE_RELAY_UPSTREAM", hide_env_values = true, value_delimiter = ' ')]
    pub(crate) upstream: Vec<SecretUrl>,
    /// relay.toml, with upstreams beside those of the command line
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Targets that are reached past the upstreams, as in NO_PROXY: example.com,.corp,10.0.0.0/8,HOST:PORT (repeatable)
    #[arg(long, value_name = "RULES")]
    pub(crate) no_proxy: Vec<String>,
    /// The data folder: records are written there, and nowhere without it
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Say where it listens as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A URL with a password in it: no `Debug` of the command line shows it.
#[derive(Clone)]
pub(crate) struct SecretUrl(Arc<Secret<String>>);

impl SecretUrl {
    /// The URL itself.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl std::str::FromStr for SecretUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Arc::new(Secret::new(text.to_owned()))))
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Explains a fault by its slug, or all faults a status may stand for; without an argument lists them all.
///
/// Examples: outgate explain port_denied · outgate explain 403 · outgate explain 454 --dialect proxies.fo ·
/// curl -v ... 2>&1 | outgate explain --reply - --proxy pr.oxylabs.io:7777
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A slug such as dns_failed, or a status such as 454
    #[arg(value_name = "STATUS|SLUG")]
    pub(crate) what: Option<String>,
    /// The dialect in which a status is meant
    #[arg(long, value_name = "NAME", default_value = "outgate", value_parser = dialect)]
    pub(crate) dialect: Dialect,
    /// Print JSON: the whole row, for other languages
    #[arg(long)]
    pub(crate) json: bool,
    /// Say what a reply means, as pasted raw, from `curl -v` or from a library's error; `-` reads it from standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "what")]
    pub(crate) reply: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) circumstances: Circumstances,
}

/// What is known of a pasted reply besides.
#[derive(Debug, Args)]
pub(crate) struct Circumstances {
    /// How the request was put, if the reply does not show it: connect, forwarded, tunnelled (through an open tunnel) or direct
    #[arg(long, value_name = "WAY", requires = "reply", value_parser = way)]
    pub(crate) way: Option<Way>,
    /// The proxy that was asked, by which its provider is known
    #[arg(long, value_name = "HOST:PORT", requires = "reply")]
    pub(crate) proxy: Option<String>,
    /// The target that was asked for
    #[arg(long, value_name = "HOST:PORT", requires = "reply")]
    pub(crate) target: Option<String>,
    /// Whose proxy it is, by name (docs/classify.md lists them)
    #[arg(long, value_name = "NAME", requires = "reply")]
    pub(crate) provider: Option<String>,
    /// A file with the rules of another provider; docs/classify.md describes it
    #[arg(long = "provider-file", value_name = "FILE", requires = "reply")]
    pub(crate) provider_files: Vec<PathBuf>,
}

fn way(name: &str) -> Result<Way, String> {
    let known: Vec<&str> = Way::ALL.iter().map(|way| way.name()).collect();
    Way::parse(name).ok_or_else(|| format!("one of {}", known.join(", ")))
}

/// Examines any HTTP, HTTPS or SOCKS5 proxy in five steps, one thing changed at a time, and gives one verdict.
///
/// It reaches the proxy, authenticates, asks a neutral target and the real one, each also past the proxy, and asks again and
/// again. Exit code 0: requests work. 1: they fail, always or sometimes. 2: wrong usage.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate doctor --proxy http://KEY:SECRET@gw.example.com:8080 --target https://shop.example/
  outgate doctor --proxy socks5h://127.0.0.1:1080 --samples 50 --interval 1s
  OUTGATE_DOCTOR_PROXY=http://KEY:SECRET@gw.example.com:8080 outgate doctor --json | jq .verdict

More: docs/doctor.md")]
pub(crate) struct Doctor {
    /// The proxy; better in the environment, where no process list shows its password
    #[arg(long, value_name = "URL", env = "OUTGATE_DOCTOR_PROXY", hide_env_values = true)]
    pub(crate) proxy: String,
    /// What you really want to reach
    #[arg(long, value_name = "URL", value_parser = outgate_doctor::Site::read)]
    pub(crate) target: Option<outgate_doctor::Site>,
    /// A target that answers everybody; one that says where a request came from shows the exits, too
    #[arg(long, value_name = "URL", default_value = "http://example.com/", value_parser = outgate_doctor::Site::read)]
    pub(crate) neutral: outgate_doctor::Site,
    /// How many requests look for failures that come and go; 0 makes none
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) samples: u32,
    /// The pause between two of them, such as 1s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = outgate_store::amount::parse_duration)]
    pub(crate) interval: Duration,
    /// How long one request may take
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = some_time)]
    pub(crate) timeout: Duration,
    /// Believe this CA (PEM), too, for the proxy's and the targets' certificates
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Print the whole report as JSON, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks a gateway's or a relay's configuration file; exit code 0 if it is fine, 2 if not.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What `outgate store` does. More: docs/store.md
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the ledger, or bring its tables up to date; a gateway does so by itself when it starts
    Migrate(StorePlace),
    /// Look for what is wrong with the ledger: keys without a plan, sums that don't agree; exit code 1 if anything is
    Check(StorePlace),
    /// Write all of the ledger to a new file, a line of JSON each; secrets are in it as hashes only
    Export(StoreFile),
    /// Fill an empty ledger from such a file, all of it or nothing, and check it
    Import(StoreFile),
}

/// Which ledger.
#[derive(Debug, Args)]
pub(crate) struct StorePlace {
    /// The ledger of the gateway with this configuration
    #[arg(long, value_name = "FILE", default_value = "outgate.toml", conflicts_with_all = ["data", "postgres"])]
    pub(crate) config: PathBuf,
    /// The SQLite ledger in this data folder; no gateway may be running on it
    #[arg(long, value_name = "DIR", conflicts_with = "postgres")]
    pub(crate) data: Option<PathBuf>,
    /// The PostgreSQL ledger whose URL is in OUTGATE_STORE_POSTGRES
    #[arg(long)]
    pub(crate) postgres: bool,
}

/// Which ledger, and which file.
#[derive(Debug, Args)]
pub(crate) struct StoreFile {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: StorePlace,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::builtin(name).ok_or_else(|| format!("the dialects are {}", Dialect::BUILTIN.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
