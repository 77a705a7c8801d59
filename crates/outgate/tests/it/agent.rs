//! `outgate exit` as a process: its ways to the gateway, its end, what it tells, and its rotations.

mod rotate;
mod service;
mod ways;

use std::ffi::OsString;

use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::wait_for;
use serde_json::Value;

use crate::OUTGATE;

/// The pool that only these exits serve.
const POOL: &str = "mobile";

/// A new exit's id and token.
fn enroll(gateway: &GatewayProcess) -> (String, String) {
    let enrolled: Value = serde_json::from_str(&gateway.admin(&["exits", "enroll", "--pool", POOL, "--json"])).expect("JSON");
    let field = |name: &str| enrolled[name].as_str().expect("a string").to_owned();
    (field("id"), field("token"))
}

/// What is connected of an exit; null when nothing is.
fn online(gateway: &GatewayProcess, id: &str) -> Value {
    let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("JSON");
    let exit = exits.as_array().and_then(|exits| exits.iter().find(|exit| exit["id"] == id)).cloned();
    exit.unwrap_or_else(|| panic!("no exit {id} in {exits}"))["online"].take()
}

fn wait_for_links(gateway: &GatewayProcess, id: &str, links: u64) {
    wait_for(&format!("{links} links"), || (online(gateway, id)["links"].as_u64() == Some(links)).then_some(()));
}

/// Starts an exit; its token comes by the environment.
fn start(url: &str, token: &str, more: &[&str], environment: &[(&str, &str)]) -> Daemon {
    let fixed = ["exit", "--gateway", url, "--allow-target", "127.0.0.0/8"];
    let arguments: Vec<OsString> = fixed.iter().chain(more).map(OsString::from).collect();
    let environment: Vec<_> = [("OUTGATE_EXIT_TOKEN", token)].into_iter().chain(environment.iter().copied()).collect();
    Daemon::start(OUTGATE, &arguments, &environment)
}
