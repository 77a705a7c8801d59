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
use std::sync::Arc;

use clap::Parser;
use outgate_telemetry::Telemetry;
use ring::rand::{SecureRandom, SystemRandom};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // A reader that has read enough (`outgate explain | head`) is no panic of ours.
    match Cli::parse().command {
        Command::Quickstart(args) => told("outgate=warn,warn", |telemetry| quickstart::run(args, telemetry)),
        Command::Gateway(args) => {
            // Before it is read: a change while it is read is one.
            let watched = reload::Watched::new(&args.config);
            match config::load(&args.config) {
                Ok(mut config) => told("outgate=info,warn", |telemetry| {
                    config.seeing.metrics.telemetry = telemetry;
                    run_gateway::run(args, config, watched)
                }),
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

/// Checks a file as what it is: a relay's has upstreams, a provider's says when its source was read.
fn check(file: &std::path::Path) -> Result<(), Vec<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) if outgate_client::providers::is_provider(&text) => {
            let providers = outgate_client::providers::Providers::builtin().clone();
            providers.with_file(&file.display().to_string(), &text).map(|_| ())
        }
        Ok(text) if config::relay::is_relay(&text) => config::relay::load(file).map(|_| ()),
        _ => config::load(file).map(|_| ()),
    }
}

/// Runs a command on an event loop of this thread, with the log on.
fn serve(filter: &str, command: impl Future<Output = ExitCode>) -> ExitCode {
    start_log(filter, None);
    run(command)
}

/// The same for a command that telemetry tells of, where the environment asks for that.
fn told<F: Future<Output = ExitCode>>(filter: &str, command: impl FnOnce(Option<Arc<Telemetry>>) -> F) -> ExitCode {
    let telemetry = match outgate_telemetry::Settings::of_environment() {
        Ok(settings) => settings,
        Err(problems) => return wrong_config(&problems),
    };
    let telemetry = telemetry.map(|settings| Telemetry::start(settings, &instance())).transpose();
    let telemetry = match telemetry {
        Ok(telemetry) => telemetry,
        Err(why) => return failed(&format!("telemetry can't be exported: {why}")),
    };
    start_log(filter, telemetry.as_deref());
    let code = run(command(telemetry.clone()));
    if let Some(telemetry) = telemetry {
        telemetry.shut_down();
    }
    code
}

/// Tells this run from all others.
fn instance() -> String {
    let mut bytes = [0; 8];
    // Without random bytes it is told by its process alone.
    let _none = SystemRandom::new().fill(&mut bytes);
    format!("{:016x}-{}", u64::from_ne_bytes(bytes), std::process::id())
}

fn start_log(filter: &str, telemetry: Option<&Telemetry>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let terminal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let exported = telemetry.and_then(Telemetry::layer);
    tracing_subscriber::registry().with(filter).with(terminal).with(exported).init();
}

fn run(command: impl Future<Output = ExitCode>) -> ExitCode {
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
