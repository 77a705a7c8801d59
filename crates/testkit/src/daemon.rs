//! Any long-running command as a child process: its output kept, its signals, its end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::patience::wait_for;

/// How many lines of a child's output are kept: enough to see why it failed, whatever it logs.
const KEPT_LINES: usize = 10_000;

/// Any long-running command of the binary. Killed by its own pid when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines a child wrote so far, gathered by a thread of their own so that its pipe never fills up.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Daemon {
    /// Starts `executable` with these arguments; `environment` is added to one's own.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(executable: &str, arguments: &[OsString], environment: &[(&str, &str)]) -> Self {
        Self::start_with(Stdio::null(), executable, arguments, environment)
    }

    /// Starts it with this for its standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with(stdin: Stdio, executable: &str, arguments: &[OsString], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(executable)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{executable}: {error}"));
        let stdout = Lines::gather(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::gather(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it wrote to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The last lines it wrote to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits until `pick` takes a line of its stdout or stderr.
    ///
    /// # Panics
    /// If it ends before, or takes longer than [`crate::patience::HANG`]; its stderr is in the message.
    pub fn line<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        wait_for(what, || {
            let ended = self.child.try_wait().expect("it is our child");
            let found = self.stdout.find(&pick).or_else(|| self.stderr.find(&pick));
            if let (None, Some(status)) = (&found, ended) {
                panic!("ended ({status}) before {what}:\n{}{}", self.stdout(), self.stderr());
            }
            found
        })
    }

    /// How much memory it holds now, in bytes: `VmRSS` of proc(5).
    ///
    /// # Panics
    /// If it is gone, or this is not Linux.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running child on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process that has not ended");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("proc(5) says a number in kB");
        kibibytes * 1024
    }

    /// How much processor time it has used so far, in ticks of 10 ms: `utime` and `stime` of proc(5).
    ///
    /// # Panics
    /// If it is gone, or this is not Linux.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a running child on Linux");
        // The name, second of all fields, may contain anything, but ends with the last parenthesis.
        let (_, rest) = stat.rsplit_once(')').expect("proc(5) puts the name in parentheses");
        let ticks = rest.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>());
        ticks.map(|ticks| ticks.expect("proc(5) says a number")).sum()
    }

    /// How many files and sockets it holds open now.
    ///
    /// # Panics
    /// If it is gone, or this is not Linux.
    #[must_use]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running child on Linux").count()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // An error means that it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends a signal such as `Signal::TERM`, `Signal::STOP`, `Signal::CONT`, `Signal::HUP`.
    ///
    /// # Panics
    /// If it is gone already.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid is a positive i32");
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// Never: it is our child.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the process to end", || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Lines {
    fn gather(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut lines = writer.lock();
                if lines.len() == KEPT_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
        lines
    }

    fn find<T>(&self, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.lock().iter().find_map(|line| pick(line))
    }

    fn text(&self) -> String {
        self.lock().iter().map(|line| format!("{line}\n")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
