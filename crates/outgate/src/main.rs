//! The one binary: reads the command line and hands over to the command.

mod activation;
mod admin;
mod cli;
mod config;
mod data;
mod doctor;
mod explain;
mod follow;
mod ledger;
mod metrics;
mod notify;
mod quickstart;
mod reload;
mod run_exit;
mod run_gateway;
mod run_relay;
mod sight;
mod station;
mod store_command;
mod tls;
mod watch;
mod webhook;

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // A reader that has read enough (`outgate explain | head`) is no panic of ours.
    match Cli::parse().command {
        Command::Quickstart(args) => serve("outgate=warn,warn", quickstart::run(args)),
        Command::Gateway(args) => {
            // Before it is read: a change while it is read is one.
            let watched = reload::Watched::new(&args.config);
            match config::load(&args.config) {
                Ok(config) => serve("outgate=info,warn", run_gateway::run(args, config, watched)),
                Err(problems) => wrong_config(&problems),
            }
        }
        Command::Exit(args) => serve("outgate=info,outgate_exit::agent=off,outgate_exit::keeper=off,warn", run_exit::run(*args)),
        Command::Relay(args) => serve("outgate=info,warn", run_relay::run(*args)),
        Command::Explain(args) => explain::run(&args),
        Command::Doctor(args) => serve("warn", doctor::run(*args)),
        Command::Check(args) => match check(&args.file) {
            Ok(()) => {
                println(&format!("{}: fine", args.file.display()));
                ExitCode::SUCCESS
            }
            Err(problems) => wrong_config(&problems),
        },
        Command::Store(command) => serve("warn", store_command::run(command)),
        Command::Admin(command) => serve("warn", admin::run(command)),
    }
}

/// Checks a file as what it is: a relay's has upstreams.
fn check(file: &std::path::Path) -> Result<(), Vec<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) if config::relay::is_relay(&text) => config::relay::load(file).map(|_| ()),
        _ => config::load(file).map(|_| ()),
    }
}

/// Runs a command on an event loop of this thread, with the log on.
fn serve(filter: &str, command: impl Future<Output = ExitCode>) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => failed(&format!("the event loop can't start: {error}")),
    }
}

fn wrong_config(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln(problem);
    }
    ExitCode::from(2)
}

/// Says why on standard error and fails.
pub(crate) fn failed(why: &str) -> ExitCode {
    eprintln(&format!("outgate: {why}"));
    ExitCode::FAILURE
}

/// A line on standard output; a reader that has gone away has read enough.
pub(crate) fn println(line: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
pub(crate) fn eprintln(line: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stderr(), "{line}");
}
