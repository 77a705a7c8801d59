//! `outgate relay` as a child process, from its first line to its records.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use outgate_records::Stream;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::gateway_process::{address_in, read_records};
use crate::patience::until;

/// A running relay with records in a folder of its own.
#[derive(Debug)]
pub struct RelayProcess {
    ready: Value,
    daemon: Daemon,
    folder: TempDir,
}

impl RelayProcess {
    /// Starts one on a free port of 127.0.0.1; `executable` is the caller's `env!("CARGO_BIN_EXE_outgate")`.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start<A: Into<OsString>>(executable: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::start_in(TempDir::new().expect("the machine has a temporary folder"), executable, arguments)
    }

    /// Starts one from a file of this text; `{data}` in it stands for its folder.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn configured(executable: &str, text: &str) -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let file = folder.path().join("relay.toml");
        let text = text.replace("{data}", &folder.path().display().to_string());
        std::fs::write(&file, text).expect("the folder is ours");
        Self::start_in(folder, executable, [OsString::from("--config"), file.into()])
    }

    /// Starts one from a file of this text that says where it listens.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn configured_listening(executable: &str, text: &str) -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, text).expect("the folder is ours");
        let arguments = [OsString::from("--config"), file.into()];
        Self::run(folder, executable, &["relay", "--json"], arguments)
    }

    fn start_in<A: Into<OsString>>(folder: TempDir, executable: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::run(folder, executable, &["relay", "--json", "--listen", "127.0.0.1:0"], arguments)
    }

    fn run<A: Into<OsString>>(folder: TempDir, executable: &str, fixed: &[&str], arguments: impl IntoIterator<Item = A>) -> Self {
        let mut all: Vec<OsString> = fixed.iter().map(OsString::from).collect();
        all.extend([OsString::from("--data"), folder.path().into()]);
        all.extend(arguments.into_iter().map(Into::into));
        let mut daemon = Daemon::start(executable, &all, &[("no_proxy", ""), ("NO_PROXY", "")]);
        let ready = daemon.line("the ready line", |line| serde_json::from_str::<Value>(line).ok());
        Self { ready, daemon, folder }
    }

    /// Where programs connect.
    ///
    /// # Panics
    /// If the ready line has no usable `proxy_url`.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        address_in(self.url())
    }

    /// The same as a URL.
    ///
    /// # Panics
    /// If the ready line has no `proxy_url`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.ready["proxy_url"].as_str().unwrap_or_else(|| panic!("no proxy_url in {}", self.ready))
    }

    /// Its folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// The process, to signal it or to read its stderr.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Every record so far, of failed authentication too.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        let folder = self.data().join("records");
        let mut records = read_records(&folder, Stream::Access);
        records.extend(read_records(&folder, Stream::Auth));
        records
    }

    /// The record of one request, from `X-Outgate-Request-Id`; it is written when the request ends.
    ///
    /// # Panics
    /// If it is never written.
    pub async fn record(&self, request_id: &str) -> Value {
        let what = format!("the relay's record of request {request_id}");
        until(&what, || self.records().into_iter().find(|record| record["request_id"] == request_id)).await
    }
}
