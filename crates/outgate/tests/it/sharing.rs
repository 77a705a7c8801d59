//! Three gateways that serve the same keys and share their limits through a real Redis server.
//!
//! Each has a ledger of its own, a copy of the first one's: what they know of each other comes through Redis alone.

mod limits;
mod loss;
mod sessions;

use std::path::Path;
use std::sync::Arc;

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use outgate_testkit::redis_server::{Keeps, RedisServer};
use outgate_testkit::wire::{Credentials, Reply, Wire};
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;

/// Gateways that share.
const GATEWAYS: usize = 3;
/// The echo target: no network is needed, and a tunnel to it stays open as long as it is held.
const ECHO: &str = "echo.outgate:80";

/// Gateways, their Redis and one key with limits.
struct Group {
    redis: RedisServer,
    gateways: Vec<GatewayProcess>,
    key: String,
    secret: String,
    /// Tokens of exits that every ledger knows.
    exits: Vec<String>,
}

impl Group {
    /// Starts them under a plan with these limits, and waits until they share.
    async fn start(keeps: Keeps, limits: &[&str]) -> Self {
        let redis = RedisServer::start(keeps);
        let first = Quickstart::new(OUTGATE).start();
        let create = |arguments: &[&str]| -> Value {
            let text = first.admin(arguments);
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
        };
        create(&[&["plans", "create", "limited", "--json"], limits].concat());
        let key = create(&["keys", "create", "--plan", "limited", "--json"]);
        let enroll = |name: &str| create(&["exits", "enroll", "--name", name, "--pool", "mobile", "--json"]);
        let exits = ["e1", "e2", "e3"].map(|name| text(&enroll(name), "token"));
        let folder = first.folder();
        drop(first);
        let copies: Vec<_> = (0..GATEWAYS).map(|_| copy_of(folder.path())).collect();
        let gateways = copies.into_iter().enumerate().map(|(number, copy)| {
            let quickstart = Quickstart::new(OUTGATE).env("OUTGATE_STORE_REDIS", &redis.address());
            quickstart.env("RUST_LOG", "info").env("OUTGATE_NAME", &format!("gw{number}")).start_in(Arc::new(copy))
        });
        let gateways = gateways.collect();
        let (key, secret) = (text(&key, "id"), text(&key, "secret"));
        let mut group = Self { redis, gateways, key, secret, exits: exits.into() };
        group.shares(1).await;
        group
    }

    /// Waits until each gateway said for the `times`th time that it shares.
    async fn shares(&mut self, times: usize) {
        self.said("limits are shared", times).await;
    }

    /// Waits until each gateway said for the `times`th time that it can't.
    async fn parts(&mut self, times: usize) {
        self.said("limits can't be shared", times).await;
    }

    async fn said(&mut self, what: &str, times: usize) {
        for gateway in &mut self.gateways {
            let daemon = gateway.daemon();
            until(what, || (daemon.stderr().matches(what).count() >= times).then_some(())).await;
        }
    }

    /// Opens a tunnel at a gateway.
    async fn open(&self, at: usize, modifiers: &str) -> (Wire, Reply) {
        self.open_to(at, modifiers, ECHO).await
    }

    async fn open_to(&self, at: usize, modifiers: &str, target: &str) -> (Wire, Reply) {
        let user = format!("{}{modifiers}", self.key);
        let credentials = Credentials { user: &user, password: &self.secret };
        Wire::connect_through(self.gateways[at].proxy(), Some(credentials), target).await.expect("an answer")
    }

    /// Opens tunnels at a gateway until one is refused for the threads; at most so many.
    async fn fill(&self, at: usize, most: usize) -> Vec<Wire> {
        let mut open = Vec::new();
        while open.len() < most {
            let (wire, reply) = self.open(at, "").await;
            match reply.status {
                200 => open.push(wire),
                453 => break,
                other => panic!("{other}: {}", reply.text()),
            }
        }
        open
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// A copy of a stopped gateway's data, for another one.
fn copy_of(data: &Path) -> TempDir {
    let copy = TempDir::new().expect("the machine has a temporary folder");
    for entry in std::fs::read_dir(data).expect("a data folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a file has a name");
            std::fs::copy(&path, copy.path().join(name)).expect("a copy");
        }
    }
    copy
}
