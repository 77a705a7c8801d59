//! Several gateways that share their exits: a request at one leaves through an exit that another one holds.
//!
//! [`ways`] is what a tunnel over two hops must still be; [`failing`] is exits, links and gateways that go; [`trust`] is who is
//! let in; [`many`] is a fleet spread over three gateways, and gateways with one ledger; [`reload`] is a list of peers that
//! changes; [`together`] is gateways that share ledger, limits, sessions and exits, and find each other.
//!
//! A gateway's door for others is reached by a middle-man: the others know its address before the gateway has one, it stays the
//! same over restarts, and the way may break.

mod failing;
mod many;
mod reload;
mod together;
mod trust;
mod ways;

use std::sync::Arc;

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::middleman::Middleman;
use outgate_testkit::patience::until;
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;

/// Gateways by number, from 0: `gw0`, `gw1`, …
struct Cluster {
    ca: Ca,
    /// In front of each one's door.
    doors: Vec<Middleman>,
    gateways: Vec<GatewayProcess>,
    certificates: Vec<TempDir>,
    /// PostgreSQL and Redis, if they share them: then nobody is told of the others.
    servers: Option<[String; 2]>,
    _nobody: RefusingPort,
}

/// What a gateway's certificate is.
struct Papers<'a> {
    /// Who signed it.
    of: &'a Ca,
    validity: Validity,
    /// Whose certificates it takes.
    trusts: &'a Ca,
}

impl Cluster {
    /// So many, each of which offers its exits to all the others.
    async fn start(count: usize) -> Self {
        let mut cluster = Self::plan(count);
        for number in 0..count {
            let gateway = cluster.quickstart(number).start();
            cluster.join(gateway);
        }
        cluster
    }

    /// So many on one PostgreSQL and one Redis.
    fn together(count: usize, postgres: String, redis: String) -> Self {
        let mut cluster = Self { servers: Some([postgres, redis]), ..Self::plan(count) };
        for number in 0..count {
            let gateway = cluster.quickstart(number).start();
            cluster.join(gateway);
        }
        cluster
    }

    /// Doors for so many, and no gateway yet.
    fn plan(count: usize) -> Self {
        let nobody = RefusingPort::reserve();
        let doors = (0..count).map(|_| Middleman::start(nobody.address())).collect();
        Self { ca: Ca::new(), doors, gateways: Vec::new(), certificates: Vec::new(), servers: None, _nobody: nobody }
    }

    /// The gateway of this number, not yet started.
    fn quickstart(&mut self, number: usize) -> Quickstart {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let papers = Papers { of: &self.ca, validity: Validity::Current, trusts: &self.ca };
        let peers = if self.servers.is_some() { Vec::new() } else { self.doors_but(number) };
        let quickstart = member(&format!("gw{number}"), &papers, &folder, &peers);
        self.certificates.push(folder);
        match &self.servers {
            None => quickstart,
            Some([postgres, redis]) => quickstart
                .env("OUTGATE_STORE_POSTGRES", postgres)
                .env("OUTGATE_STORE_REDIS", redis)
                .env("OUTGATE_CLUSTER_ADVERTISE", &self.doors[number].address().to_string()),
        }
    }

    fn doors_but(&self, number: usize) -> Vec<String> {
        let others = self.doors.iter().enumerate().filter(|(other, _)| *other != number);
        others.map(|(_, door)| door.address().to_string()).collect()
    }

    /// The next number's door leads to it.
    fn join(&mut self, gateway: GatewayProcess) {
        self.doors[self.gateways.len()].lead_to(door(&gateway));
        self.gateways.push(gateway);
    }

    /// Starts a gateway again where it was, after it was killed or has stopped.
    fn restart(&mut self, number: usize) {
        let folder = self.gateways[number].folder();
        let gateway = self.quickstart(number).start_in(folder);
        self.doors[number].lead_to(door(&gateway));
        self.gateways[number] = gateway;
    }

    /// Waits until a gateway can use so many exits of a pool, its own and the others'.
    async fn sees(&self, number: usize, pool: &str, exits: u64) {
        let what = format!("gw{number} to see {exits} exits in {pool}");
        until(&what, || (exits_in(&self.gateways[number], pool) == exits).then_some(())).await;
    }
}

/// A gateway of a cluster, as a quickstart with its settings in the environment.
fn member(name: &str, papers: &Papers<'_>, folder: &TempDir, peers: &[String]) -> Quickstart {
    let (certificate, key) = papers.of.files(&["127.0.0.1", name], papers.validity, folder.path());
    let path = |path: &std::path::Path| path.to_str().expect("temporary paths are UTF-8").to_owned();
    let quickstart = Quickstart::new(OUTGATE)
        .env("RUST_LOG", "info")
        .env("OUTGATE_NAME", name)
        .env("OUTGATE_CLUSTER_ADDRESS", "127.0.0.1:0")
        .env("OUTGATE_CLUSTER_CERTIFICATE", &path(&certificate))
        .env("OUTGATE_CLUSTER_KEY", &path(&key))
        .env("OUTGATE_CLUSTER_CA", &path(papers.trusts.pem_path()));
    if peers.is_empty() { quickstart } else { quickstart.env("OUTGATE_CLUSTER_PEERS", &peers.join(",")) }
}

fn door(gateway: &GatewayProcess) -> std::net::SocketAddr {
    gateway.told("cluster_address").parse().expect("an address")
}

/// How many exits of a pool a gateway can use.
fn exits_in(gateway: &GatewayProcess, pool: &str) -> u64 {
    let located = gateway.api("GET", "/v1/locations", &Value::Null);
    let pools = located["pools"].as_array().expect("a list of pools");
    let found = pools.iter().find(|found| found["pool"] == pool).unwrap_or_else(|| panic!("no pool {pool}"));
    found["exits"].as_u64().expect("a number")
}

/// A copy of a stopped gateway's data folder: what two gateways with one ledger know.
fn copied(folder: &TempDir) -> Arc<TempDir> {
    let copy = TempDir::new().expect("the machine has a temporary folder");
    for entry in std::fs::read_dir(folder.path()).expect("a readable folder").map(|entry| entry.expect("a readable folder")) {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a writable folder");
        }
    }
    Arc::new(copy)
}
