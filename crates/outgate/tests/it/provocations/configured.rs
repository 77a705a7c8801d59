//! A gateway that runs from a configuration file: named rules, operator's dialects, several listeners.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use outgate_records::Stream;
use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::read_records;
use outgate_testkit::patience::until;
use outgate_testkit::wire::Credentials;
use serde_json::Value;
use tempfile::TempDir;

use super::outputs::Site;
use crate::OUTGATE;

/// One that is ready, with a plan and a key.
pub(crate) struct Configured {
    /// Where clients connect, in the order of the file.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Where exits dial in, if the file says so.
    pub(crate) exits: Option<SocketAddr>,
    key: String,
    secret: String,
    data: PathBuf,
    _folder: TempDir,
    daemon: Daemon,
}

impl Configured {
    /// Starts with this text and a data folder of its own.
    pub(crate) fn start(text: &str) -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let data = folder.path().join("data");
        let file = folder.path().join("outgate.toml");
        let text = format!("data = \"{}\"\nconsole.address = \"127.0.0.1:0\"\n{text}", data.display());
        std::fs::write(&file, text).expect("the folder is ours");
        let arguments: Vec<OsString> = vec!["gateway".into(), "--config".into(), file.into()];
        let mut daemon = Daemon::start(OUTGATE, &arguments, &[]);
        let (listeners, exits) = daemon.line("the line that says where it listens", |line| {
            let said = |field: &str| line.split_once(&format!("{field}=\""))?.1.split('"').next();
            let listeners = said("listen")?.split(", ").map(|address| address.parse().ok());
            Some((listeners.collect::<Option<Vec<SocketAddr>>>()?, said("exits")?.parse().ok()))
        });
        let (key, secret) = (String::new(), String::new());
        let mut gateway = Self { listeners, exits, key, secret, data, _folder: folder, daemon };
        let _plan = gateway.admin(&["plans", "create", "all"]);
        let key = gateway.admin(&["keys", "create"]);
        let text = |field: &str| key[field].as_str().expect("a new key has an id and a secret").to_owned();
        (gateway.key, gateway.secret) = (text("id"), text("secret"));
        gateway
    }

    /// Its key.
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        Credentials { user: &self.key, password: &self.secret }
    }

    /// Its process.
    pub(crate) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The first record that `fits`, in either file.
    pub(crate) async fn record_of(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.records().into_iter().find(&fits)).await
    }

    /// Every record so far, in both streams.
    pub(crate) fn records(&self) -> Vec<Value> {
        Stream::ALL.iter().flat_map(|stream| read_records(&self.data.join("records"), *stream)).collect()
    }

    /// What a command of the operator says.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Value {
        let output = Command::new(OUTGATE).args(arguments).arg("--json").arg("--data").arg(self.data()).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("--json prints JSON")
    }
}

impl Site for Configured {
    fn data(&self) -> &Path {
        &self.data
    }

    fn secret(&self) -> &str {
        &self.secret
    }

    async fn recorded(&self, id: &str) -> Value {
        self.record_of(&format!("the record of request {id}"), |record| record["request_id"] == id).await
    }
}
