//! Processes under measurement: started pinned, awaited, and ended by their own id.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{During, Failure, Outcome};
use crate::process::pause;

/// For a peer to be ready after its start.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(20);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A running process. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

/// What is done with standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Goes to the log, like standard error.
    Logged,
    /// Its first line is wanted: [`Running::first_line`].
    Read,
}

impl Running {
    /// Starts `program` on one core (`taskset` execs, so the id is the program's). `log` gets what it says. It ends with the
    /// runner even if that is killed (`setpriv --pdeathsig`, as setting that in the child by ourselves takes unsafe code).
    pub(crate) fn start(program: &Path, arguments: &[String], core: usize, log: PathBuf, output: Output) -> Outcome<Self> {
        let file = File::create(&log).during("creating a log")?;
        let stdout = match output {
            Output::Logged => Stdio::from(file.try_clone().during("creating a log")?),
            Output::Read => Stdio::piped(),
        };
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .during(format_args!("starting {}", program.display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line of standard output. The rest is read and dropped for as long as it runs, so that it never blocks.
    pub(crate) fn first_line(&mut self) -> Outcome<String> {
        let stdout = self.child.stdout.take().ok_or_else(|| Failure::new("standard output is not being read"))?;
        let (told, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // The runner may have given up waiting; reading on matters all the same.
            let _ = told.send(lines.next().and_then(Result::ok));
            lines.for_each(drop);
        });
        match line.recv_timeout(READY_WITHIN) {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.failed("it ended before it was ready")),
            Err(_) => Err(self.failed("it was not ready in time")),
        }
    }

    /// Tries `probe` until it succeeds or [`READY_WITHIN`] is over or the process ends.
    pub(crate) fn await_ready(&mut self, probe: impl Fn() -> Outcome<()>) -> Outcome<()> {
        let began = Instant::now();
        loop {
            let Err(failure) = probe() else { return Ok(()) };
            if self.child.try_wait().during("looking after a peer")?.is_some() {
                return Err(self.failed("it ended at once"));
            }
            if began.elapsed() > READY_WITHIN {
                return Err(self.failed(&format!("it was not ready in time ({failure})")));
            }
            pause(Duration::from_millis(50));
        }
    }

    fn failed(&self, why: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Failure::new(format!("{why}; its last words: {}", tail.join(" / ")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let began = Instant::now();
        // Errors mean that it is gone already, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
        while began.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
