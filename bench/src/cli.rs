//! The command line.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::chaos::Harm;
use crate::measure::Measure;

/// Measures forward proxies side by side.
#[derive(Parser)]
#[command(name = "outgate-bench", version)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The target: echo, 1 KiB answers, bulk source and sink on one port.
    Origin(OriginLine),
    /// One measurement through one proxy; prints one line of JSON.
    Load(LoadLine),
    /// The whole comparison: starts origin and proxies, measures in interleaved rounds, reports.
    Run(RunLine),
    /// Memory and CPU of `outgate exit` alone: idle, with tunnels, under load.
    Exit(ExitLine),
    /// What a ledger of a million keys costs against a small one: start, memory, admission; writes docs/performance.md.
    Keys(KeysLine),
    /// What records and metrics cost: the same gateway with and without them; prints two tables.
    Seeing(SeeingLine),
    /// A fleet of exits that are killed, frozen, cut off, slow or lying under load; writes docs/fleet.md.
    Chaos(ChaosLine),
    /// What choosing an exit costs, from 10 to 100,000 of them; prints a table.
    Fleet,
}

#[derive(Args)]
pub(crate) struct ExitLine {
    /// The Outgate binary.
    #[arg(long, default_value = "target/release/outgate")]
    pub(crate) outgate: PathBuf,
    /// Tunnels held open.
    #[arg(long, default_value_t = 1000)]
    pub(crate) tunnels: usize,
    /// Seconds per row.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// The exit's core.
    #[arg(long, default_value_t = 0)]
    pub(crate) core: usize,
    /// Everything else's core.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

#[derive(Args)]
pub(crate) struct SeeingLine {
    /// The Outgate binary.
    #[arg(long, default_value = "target/release/outgate")]
    pub(crate) outgate: PathBuf,
    /// Rounds.
    #[arg(long, default_value_t = 12)]
    pub(crate) rounds: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// The gateways' core.
    #[arg(long, default_value_t = 0)]
    pub(crate) core: usize,
    /// The generator's and the origin's core.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

#[derive(Args)]
pub(crate) struct KeysLine {
    /// The Outgate binary.
    #[arg(long, default_value = "target/release/outgate")]
    pub(crate) outgate: PathBuf,
    /// Sizes of ledgers; the first is what the others are compared with.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000", value_parser = clap::value_parser!(u64).range(1..=9_999_999))]
    pub(crate) keys: Vec<u64>,
    /// Rounds; up to the fifth one also with starts.
    #[arg(long, default_value_t = 12)]
    pub(crate) rounds: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 1.5)]
    pub(crate) seconds: f64,
    /// Set-ups per second for latency.
    #[arg(long, default_value_t = 1500)]
    pub(crate) rate: u32,
    /// The gateways' core.
    #[arg(long, default_value_t = 0)]
    pub(crate) core: usize,
    /// The generator's and the origin's core.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
    /// The page whose section is written.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct OriginLine {
    /// 0 picks a free one, which is printed.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Core to run on.
    #[arg(long)]
    pub(crate) core: Option<usize>,
}

#[derive(Args)]
pub(crate) struct LoadLine {
    #[arg(value_enum)]
    pub(crate) measure: Measure,
    /// The HTTP proxy: `http://[user:password@]address:port`.
    #[arg(long, conflicts_with = "relay", required_unless_present = "relay")]
    pub(crate) proxy: Option<String>,
    /// Each CONNECT is of a key drawn from so many: those of the ledgers that `keys` makes.
    #[arg(long, requires = "proxy", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: Option<u64>,
    /// Relays that lead to the origin without being asked; several are used in turn.
    #[arg(long, value_delimiter = ',')]
    pub(crate) relay: Vec<SocketAddrV4>,
    /// The origin's port; it is reached on 127.0.1.1 and up.
    #[arg(long)]
    pub(crate) origin: u16,
    /// Concurrent set-ups or keep-alive connections.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// Tunnels for down, up and idle. Default: 8 for bulk, 2000 for idle.
    #[arg(long)]
    pub(crate) tunnels: Option<usize>,
    /// Set-ups per second for latency.
    #[arg(long, default_value_t = 1500)]
    pub(crate) rate: u32,
    /// Measured time, after a warm-up of a fifth of it (at least 0.3 s).
    #[arg(long, default_value_t = 4.0)]
    pub(crate) seconds: f64,
    /// Core to run on.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Processes whose CPU time and memory are read, with their descendants.
    #[arg(long, value_delimiter = ',')]
    pub(crate) watch: Vec<u32>,
    /// The core those are pinned to.
    #[arg(long)]
    pub(crate) watch_core: Option<usize>,
}

#[derive(Args)]
pub(crate) struct ChaosLine {
    /// For development: 6 s counted, no page written.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Harm>,
    /// Exits; a tenth of them is harmed.
    #[arg(long, default_value_t = 200)]
    pub(crate) exits: usize,
    /// Set-ups per second.
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u32,
    /// Seconds after the harm that are counted.
    #[arg(long, default_value_t = 12)]
    pub(crate) seconds: u64,
    /// The Outgate binary.
    #[arg(long, default_value = "target/release/outgate")]
    pub(crate) outgate: PathBuf,
    /// The page to write. Default docs/fleet.md, and nothing with --quick or --only.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct RunLine {
    /// For development: one round of 2 s each, 500 idle tunnels, no page written.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these peers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only these measures.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) measure: Vec<Measure>,
    /// Rounds. Default 5.
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Seconds per measurement. Default 4.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Tunnels held open for the idle measure. Default 2000.
    #[arg(long)]
    pub(crate) idle_tunnels: Option<usize>,
    /// The Outgate binary.
    #[arg(long, default_value = "target/release/outgate")]
    pub(crate) outgate: PathBuf,
    /// Where else to look for peers' binaries.
    #[arg(long)]
    pub(crate) peers_dir: Option<PathBuf>,
    /// The page to write. Default docs/performance.md, and nothing with --quick, --only or --measure.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Also write every single reading as JSON.
    #[arg(long)]
    pub(crate) raw: Option<PathBuf>,
    /// How often a measurement is repeated when other processes disturbed it; the least disturbed counts. Default 3, 0 with --quick.
    #[arg(long)]
    pub(crate) repeat_noisy: Option<usize>,
    /// The proxies' core.
    #[arg(long, default_value_t = 0)]
    pub(crate) proxy_core: usize,
    /// The generator's and the origin's core.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}
