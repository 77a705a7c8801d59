//! A throw-away Redis server: on a unix socket of its own folder, gone when its handle drops.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::daemon::{Daemon, Signal};

/// A running server without data, or one that keeps it over a restart.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    keeps: Keeps,
    daemon: Daemon,
}

/// What is left after the server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// Every write, also after a kill.
    Everything,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// If `redis-server` is not installed, or does not become ready.
    #[must_use]
    pub fn start(keeps: Keeps) -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let daemon = run(&folder, keeps);
        Self { folder, keeps, daemon }
    }

    /// Where it listens, as clients are told: `redis+unix:///…`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("redis+unix://{}", socket(&self.folder).display())
    }

    /// How many scripts it has run so far.
    ///
    /// # Panics
    /// If it doesn't answer.
    #[must_use]
    pub fn scripts_run(&self) -> u64 {
        let mut stream = UnixStream::connect(socket(&self.folder)).expect("the server listens");
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").expect("it reads");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("it answers and closes");
        let calls = told.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().expect("a number of calls"))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again after [`RedisServer::kill`], at the same address, with what it keeps.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = run(&self.folder, self.keeps);
    }

    /// Answers nobody from here on.
    pub fn freeze(&self) {
        self.daemon.signal(Signal::STOP);
    }

    /// Goes on where it was frozen.
    pub fn thaw(&self) {
        self.daemon.signal(Signal::CONT);
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

fn run(folder: &TempDir, keeps: Keeps) -> Daemon {
    // What a killed server left would be taken for one that listens.
    drop(std::fs::remove_file(socket(folder)));
    let append = if keeps == Keeps::Everything { "yes" } else { "no" };
    let fixed = ["--port", "0", "--save", "", "--appendfsync", "always", "--appendonly", append, "--unixsocket"];
    let mut arguments: Vec<OsString> = fixed.iter().map(OsString::from).collect();
    arguments.push(socket(folder).into_os_string());
    arguments.extend(["--dir".into(), folder.path().as_os_str().to_owned()]);
    let mut daemon = Daemon::start("redis-server", &arguments, &[]);
    daemon.line("redis-server to be ready", |line| line.contains("ready to accept connections").then_some(()));
    daemon
}
