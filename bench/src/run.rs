//! The whole comparison: every measure through every peer, round after round, so that what disturbs a round disturbs all.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::cli::RunLine;
use crate::failure::{During, Failure, Outcome};
use crate::measure::{Measure, Reading};
use crate::peers::{self, Ground, PEERS, Peer, Started};
use crate::process::{self, Watched};
use crate::report::{self, Setting};
use crate::stage::{self, Generator};

/// Part of the proxies' core that others may take before a measurement counts as disturbed.
pub(crate) const NOISE_LIMIT: f64 = 0.05;

/// Everything found. A failed cell has the reason in place of numbers.
#[derive(Default)]
pub(crate) struct Findings {
    cells: BTreeMap<(Measure, &'static str), Vec<Result<Reading, String>>>,
}

impl Findings {
    /// One entry per round; `None` where the measurement failed or the field is missing.
    pub(crate) fn values(&self, measure: Measure, peer: &str, field: &str) -> Vec<Option<f64>> {
        let rounds = self.cells.iter().find(|((of, name), _)| *of == measure && *name == peer).map(|cell| cell.1);
        rounds.map(|rounds| rounds.iter().map(|round| round.as_ref().ok()?.get(field).copied()).collect()).unwrap_or_default()
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (Measure, &'static str, &str)> {
        self.cells.iter().flat_map(|((measure, peer), rounds)| {
            rounds.iter().filter_map(|round| Some((*measure, *peer, round.as_ref().err()?.as_str())))
        })
    }

    /// The largest part of the proxies' core that anything else took during a measurement.
    pub(crate) fn worst_noise(&self) -> f64 {
        let all = self.cells.values().flatten().filter_map(|round| round.as_ref().ok()?.get("core_foreign"));
        all.fold(0.0, |worst, noise| worst.max(*noise))
    }

    fn to_json(&self) -> serde_json::Value {
        let mut rows = Vec::new();
        for ((measure, peer), rounds) in &self.cells {
            for (round, found) in rounds.iter().enumerate() {
                let (reading, failure) = match found {
                    Ok(reading) => (Some(reading), None),
                    Err(failure) => (None, Some(failure)),
                };
                rows.push(serde_json::json!({
                    "measure": measure.name(), "peer": peer, "round": round, "reading": reading, "failure": failure,
                }));
            }
        }
        serde_json::Value::Array(rows)
    }
}

/// What one run does, after its defaults.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) idle_tunnels: usize,
    repeat_noisy: usize,
    pub(crate) measures: Vec<Measure>,
    pub(crate) peers: Vec<&'static Peer>,
    page: Option<PathBuf>,
}

impl Plan {
    fn of(line: &RunLine) -> Outcome<Self> {
        let whole = !line.quick && line.only.is_empty() && line.measure.is_empty();
        let mut peers: Vec<&'static Peer> = PEERS.iter().collect();
        if !line.only.is_empty() {
            peers = line.only.iter().map(|name| peers::named(name)).collect::<Outcome<_>>()?;
        }
        Ok(Self {
            rounds: line.rounds.unwrap_or(if line.quick { 1 } else { 5 }).max(1),
            seconds: line.seconds.unwrap_or(if line.quick { 2.0 } else { 4.0 }),
            idle_tunnels: line.idle_tunnels.unwrap_or(if line.quick { 500 } else { 2000 }),
            repeat_noisy: line.repeat_noisy.unwrap_or(if line.quick { 0 } else { 3 }),
            measures: if line.measure.is_empty() { Measure::ALL.to_vec() } else { line.measure.clone() },
            peers,
            page: line.out.clone().or_else(|| whole.then(|| PathBuf::from("docs/performance.md"))),
        })
    }
}

pub(crate) fn run(line: &RunLine) -> Outcome<()> {
    let mut plan = Plan::of(line)?;
    // Two sockets per tunnel, and some to spare.
    let files = process::raise_open_files()?;
    if files < plan.idle_tunnels as u64 * 4 + 200 {
        return Err(Failure::new(format!("{} idle tunnels are too many for {files} open files", plan.idle_tunnels)));
    }
    let temporary = tempfile::tempdir().during("making a temporary folder")?;
    open_to_all(temporary.path())?;
    let (_origin, origin_port) = stage::origin(line.load_core, temporary.path().join("origin.log"))?;
    let ground = Ground {
        folder: temporary.path().to_path_buf(),
        origin_port,
        core: line.proxy_core,
        outgate: line.outgate.clone(),
        peers_dir: line.peers_dir.clone(),
    };
    let missing: Vec<&str> = plan.peers.iter().filter(|peer| !peer.is_installed(&ground)).map(|peer| peer.name).collect();
    if !missing.is_empty() && !line.only.is_empty() {
        return Err(Failure::new(format!("not installed: {}", missing.join(", "))));
    }
    plan.peers.retain(|peer| !missing.contains(&peer.name));
    for name in &missing {
        say(&format!("{name}: not installed, left out"));
    }

    let mut findings = Findings::default();
    let mut bench = Bench { line, plan: &plan, ground: &ground, findings: &mut findings };
    bench.idle()?;
    bench.rounds()?;

    let setting = Setting::look(&plan, &ground, &missing);
    write!(std::io::stdout(), "{}", report::terminal(&findings, &plan)).during("printing the report")?;
    if let Some(raw) = &line.raw {
        fs::write(raw, format!("{:#}\n", findings.to_json())).during("writing the raw readings")?;
    }
    if let Some(page) = &plan.page {
        let before = fs::read_to_string(page).unwrap_or_default();
        fs::write(page, report::page(&findings, &plan, &setting, &before)).during("writing the page")?;
        say(&format!("wrote {}", page.display()));
    }
    match findings.failures().count() {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} measurements failed; see above"))),
    }
}

