//! What measurements stand on: an origin of ours, Outgate as `quickstart` sets it up, and a turn of the generator.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::child::{Output, Running};
use crate::failure::{During, Failure, Outcome};
use crate::measure::{Measure, Reading};
use crate::process::Watched;

/// An origin, and its port.
pub(crate) fn origin(core: usize, log: PathBuf) -> Outcome<(Running, u16)> {
    let arguments = ["origin".into(), "--core".into(), core.to_string()];
    let mut origin = Running::start(&own_program()?, &arguments, core, log, Output::Read)?;
    let told: Value = serde_json::from_str(&origin.first_line()?).during("reading the origin's line")?;
    let port = told["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    Ok((origin, port.ok_or_else(|| Failure::new("the origin told no port"))?))
}

/// Outgate that may go to the origin, and the line that it says once it is ready.
pub(crate) fn quickstart(program: &Path, doors: Doors, data: &Path, core: usize, log: PathBuf) -> Outcome<(Running, Value)> {
    quickstart_under(&[], program, doors, data, core, log)
}

/// The same under these environment variables, each as `NAME=value`. (`env` execs, so the id is the program's.)
pub(crate) fn quickstart_under(
    variables: &[&str],
    program: &Path,
    doors: Doors,
    data: &Path,
    core: usize,
    log: PathBuf,
) -> Outcome<(Running, Value)> {
    let told = [
        "quickstart",
        "--listen",
        &doors.proxy.to_string(),
        "--console",
        &doors.console.to_string(),
        "--data",
        &data.display().to_string(),
        "--allow-target",
        "127.0.0.0/8",
        "--allow-port",
        "1-65535",
        "--json",
    ]
    .map(String::from);
    let own = [program.display().to_string()];
    let arguments: Vec<String> = variables.iter().map(|variable| (*variable).to_owned()).chain(own).chain(told).collect();
    let mut process = Running::start(Path::new("env"), &arguments, core, log, Output::Read)?;
    let told = serde_json::from_str(&process.first_line()?).during("reading quickstart's line")?;
    Ok((process, told))
}

/// Where Outgate listens.
pub(crate) struct Doors {
    pub(crate) proxy: SocketAddrV4,
    pub(crate) console: SocketAddrV4,
}

impl Doors {
    /// Any free ports.
    pub(crate) fn any() -> Self {
        let any = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        Self { proxy: any, console: any }
    }
}

/// The generator, each turn of it in a process of its own.
pub(crate) struct Generator {
    pub(crate) origin: u16,
    /// Measured time of a turn.
    pub(crate) seconds: f64,
    pub(crate) core: usize,
}

impl Generator {
    /// A turn along a `way` (`outgate-bench load --help`). The outer error is ours, the inner one the proxy's.
    pub(crate) fn load(&self, measure: Measure, way: &[String], watched: &Watched) -> Outcome<Result<Reading, String>> {
        let mut command = Command::new(own_program()?);
        command.args(["load", measure.name(), "--origin", &self.origin.to_string()]).args(way);
        command.args(["--seconds", &self.seconds.to_string(), "--core", &self.core.to_string()]);
        if !watched.pids.is_empty() {
            let pids: Vec<String> = watched.pids.iter().map(ToString::to_string).collect();
            command.args(["--watch", &pids.join(",")]);
            // Without a proxy nobody needs its core, and what others do there is no noise.
            command.args(watched.core.iter().flat_map(|core| ["--watch-core".to_owned(), core.to_string()]));
        }
        let done = command.stdin(Stdio::null()).output().during("running the generator")?;
        if !done.status.success() {
            return Ok(Err(String::from_utf8_lossy(&done.stderr).trim().to_string()));
        }
        serde_json::from_slice(&done.stdout).map(Ok).during("reading the generator's line")
    }
}

fn own_program() -> Outcome<PathBuf> {
    std::env::current_exe().during("finding the own program")
}
