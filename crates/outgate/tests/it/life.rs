//! The life of a gateway: reloads and restarts under a load that must not notice, and its end.

mod load;
mod reload;
mod restart;
mod service;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use outgate_testkit::daemon::{Daemon, Signal};
use outgate_testkit::patience::wait_for;
use outgate_testkit::wire::{Credentials, Expect, Reply, Wire};
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;

/// What every configuration here has: loopback is open, the console is somewhere.
const OPEN: &str =
    "console.address = \"127.0.0.1:0\"\npolicy.allow_targets = [\"127.0.0.0/8\"]\npolicy.ports = [\"80\", \"1024-65535\"]\n";

/// Runs the rest of its arguments with standard input as the socket that a service manager passes.
const ACTIVATE: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";

/// The folder of a gateway: its file and its data, which outlive its processes.
struct Home {
    folder: TempDir,
    key: String,
    secret: String,
}

/// One process of it.
struct Process {
    daemon: Daemon,
    /// Where clients connect, in the order of the file.
    listeners: Vec<SocketAddr>,
    data: PathBuf,
}

impl Home {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("the machine has a temporary folder"), key: String::new(), secret: String::new() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("outgate.toml")
    }

    /// Writes the file: these settings and [`OPEN`].
    fn write(&self, settings: &str) {
        self.write_exactly(&format!("{OPEN}{settings}"));
    }

    fn write_exactly(&self, settings: &str) {
        let text = format!("data = \"{}\"\n{settings}", self.data().display());
        std::fs::write(self.file(), text).expect("the folder is ours");
    }

    fn arguments(&self, more: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["gateway".into(), "--config".into(), self.file().into()];
        arguments.extend(more.iter().map(OsString::from));
        arguments
    }

    /// Starts a gateway that does not look at its file by itself.
    fn start(&mut self) -> Process {
        self.start_with(&["--no-watch"], &[])
    }

    fn start_with(&mut self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        let daemon = Daemon::start(OUTGATE, &self.arguments(arguments), environment);
        self.ready(daemon)
    }

    /// Starts a gateway that is passed this listener.
    fn start_activated(&mut self, listener: &TcpListener) -> Process {
        let stdin = Stdio::from(OwnedFd::from(listener.try_clone().expect("a descriptor")));
        let mut arguments: Vec<OsString> = vec!["-c".into(), ACTIVATE.into(), OUTGATE.into()];
        arguments.extend(self.arguments(&["--no-watch"]));
        let daemon = Daemon::start_with(stdin, "/bin/sh", &arguments, &[]);
        self.ready(daemon)
    }

    /// Waits until it is ready; the first one gets a key.
    fn ready(&mut self, mut daemon: Daemon) -> Process {
        let listeners = daemon
            .line("the line that says where it listens", |line| addresses(line.split_once("listen=\"")?.1.split('"').next()?));
        let process = Process { daemon, listeners, data: self.data() };
        if self.key.is_empty() {
            let _plan = process.admin(&["plans", "create", "all"]);
            let key = process.admin(&["keys", "create"]);
            let text = |field: &str| key[field].as_str().expect("a new key has an id and a secret").to_owned();
            (self.key, self.secret) = (text("id"), text("secret"));
        }
        process
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials { user: &self.key, password: &self.secret }
    }
}

impl Process {
    /// What a command of the operator says.
    fn admin(&self, arguments: &[&str]) -> Value {
        let output = Command::new(OUTGATE).args(arguments).arg("--json").arg("--data").arg(&self.data).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }

    /// The lines about reloads that were carried out.
    fn reloads(&self) -> Vec<String> {
        let lines = self.daemon.stderr();
        lines.lines().filter(|line| line.contains("outgate::reload: reloaded")).map(str::to_owned).collect()
    }

    /// Reloads at SIGHUP; the line about it.
    fn reload(&self) -> String {
        let before = self.reloads().len();
        self.daemon.signal(Signal::HUP);
        wait_for("the line about the reload", || self.reloads().get(before).cloned())
    }

    /// SIGTERM, and waits for a good end; what was said.
    fn stop(mut self) -> String {
        self.daemon.signal(Signal::TERM);
        let status = self.daemon.wait();
        let said = self.daemon.stderr();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

/// The addresses of a line's `opened="…"`, `closed="…"`.
fn field(line: &str, name: &str) -> Vec<SocketAddr> {
    let value = line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    addresses(value.unwrap_or_else(|| panic!("no {name} in {line}"))).unwrap_or_default()
}

fn addresses(list: &str) -> Option<Vec<SocketAddr>> {
    list.split(", ").map(|address| address.parse().ok()).collect()
}

/// A GET on a connection that is open.
async fn get(wire: &mut Wire, url: &str, credentials: Credentials<'_>) -> Reply {
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\n{}\r\n", credentials.header_line());
    wire.send(request.as_bytes()).await.expect("it is open");
    wire.reply(Expect::Body).await.expect("an answer")
}
