//! An exit in a process of its own, enrolled with labels.

use std::ffi::OsString;

use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::until;
use serde_json::Value;

use crate::OUTGATE;

/// One that is linked up; it leaves when this drops.
pub(crate) struct LabelledExit {
    pub(crate) id: String,
    process: Daemon,
}

impl LabelledExit {
    /// Enrolls with `labels` (`--country us`…), links up and waits until the gateway counts on it.
    pub(crate) async fn link_up(gateway: &GatewayProcess, labels: &[&str]) -> Self {
        Self::link_up_at(gateway, gateway.told("exit_gateway_url"), labels, &[]).await
    }

    /// The same over another address of the gateway; `own` is what the exit says of itself.
    pub(crate) async fn link_up_at(gateway: &GatewayProcess, url: &str, labels: &[&str], own: &[&str]) -> Self {
        let enroll = [&["exits", "enroll", "--json"], labels].concat();
        let enrolled: Value = serde_json::from_str(&gateway.admin(&enroll)).expect("--json prints JSON");
        let text = |field: &str| enrolled[field].as_str().expect("an enrolled exit has an id and a token").to_owned();
        let (id, token) = (text("id"), text("token"));
        let fixed = ["exit", "--gateway", url, "--token", &token, "--allow-target", "127.0.0.0/8"];
        let arguments: Vec<OsString> = fixed.iter().chain(own).map(OsString::from).collect();
        let process = Daemon::start(OUTGATE, &arguments, &[]);
        let exit = Self { id, process };
        until("the exit to be online", || (!exit.row(gateway)["online"].is_null()).then_some(())).await;
        exit
    }

    /// What the gateway knows of it.
    pub(crate) fn row(&self, gateway: &GatewayProcess) -> Value {
        let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("--json prints JSON");
        let found = exits.as_array().and_then(|exits| exits.iter().find(|exit| exit["id"] == self.id.as_str())).cloned();
        found.unwrap_or_else(|| panic!("no exit {} in {exits}", self.id))
    }

    /// Ends it, and waits until the gateway knows.
    pub(crate) async fn leave(mut self, gateway: &GatewayProcess) {
        self.process.kill();
        until("the exit to be gone", || self.row(gateway)["online"].is_null().then_some(())).await;
    }
}
