//! A list of peers that changes while the gateway runs.

use std::ffi::OsString;
use std::process::Command;

use outgate_testkit::ca::Validity;
use outgate_testkit::daemon::{Daemon, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::Cluster;
use crate::OUTGATE;
use crate::transfer::{echo_server, tunnel};

#[tokio::test]
async fn a_peer_that_is_added_is_dialed_and_one_that_is_left_out_is_not_cut_off() {
    let mut cluster = Cluster::start(1).await;
    let folder = TempDir::new().expect("the machine has a temporary folder");
    let (certificate, key) = cluster.ca.files(&["127.0.0.1"], Validity::Current, folder.path());
    let (data, file) = (folder.path().join("data"), folder.path().join("outgate.toml"));
    let write = |peers: &str| {
        let text = format!(
            "name = \"gw1\"\ndata = {data:?}\nconsole.address = \"127.0.0.1:0\"\nexits.address = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [cluster]\naddress = \"127.0.0.1:0\"\ncertificate = {certificate:?}\nkey = {key:?}\nca = {:?}\npeers = [{peers}]\n",
            cluster.ca.pem_path()
        );
        std::fs::write(&file, text).expect("the folder is ours");
    };
    write("");
    let arguments: Vec<OsString> = vec!["gateway".into(), "--config".into(), file.clone().into(), "--no-watch".into()];
    let mut gateway = Daemon::start(OUTGATE, &arguments, &[("RUST_LOG", "info")]);
    let exits = gateway.line("where exits dial in", |line| {
        line.contains("ready").then(|| Some(line.split_once("exits=\"")?.1.split('"').next()?.to_owned()))?
    });
    let enrolled = Command::new(OUTGATE).args(["exits", "enroll", "--pool", "mobile", "--json", "--data"]).arg(&data).output();
    let enrolled: Value = serde_json::from_slice(&enrolled.expect("the binary runs").stdout).expect("--json prints JSON");
    let token = enrolled["token"].as_str().expect("a token");
    let url = format!("ws://{exits}");
    let exit = ["exit", "--gateway", &url, "--token", token, "--allow-target", "127.0.0.0/8"].map(OsString::from);
    let _exit = Daemon::start(OUTGATE, &exit, &[]);

    write(&format!("\"{}\"", cluster.doors[0].address()));
    gateway.signal(Signal::HUP);
    cluster.sees(0, "mobile", 1).await;

    write("");
    gateway.signal(Signal::HUP);
    gateway.line("the second reload", |line| (line.contains("reloaded") && line.contains("cluster.peers")).then_some(()));
    let (echo, _) = echo_server().await;
    let (mut wire, _) = tunnel(&cluster.gateways[0], "-pool-mobile", echo).await;
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"x", "the link that is up goes on");
    cluster.gateways[0].daemon().kill();
    gateway.line("that it gives up", |line| line.contains("no longer dialed").then_some(()));
}
