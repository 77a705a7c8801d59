//! Measures Outgate side by side with other proxies: an origin, a load generator and a runner in one binary.
//!
//! `outgate-bench run` starts the [`origin`] and every peer of [`peers`], then walks [`measure`]s × peers in interleaved
//! rounds; each cell is one child process running [`load`], which prints one line of JSON. [`run`] gathers the readings,
//! [`goals`] turns them into ratios, [`report`] into a table and `docs/performance.md`.
//!
//! `outgate-bench exit` ([`exit`]) measures the agent alone: what it costs the machine it runs on.
//!
//! The proxy has one core to itself, the generator and the origin share another. They are therefore written straight on
//! epoll with one thread each and no copies where the kernel can do without ([`wire`], [`pattern`]): a generator slower than the
//! fastest peer would measure itself. The row `direct`, with no proxy at all, shows how much head-room it has.
//!
//! Nothing here trusts a proxy: every status, every echoed byte and every bulk byte is checked and counted, and the first
//! wrong one ends the run ([`failure`]).
//!
//! `outgate-bench chaos` is apart: it harms a fleet of exits under load and counts what clients see of it ([`chaos`]).
//! `outgate-bench seeing` compares a gateway that records and counts with one that does not ([`seeing`]).
//! `outgate-bench keys` compares a ledger of a million keys with a small one ([`keys`]).
//! `outgate-bench fleet` stays in its own process: what choosing among 100,000 exits and a million sessions costs ([`fleet`]).
//!
//! To add a new peer: 1. give it a row in `peers::PEERS` with the measures it can do; 2. write its configuration in
//! `peers/configs.rs`; 3. teach `bench/run` how to install it; 4. if a goal is set against it, add a row to `goals::GOALS`.
//! To add a new measure: 1. a variant in [`measure`]; 2. a module under `load/` that fills a `Reading`; 3. a section in [`report`].

mod chaos;
mod child;
mod cli;
mod exit;
mod failure;
mod fleet;
mod goals;
mod keys;
mod load;
mod measure;
mod origin;
mod pattern;
mod peers;
mod process;
mod report;
mod route;
mod run;
mod seeing;
mod setup;
mod stage;
mod stats;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Command, Line};

fn main() -> ExitCode {
    let outcome = match Line::parse().command {
        Command::Origin(line) => origin::serve(&line),
        Command::Load(line) => load::run(&line),
        Command::Run(line) => run::run(&line),
        Command::Exit(line) => exit::run(&line),
        Command::Keys(line) => keys::run(&line),
        Command::Seeing(line) => seeing::run(&line),
        Command::Chaos(line) => chaos::run(&line),
        Command::Fleet => fleet::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A closed stderr leaves nobody to tell; the exit code still does.
            let _ = writeln!(std::io::stderr(), "outgate-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
