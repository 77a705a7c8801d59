//! The real binary as a child process, from its first line to its records.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use outgate_records::{Filter, Records, Stream};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::patience::{HANG, until};
use crate::wire::Credentials;

/// How to start `outgate quickstart`. Loopback and its ports are open to targets unless told otherwise.
#[derive(Debug)]
pub struct Quickstart {
    executable: String,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Quickstart {
    /// `executable` is the caller's `env!("CARGO_BIN_EXE_outgate")`.
    #[must_use]
    pub fn new(executable: &str) -> Self {
        let quickstart = Self::guarded(executable);
        quickstart.args(["--allow-target", "127.0.0.0/8", "--allow-port", "1024-65535"])
    }

    /// As a user gets it: special-purpose addresses and unusual ports are refused.
    #[must_use]
    pub fn guarded(executable: &str) -> Self {
        let fixed = ["quickstart", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--json"];
        Self { executable: executable.to_owned(), arguments: fixed.iter().map(OsString::from).collect(), environment: Vec::new() }
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks this resolver instead of the system's.
    #[must_use]
    pub fn dns(self, server: SocketAddr) -> Self {
        self.env("OUTGATE_DNS_SERVERS", &server.to_string())
    }

    /// Starts it in a new data folder and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(self) -> GatewayProcess {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        self.start_in(Arc::new(folder))
    }

    /// Starts it in the data folder of another, which is stopped or was killed.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start_in(mut self, folder: Arc<TempDir>) -> GatewayProcess {
        self.arguments.extend([OsString::from("--data"), folder.path().as_os_str().to_owned()]);
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut daemon = Daemon::start(&self.executable, &self.arguments, &environment);
        let ready = daemon.line("the ready line", |line| serde_json::from_str::<Value>(line).ok());
        GatewayProcess { executable: self.executable, ready, daemon, folder }
    }

    pub(crate) fn into_parts(self) -> (String, Vec<OsString>, Vec<(String, String)>) {
        (self.executable, self.arguments, self.environment)
    }
}

/// A running quickstart gateway.
#[derive(Debug)]
pub struct GatewayProcess {
    executable: String,
    ready: Value,
    daemon: Daemon,
    folder: Arc<TempDir>,
}

impl GatewayProcess {
    /// One that was started otherwise; `ready` says what quickstart's first line would.
    pub(crate) fn running(executable: String, ready: Value, daemon: Daemon, folder: Arc<TempDir>) -> Self {
        Self { executable, ready, daemon, folder }
    }

    /// Says more of it, as its first line would.
    pub(crate) fn say(&mut self, field: &str, value: Value) {
        self.ready[field] = value;
    }

    /// Where clients connect.
    ///
    /// # Panics
    /// If the ready line has no usable `proxy_url`.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        address_in(self.told("proxy_url"))
    }

    /// Where the console listens.
    ///
    /// # Panics
    /// If the ready line has no usable `console_url`.
    #[must_use]
    pub fn console(&self) -> SocketAddr {
        address_in(self.told("console_url"))
    }

    /// A field of the ready line, such as `key_id`, `secret`, `admin_token`, `exit_gateway_url`, `exit_token`.
    ///
    /// # Panics
    /// If the ready line has no such string.
    #[must_use]
    pub fn told(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap_or_else(|| panic!("no {field:?} in the ready line {}", self.ready))
    }

    /// The first key's id followed by `modifiers` such as `-pool-residential`.
    #[must_use]
    pub fn user(&self, modifiers: &str) -> String {
        format!("{}{modifiers}", self.told("key_id"))
    }

    /// The first key's credentials under a user name from [`GatewayProcess::user`].
    #[must_use]
    pub fn credentials<'a>(&'a self, user: &'a str) -> Credentials<'a> {
        Credentials { user, password: self.told("secret") }
    }

