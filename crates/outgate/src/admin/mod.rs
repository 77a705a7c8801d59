//! The commands that administer a running gateway: `plans`, `keys`, `exits`, `usage`, `audit`, `signals`, `incidents`; and those that read what it wrote, running or
//! not: `logs`, `report`.
//!
//! Each reads its arguments ([`plans`], [`keys`], [`exits`], [`usage`], [`audit`], [`signals`]), asks the gateway's admin API through [`console`] and
//! prints the answer with [`output`] and [`table`]; [`trouble`] says what to do when that fails. To add a command: 1. a module
//! with its clap arguments and a `run`; 2. a variant of [`AdminCommand`]; 3. a case in `tests`.

mod audit;
mod console;
mod exits;
mod keys;
mod logs;
mod output;
mod plans;
mod report;
mod setting;
mod signals;
mod table;
#[cfg(test)]
mod tests;
mod trouble;
mod usage;
mod who;

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use console::Console;
use output::{Colour, Form, Output};
use trouble::Trouble;

/// The commands that talk to a running gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Plans: how much the keys on them may use
    Plans(plans::Plans),
    /// Keys: who may use the gateway
    Keys(keys::Keys),
    /// Exits: the agents that dial in and carry traffic out
    Exits(exits::Exits),
    /// Usage: bytes, requests and tunnels by key, day, hour or pool
    Usage(usage::Usage),
    /// Audit: who changed what, newest first
    Audit(audit::AuditTrail),
    /// Signals: what is too slow, too full or fails too often now
    Signals(signals::Signals),
    /// Incidents: what was wrong, since when and why, newest first
    Incidents(signals::Incidents),
    /// Logs: the records of requests, filtered, counted, followed
    Logs(Box<logs::Logs>),
    /// Report: what support needs to know of one request
    Report(report::Show),
}

/// Which gateway, and how to print. Accepted by every command, before or after its subcommand.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The gateway's data folder: its console address and admin token are found there
    #[arg(
        long,
        global = true,
        help_heading = "Which gateway, and how to print",
        value_name = "DIR",
        env = "OUTGATE_DATA",
        default_value = "./outgate-data"
    )]
    data: PathBuf,
    /// The gateway's console, instead of --data; the admin token comes from OUTGATE_ADMIN_TOKEN
    #[arg(long, global = true, help_heading = "Which gateway, and how to print", value_name = "URL")]
    console: Option<String>,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Which gateway, and how to print")]
    json: bool,
}

/// Runs one command to its exit code: 0 done, 1 it failed, 2 it can't be meant like that.
pub(crate) async fn run(command: AdminCommand) -> ExitCode {
    let stdout = std::io::stdout();
    let colour = Colour::of(stdout.is_terminal());
    let token = std::env::var("OUTGATE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
    // A listing of a million keys is not a million writes.
    let mut lines = BufWriter::new(stdout);
    match execute(command, token, colour, &mut lines).await {
        Ok(()) => ExitCode::SUCCESS,
        // `outgate keys list | head`: whoever read has read enough.
        Err(Trouble::Deaf) => ExitCode::SUCCESS,
        Err(trouble) => {
            let colour = Colour::of(std::io::stderr().is_terminal());
            // With a closed stderr too, the exit code is all that is left to say.
            let _ = std::io::stderr().write_all(trouble.told(colour).as_bytes());
            trouble.exit_code()
        }
    }
}

async fn execute(
    command: AdminCommand,
    token: Option<String>,
    colour: Colour,
    lines: &mut (dyn Write + Send),
) -> Result<(), Trouble> {
    let common = match &command {
        AdminCommand::Plans(plans) => &plans.common,
        AdminCommand::Keys(keys) => &keys.common,
        AdminCommand::Exits(exits) => &exits.common,
        AdminCommand::Usage(usage) => &usage.common,
        AdminCommand::Audit(audit) => &audit.common,
        AdminCommand::Signals(signals) => &signals.common,
        AdminCommand::Incidents(incidents) => &incidents.common,
        AdminCommand::Logs(logs) => &logs.common,
        AdminCommand::Report(report) => &report.common,
    };
    let form = if common.json { Form::Json } else { Form::Text };
    let (data, url) = (common.data.clone(), common.console.clone());
    let console = || Console::find(&data, url.as_deref(), token);
    let mut output = Output::new(form, colour, lines);
    match command {
        AdminCommand::Logs(logs) => logs.run(&mut output).await,
        AdminCommand::Report(report) => report.run(&mut output),
        AdminCommand::Plans(plans) => plans.run(&console()?, &mut output).await,
        AdminCommand::Keys(keys) => keys.run(&console()?, &mut output).await,
        AdminCommand::Exits(exits) => exits.run(&console()?, &mut output).await,
        AdminCommand::Usage(usage) => usage.run(&console()?, &mut output).await,
        AdminCommand::Audit(audit) => audit.run(&console()?, &mut output).await,
        AdminCommand::Signals(signals) => signals.run(&console()?, &mut output).await,
        AdminCommand::Incidents(incidents) => incidents.run(&console()?, &mut output).await,
    }?;
    output.end()
}
