//! A ledger of so many keys in a data folder, made by `outgate store import`, and the gateway on it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use outgate_store::{Plan, PlanName, SecretHash};
use serde_json::json;

use crate::child::Running;
use crate::failure::{During, Failure, Outcome};
use crate::keys::login;
use crate::process;
use crate::stage::{self, Doors};

/// High enough that nobody meets them; being there, they are counted.
const PERIOD_BYTES: u64 = 1 << 40;
const RATE: u32 = 10_000;
const THREADS: u32 = 10_000;

/// One that was imported and started once, so that what a first start makes is there.
pub(super) struct Ledger {
    pub(super) keys: u64,
    /// How long the import took, its check included.
    pub(super) imported_in: Duration,
    folder: PathBuf,
}

/// A gateway that is ready.
pub(super) struct Started {
    pub(super) process: Running,
    pub(super) proxy: String,
    /// From the start of the process to its ready line.
    pub(super) ready_in: Duration,
}

impl Ledger {
    /// Makes one in a folder of its own under `folder`.
    pub(super) fn make(program: &Path, folder: &Path, keys: u64, core: usize) -> Outcome<Self> {
        let data = folder.join(format!("ledger-{keys}"));
        fs::create_dir(&data).during("making the data folder")?;
        let file = folder.join(format!("ledger-{keys}.jsonl"));
        write(&file, keys).during("writing the ledger's file")?;
        let began = Instant::now();
        let imported = Command::new(program).args(["store", "import", "--data"]).arg(&data).arg(&file).output();
        let imported = imported.during("running outgate store import")?;
        if !imported.status.success() {
            return Err(Failure::new(format!("outgate store import: {}", String::from_utf8_lossy(&imported.stderr).trim())));
        }
        let ledger = Self { keys, imported_in: began.elapsed(), folder: data };
        fs::remove_file(&file).during("removing the ledger's file")?;
        drop(ledger.start(program, core)?);
        Ok(ledger)
    }

    /// Starts a gateway on it.
    pub(super) fn start(&self, program: &Path, core: usize) -> Outcome<Started> {
        let began = Instant::now();
        let log = self.folder.join("log");
        let (process, told) = stage::quickstart(program, Doors::any(), &self.folder, core, log)?;
        let ready_in = began.elapsed();
        let url = told["proxy_url"].as_str().and_then(|url| url.rsplit_once('@'));
        let (_, address) = url.ok_or_else(|| Failure::new("quickstart's line has no proxy_url"))?;
        Ok(Started { process, proxy: format!("http://{address}"), ready_in })
    }
}

impl Started {
    /// KiB held at most so far.
    pub(super) fn peak_kib(&self) -> u64 {
        process::peak_kib(self.process.pid())
    }
}

/// The file that `outgate store import` takes (docs/store.md).
fn write(file: &Path, keys: u64) -> Outcome<()> {
    let mut out = BufWriter::new(File::create(file).during("creating it")?);
    let name = PlanName::parse("bench").during("the plan")?;
    let plan = Plan { bytes: Some(PERIOD_BYTES), rate: Some(RATE), threads: Some(THREADS), ..Plan::unlimited(name) };
    let mut line = |line: serde_json::Value| writeln!(out, "{line}").during("writing it");
    line(json!({"outgate_ledger": {"version": 1}}))?;
    line(json!({ "plan": plan }))?;
    for number in 0..keys {
        let secret = SecretHash::of(login::secret(number).as_bytes()).to_hex();
        line(json!({"key": {
            "id": login::id(number), "plan": "bench", "secret_sha256": secret, "state": "active", "allow_ips": [], "proof": "secret",
            "created": "2026-01-01T00:00:00Z", "period_anchor": "2026-01-01T00:00:00Z",
        }}))?;
    }
    line(json!({"end": {"entries": keys + 1}}))?;
    out.flush().during("writing it")
}