struct Bench<'a> {
    line: &'a RunLine,
    plan: &'a Plan,
    ground: &'a Ground,
    findings: &'a mut Findings,
}

impl Bench<'_> {
    /// Each time in a process of its own that has done nothing else; three rounds are enough, as memory hardly varies.
    fn idle(&mut self) -> Outcome<()> {
        if !self.plan.measures.contains(&Measure::Idle) {
            return Ok(());
        }
        for round in 0..self.plan.rounds.min(3) {
            for peer in self.plan.peers.iter().filter(|peer| peer.measures.contains(&Measure::Idle)) {
                let started = peer.start(self.ground)?;
                self.cell(Measure::Idle, &started, round)?;
            }
        }
        Ok(())
    }

    /// All peers run all the time; one at a time is worked. Each round begins with another one.
    fn rounds(&mut self) -> Outcome<()> {
        let measures: Vec<Measure> = self.plan.measures.iter().copied().filter(|it| *it != Measure::Idle).collect();
        let wanted = |peer: &Peer| peer.measures.iter().any(|measure| measures.contains(measure));
        let peers = self.plan.peers.iter().filter(|peer| wanted(peer));
        let mut started = peers.map(|peer| peer.start(self.ground)).collect::<Outcome<Vec<Started>>>()?;
        for round in 0..self.plan.rounds {
            for measure in &measures {
                for started in started.iter().filter(|started| started.peer.measures.contains(measure)) {
                    self.cell(*measure, started, round)?;
                }
            }
            let first = started.len().min(1);
            started.rotate_left(first);
        }
        Ok(())
    }

    fn cell(&mut self, measure: Measure, through: &Started, round: usize) -> Outcome<()> {
        let mut found = self.load(measure, through)?;
        // By noise, never by the result: choosing among results would be cheating.
        for _ in 0..self.plan.repeat_noisy {
            if noise(&found) <= NOISE_LIMIT {
                break;
            }
            let again = self.load(measure, through)?;
            if again.is_err() || noise(&again) < noise(&found) {
                found = again;
            }
        }
        let told = match &found {
            Ok(reading) => report::headline(measure, reading),
            Err(failure) => format!("FAILED: {failure}"),
        };
        say(&format!("round {} {:8} {:13} {told}", round + 1, measure.name(), through.peer.name));
        self.findings.cells.entry((measure, through.peer.name)).or_default().push(found);
        Ok(())
    }

    /// The outer error is ours, the inner one the proxy's.
    fn load(&self, measure: Measure, through: &Started) -> Outcome<Result<Reading, String>> {
        let generator = Generator { origin: self.ground.origin_port, seconds: self.plan.seconds, core: self.line.load_core };
        let mut way = through.way.clone();
        if measure == Measure::Idle {
            way.extend(["--tunnels".into(), self.plan.idle_tunnels.to_string()]);
        }
        generator.load(measure, &way, &Watched { pids: through.pids(), core: Some(self.ground.core) })
    }
}

/// What others took of the proxies' core. A failure is one whatever the noise, and isn't repeated away.
fn noise(found: &Result<Reading, String>) -> f64 {
    found.as_ref().ok().and_then(|reading| reading.get("core_foreign").copied()).unwrap_or(0.0)
}

/// squid started by root reads its configuration as another user.
fn open_to_all(folder: &std::path::Path) -> Outcome<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).during("opening the temporary folder")
}

fn say(line: &str) {
    // Progress is a courtesy: without a terminal to read it the run goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}