    /// The data folder: keep it to start another gateway in it.
    #[must_use]
    pub fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// The data folder's path.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// The process, to signal or kill it, or to read its stderr.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Runs another command of the binary against this gateway (`--data` is added) and returns stdout.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn admin(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.executable)
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.executable));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks the admin API without a process for each question; a `body` of null is none. The answer's JSON.
    ///
    /// # Panics
    /// If it is not a 2xx.
    #[must_use]
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = ask_json(self.console(), self.told("admin_token"), method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// One more exit for this gateway, as another process.
    #[must_use]
    pub fn exit(&self, arguments: &[&str]) -> Daemon {
        self.exit_enrolled(self.told("exit_token"), arguments)
    }

    /// An exit in another process, with the token of its own enrolment.
    #[must_use]
    pub fn exit_enrolled(&self, token: &str, arguments: &[&str]) -> Daemon {
        let fixed = ["exit", "--gateway", self.told("exit_gateway_url"), "--token", token];
        let arguments: Vec<OsString> = fixed.iter().chain(arguments).map(OsString::from).collect();
        Daemon::start(&self.executable, &arguments, &[])
    }

    /// Every access record so far.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        read_records(&self.data().join("records"), Stream::Access)
    }

    /// Every record of a failed authentication so far.
    #[must_use]
    pub fn auth_records(&self) -> Vec<Value> {
        read_records(&self.data().join("records"), Stream::Auth)
    }

    /// The record of one request, from `X-Outgate-Request-Id`, in either file; it is written when the request ends,
    /// perhaps after the answer was read.
    ///
    /// # Panics
    /// If it is never written.
    pub async fn record(&self, request_id: &str) -> Value {
        until(&format!("the record of request {request_id}"), || {
            let mut records = self.records();
            records.extend(self.auth_records());
            records.into_iter().find(|record| record["request_id"] == request_id)
        })
        .await
    }
}

/// One request of the admin API on a connection of its own: status and JSON.
fn ask_json(console: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
    let mut tcp = TcpStream::connect(console)?;
    tcp.set_read_timeout(Some(HANG))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {console}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    tcp.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, if body.is_empty() { Value::Null } else { serde_json::from_str(body)? }))
}

/// All records of a stream in a folder that may not exist yet; a last line still being written is left for the next look. A
/// test may run while an hour ends.
///
/// # Panics
/// If a file can't be read, or has a line that is no record.
#[must_use]
pub fn read_records(folder: &Path, stream: Stream) -> Vec<Value> {
    let mut records = Vec::new();
    let read = Records::in_folder(folder).with_threads(1).each(stream, &Filter::default(), &mut |line| {
        records.push(serde_json::from_slice(line).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(line))));
        ControlFlow::Continue(())
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    records
}

/// `HOST:PORT` of `scheme://user:password@HOST:PORT/path`, with a literal address.
pub(crate) fn address_in(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| panic!("{address:?} is not an address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Signal;

    const READY: &str =
        r#"{"proxy_url":"http://k1:s@127.0.0.1:4000","console_url":"http://127.0.0.1:4001","key_id":"k1","secret":"s"}"#;

    /// A stand-in for the binary: prints the ready line, writes two records, stays until it is told to stop.
    fn stand_in(folder: &TempDir) -> String {
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != --data ]; do shift; done\necho starting >&2\necho '{READY}'\n\
             mkdir -p \"$2/records\"\nprintf '{{\"time\":\"2026-11-21T07:00:00.000Z\",\"request_id\":\"r1\",\"outcome\":\"ok\",\"status\":200}}\\n{{\"requ' > \"$2/records/access.jsonl\"\n\
             exec sleep 1000\n"
        );
        let path = folder.path().join("stand-in");
        std::fs::write(&path, script).expect("the folder is ours");
        rustix::fs::chmod(&path, rustix::fs::Mode::RWXU).expect("the file is ours");
        path.to_str().expect("temporary paths are UTF-8").to_owned()
    }

    #[tokio::test]
    async fn reads_the_ready_line_and_the_records() {
        let folder = TempDir::new().expect("a temporary folder");
        let mut gateway = Quickstart::new(&stand_in(&folder)).start();
        assert_eq!((gateway.proxy().port(), gateway.console().port()), (4000, 4001));
        assert_eq!(gateway.user("-pool-residential"), "k1-pool-residential");
        assert_eq!(gateway.record("r1").await["status"], 200);
        assert_eq!(gateway.records().len(), 1, "the half-written line is not read");
        assert!(gateway.daemon().stderr().contains("starting"));
        assert!(gateway.daemon().resident_bytes() > 0 && gateway.daemon().open_files() >= 3);
        gateway.daemon().signal(Signal::TERM);
        assert!(!gateway.daemon().wait().success());
    }

    #[test]
    fn finds_addresses_in_urls() {
        for url in ["http://u:p@127.0.0.1:80/x", "ws://127.0.0.1:80", "127.0.0.1:80"] {
            assert_eq!(address_in(url).port(), 80, "{url}");
        }
    }
}
