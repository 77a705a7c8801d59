//! What an exit costs the machine it runs on: memory and CPU of `outgate exit` alone, idle, with tunnels, and under load.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{Output, Running};
use crate::cli::ExitLine;
use crate::failure::{During, Failure, Outcome};
use crate::measure::{Measure, Reading};
use crate::process::{self, Watched, pause};
use crate::route::{Route, origin_addresses};
use crate::setup::{Mode, open_all};
use crate::stage::{self, Doors, Generator};
use crate::wire;

/// A pool where the exit under measurement is alone.
const POOL: &str = "mobile";
/// What each tunnel says, and hears again, once per second.
const SAYING: [u8; 1024] = [b's'; 1024];
/// For memory to come to rest.
const REST: Duration = Duration::from_secs(2);

/// Measures and prints a table.
pub(crate) fn run(line: &ExitLine) -> Outcome<()> {
    process::raise_open_files()?;
    let folder = tempfile::tempdir().during("a temporary folder")?;
    let in_folder = |name: &str| folder.path().join(name);
    let (_origin, port) = stage::origin(line.load_core, in_folder("origin.log"))?;
    let data = in_folder("data");
    let log = in_folder("gateway.log");
    let (_gateway, ready) = stage::quickstart(&line.outgate, Doors::any(), &data, line.load_core, log)?;
    let data = data.display().to_string();
    let text = |name: &str| ready[name].as_str().ok_or_else(|| Failure::new(format!("no {name} in the ready line")));
    let url = text("proxy_url")?.replacen(text("key_id")?, &format!("{}-pool-{POOL}", text("key_id")?), 1);
    let route = Route::proxy(&url, origin_addresses(port))?;

    let token = in_folder("token");
    let enrolled = outgate(&line.outgate, &["exits", "enroll", "--pool", POOL, "--json", "--data", &data])?;
    std::fs::write(&token, enrolled["token"].as_str().unwrap_or_default()).during("keeping the exit's token")?;
    let mut arguments: Vec<String> =
        ["exit", "--allow-target", "127.0.0.0/8", "--gateway", text("exit_gateway_url")?, "--token-file"]
            .iter()
            .map(ToString::to_string)
            .collect();
    arguments.push(token.display().to_string());
    let mut exit = Running::start(&line.outgate, &arguments, line.core, in_folder("exit.log"), Output::Read)?;
    exit.first_line()?;
    let watched = Watched { pids: vec![exit.pid()], core: Some(line.core) };

    let mut table = Table { watched, span: Duration::from_secs_f64(line.seconds), rows: Vec::new() };
    pause(REST);
    table.add("linked, idle", || Ok(()))?;
    let mut tunnels = open_all(&route, line.tunnels, Mode::Echo)?;
    pause(REST);
    table.add(&format!("{} tunnels open, idle", tunnels.len()), || Ok(()))?;
    table.add(&format!("{} tunnels, 1 KiB each way per second and tunnel", tunnels.len()), || say_all(&mut tunnels))?;
    drop(tunnels);
    pause(REST);
    table.add("all closed again", || Ok(()))?;
    table.print()?;

    for measure in [Measure::Down, Measure::Up, Measure::Setups] {
        let reading = load(line, measure, &url, port, exit.pid())?;
        let get = |name: &str| reading.get(name).copied().unwrap_or_default();
        let did = match measure {
            Measure::Setups => {
                format!("{:.0} tunnels set up per second, {:.0} µs of CPU each", get("per_second"), get("cpu_us_each"))
            }
            _ => format!("{:.2} Gbit/s, {:.2} s of CPU per GiB", get("gbit_per_second"), get("cpu_s_per_gib")),
        };
        let rss = get("rss_kib") / 1024.0;
        writeln!(std::io::stdout(), "{}: {did}, {rss:.1} MiB resident at its end", measure.name()).during("printing")?;
    }
    Ok(())
}

/// Another command of the binary, which prints JSON.
fn outgate(program: &Path, arguments: &[&str]) -> Outcome<Value> {
    let output = Command::new(program).args(arguments).output().during("running outgate")?;
    if !output.status.success() {
        return Err(Failure::new(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    serde_json::from_slice(&output.stdout).during("reading outgate's answer")
}

/// One of the generator's own measurements, with the exit watched.
fn load(line: &ExitLine, measure: Measure, url: &str, origin: u16, exit: u32) -> Outcome<Reading> {
    let generator = Generator { origin, seconds: line.seconds, core: line.load_core };
    let watched = Watched { pids: vec![exit], core: Some(line.core) };
    generator
        .load(measure, &["--proxy".to_owned(), url.to_owned()], &watched)?
        .map_err(|why| Failure::new(format!("{}: {why}", measure.name())))
}

struct Table {
    watched: Watched,
    span: Duration,
    rows: Vec<(String, Reading)>,
}

impl Table {
    /// Reads memory and CPU over one span, in which `act` is called once per second.
    fn add(&mut self, name: &str, mut act: impl FnMut() -> Outcome<()>) -> Outcome<()> {
        let before = self.watched.usage()?;
        let began = Instant::now();
        while began.elapsed() < self.span {
            let second = Instant::now();
            act()?;
            pause(Duration::from_secs(1).saturating_sub(second.elapsed()));
        }
        let mut reading = Reading::new();
        self.watched.usage()?.since(&before, &mut reading);
        self.rows.push((name.to_owned(), reading));
        Ok(())
    }

    fn print(&self) -> Outcome<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{:<60} {:>10} {:>12}", "an exit that is", "RSS MiB", "CPU %").during("printing")?;
        for (name, reading) in &self.rows {
            let (rss, cpu) = (reading["rss_kib"] / 1024.0, reading["core_share"] * 100.0);
            writeln!(out, "{name:<60} {rss:>10.1} {cpu:>12.2}").during("printing")?;
        }
        Ok(())
    }
}

/// Every tunnel says its saying and hears it again.
fn say_all(tunnels: &mut [OwnedFd]) -> Outcome<()> {
    for (number, tunnel) in tunnels.iter().enumerate() {
        match wire::send(tunnel, &SAYING).during(format_args!("tunnel {number}"))? {
            Some(sent) if sent == SAYING.len() => {}
            _ => return Err(Failure::new(format!("tunnel {number} took not even 1 KiB"))),
        }
    }
    let mut heard = [0; SAYING.len()];
    for (number, tunnel) in tunnels.iter().enumerate() {
        let (began, mut filled) = (Instant::now(), 0);
        while filled < SAYING.len() {
            match wire::recv(tunnel, &mut heard[filled..]).during(format_args!("tunnel {number}"))? {
                Some(0) => return Err(Failure::new(format!("tunnel {number} was closed"))),
                Some(read) => filled += read,
                None if began.elapsed() < crate::load::STALL => pause(Duration::from_micros(100)),
                None => return Err(Failure::new(format!("tunnel {number} heard nothing"))),
            }
        }
        if heard != SAYING {
            return Err(Failure::new(format!("tunnel {number} heard something else")));
        }
    }
    Ok(())
}
