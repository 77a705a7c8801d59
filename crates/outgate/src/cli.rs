//! The command line: every command, its flags, and the help that teaches them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use outgate_faults::Dialect;
use outgate_store::{Country, PoolName, PortRange};

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
    Exit(Exit),
    /// Explain a fault or a status: cause, fix, whether to retry
    Explain(Explain),
    /// Check a configuration file and list everything that is wrong with it
    Check(Check),
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
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// The configuration file; `outgate check FILE` tells what is wrong with one
    #[arg(long, value_name = "FILE", default_value = "outgate.toml")]
    pub(crate) config: PathBuf,
}

/// Dials a gateway and stays linked to it; needs no open port, works behind NAT.
///
/// Example: outgate exit --gateway wss://gw.example.com:8443 --token TOKEN --country us
#[derive(Debug, Args)]
pub(crate) struct Exit {
    /// The gateway's endpoint for exits
    #[arg(long, value_name = "ws[s]://HOST:PORT")]
    pub(crate) gateway: outgate_exit::GatewayUrl,
    /// The token from `outgate exits enroll`; better in OUTGATE_EXIT_TOKEN, where no process list shows it
    #[arg(long, value_name = "TOKEN", env = "OUTGATE_EXIT_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
    /// The pool to serve, unless the operator enrolled it with one
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<PoolName>,
    /// Where this exit is: ISO 3166-1 alpha-2, lower case
    #[arg(long, value_name = "CC")]
    pub(crate) country: Option<Country>,
    /// ISO 3166-2 subdivision, lower case, without the country
    #[arg(long, value_name = "ST", value_parser = outgate_store::parse_label)]
    pub(crate) state: Option<String>,
    /// The city; case, accents, spaces and hyphens make no difference
    #[arg(long, value_name = "CITY", value_parser = outgate_store::parse_city)]
    pub(crate) city: Option<String>,
    /// The autonomous system's number
    #[arg(long, value_name = "N")]
    pub(crate) asn: Option<u32>,
    /// Open a range of addresses that is closed by default (repeatable)
    #[arg(long, value_name = "CIDR")]
    pub(crate) allow_target: Vec<IpNet>,
    /// Trust this CA (PEM) for wss:// instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long open tunnels may go on after SIGTERM, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = outgate_store::amount::parse_duration)]
    pub(crate) grace: std::time::Duration,
}

/// Explains a fault by its slug, or all faults a status may stand for; without an argument lists them all.
///
/// Examples: outgate explain port_denied · outgate explain 403 · outgate explain 454 --dialect proxies.fo
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
}

/// Checks a gateway's configuration file; exit code 0 if it is fine, 2 if not.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
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
