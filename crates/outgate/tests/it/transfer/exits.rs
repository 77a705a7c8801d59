//! Exits in processes of their own: they die, fall silent, come back, are asked to leave; and one over TLS.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use outgate_testkit::daemon::{Daemon, Signal};
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, wait_for, within};
use outgate_testkit::payload::Checksum;
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire, WireError};
use serde_json::Value;
use tempfile::TempDir;

use super::{MIB, echo_server, request_id, send_payload, summed, tunnel};
use crate::OUTGATE;

/// An exit in a process of its own, enrolled into a pool where it is the only one.
pub(super) struct OwnExit {
    id: String,
    process: Daemon,
}

impl OwnExit {
    pub(super) fn link(gateway: &GatewayProcess) -> Self {
        let enrolled: Value =
            serde_json::from_str(&gateway.admin(&["exits", "enroll", "--pool", "mobile", "--json"])).expect("JSON");
        let (id, token) = (enrolled["id"].as_str().expect("an id"), enrolled["token"].as_str().expect("a token"));
        let process = start_exit(gateway.told("exit_gateway_url"), token, &[]);
        let own = Self { id: id.to_owned(), process };
        wait_for("the exit to be linked", || own.online(gateway).then_some(()));
        own
    }

    fn online(&self, gateway: &GatewayProcess) -> bool {
        !exit_row(gateway, &self.id)["online"].is_null()
    }
}

fn exit_row(gateway: &GatewayProcess, id: &str) -> Value {
    let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("JSON");
    let found = exits.as_array().and_then(|exits| exits.iter().find(|exit| exit["id"] == id)).cloned();
    found.unwrap_or_else(|| panic!("no exit {id} in {exits}"))
}

fn start_exit(url: &str, token: &str, more: &[&str]) -> Daemon {
    let fixed = ["exit", "--gateway", url, "--token", token, "--allow-target", "127.0.0.0/8"];
    let arguments: Vec<OsString> = fixed.iter().chain(more).map(OsString::from).collect();
    Daemon::start(OUTGATE, &arguments, &[])
}

#[tokio::test]
async fn a_killed_exit_resets_its_tunnels_and_is_named() {
    let gateway = Quickstart::new(OUTGATE).start();
    let mut exit = OwnExit::link(&gateway);
    let (echo, _) = echo_server().await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let (mut wire, reply) = tunnel(&gateway, "-pool-mobile", echo).await;
        wire.send(b"x").await.expect("open");
        assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
        assert_eq!(reply.header("x-outgate-exit"), Some(exit.id.as_str()));
        open.push((wire, request_id(&reply)));
    }
    // An answer on its way through the dying exit: no clean end either.
    let origin = Origin::start();
    let user = gateway.user("-pool-mobile");
    let mut forwarded = Wire::connect(gateway.proxy()).await.expect("it listens");
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
        origin.url("/bytes/64000000"),
        origin.address(),
        gateway.credentials(&user).header_line()
    );
    forwarded.send(request.as_bytes()).await.expect("open");
    let head = forwarded.head().await.expect("it began");
    open.push((forwarded, request_id(&head)));
    exit.process.kill();
    for (mut wire, id) in open {
        assert_eq!(wire.drain(|_| {}).await.expect("an end"), Ending::Reset, "a tunnel that broke must not end cleanly");
        let record = gateway.record(&id).await;
        assert_eq!(
            (&record["outcome"], &record["layer"], &record["exit"]),
            (&"exit_lost".into(), &"exit".into(), &exit.id.as_str().into())
        );
    }
    until("the exit to be offline", || (!exit.online(&gateway)).then_some(())).await;
    let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &echo.to_string()).await;
    let (_, reply) = connected.expect("an answer");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("no_exit")));
}

#[tokio::test]
async fn an_exit_that_falls_silent_is_noticed() {
    let quickstart = Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_HEARTBEAT", "200ms").env("OUTGATE_TIMEOUTS_DEAD", "1s");
    let gateway = quickstart.start();
    let exit = OwnExit::link(&gateway);
    let (echo, _) = echo_server().await;
    let (mut wire, reply) = tunnel(&gateway, "-pool-mobile", echo).await;
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
    exit.process.signal(Signal::STOP);
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset);
    assert_eq!(gateway.record(&request_id(&reply)).await["outcome"], "exit_lost");
    until("the exit to be offline", || (!exit.online(&gateway)).then_some(())).await;
    exit.process.signal(Signal::CONT);
    until("the exit to be back", || exit.online(&gateway).then_some(())).await;
    let (mut wire, _) = tunnel(&gateway, "-pool-mobile", echo).await;
    wire.send(b"y").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"y");
}

#[tokio::test]
async fn an_exit_finds_its_gateway_again() {
    let mut gateway = Quickstart::new(OUTGATE).start();
    let door = gateway.told("exit_gateway_url").trim_start_matches("ws://").to_owned();
    let exit = OwnExit::link(&gateway);
    let (echo, _) = echo_server().await;
    let (mut wire, _) = tunnel(&gateway, "-pool-mobile", echo).await;
    gateway.daemon().kill();
    assert_eq!(wire.ending().await.map(|_| ()), Ok(()), "the tunnel ended with its gateway");
    let gateway = Quickstart::new(OUTGATE).env("OUTGATE_EXITS_ADDRESS", &door).start_in(gateway.folder());
    until("the exit to be back", || exit.online(&gateway).then_some(())).await;
    let (mut wire, _) = tunnel(&gateway, "-pool-mobile", echo).await;
    wire.send(b"again").await.expect("open");
    assert_eq!(wire.exactly(5).await.expect("the echo"), b"again");
}

#[tokio::test]
async fn who_is_asked_to_stop_lets_tunnels_finish() {
    // An exit: its tunnel goes on, new ones are not given to it.
    let mut gateway = Quickstart::new(OUTGATE).start();
    let mut exit = OwnExit::link(&gateway);
    let (echo, _) = echo_server().await;
    let (mut wire, _) = tunnel(&gateway, "-pool-mobile", echo).await;
    exit.process.signal(Signal::TERM);
    let user = gateway.user("-pool-mobile");
    let refused = async {
        loop {
            let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &echo.to_string()).await;
            let (_, reply) = connected.expect("an answer");
            match reply.header("x-proxy-error") {
                // The gateway's question may cross the exit's word that it drains.
                None | Some("exit_refused") => {}
                Some(other) => break other.to_owned(),
            }
        }
    };
    assert_eq!(within("the exit to take no more", refused).await, "no_exit");
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
    wire.finish().await.expect("open");
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Fin);
    assert_eq!(exit.process.wait().code(), Some(0), "{}", exit.process.stderr());

    // The gateway: the same.
    let (mut wire, _) = tunnel(&gateway, "-pool-residential", echo).await;
    let mut kept = Wire::connect(gateway.proxy()).await.expect("it listens");
    gateway.daemon().signal(Signal::TERM);
    let draining = async {
        loop {
            let user = gateway.user("");
            let authorization = gateway.credentials(&user).header_line();
            kept.send(format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{authorization}\r\n").as_bytes())
                .await
                .expect("open");
            let reply = kept.reply(Expect::Body).await.expect("an answer");
            if reply.status != 200 {
                break reply;
            }
        }
    };
    let reply = within("the gateway to drain", draining).await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (503, Some("draining")));
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    wire.send(b"y").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("the echo"), b"y");
    wire.finish().await.expect("open");
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Fin);
    assert_eq!(gateway.daemon().wait().code(), Some(0), "{}", gateway.daemon().stderr());
}

#[tokio::test]
async fn the_operator_drains_and_revokes_exits() {
    let gateway = Quickstart::new(OUTGATE).start();
    let mut exit = OwnExit::link(&gateway);
    let (echo, _) = echo_server().await;
    let (mut wire, _) = tunnel(&gateway, "-pool-mobile", echo).await;
    let user = gateway.user("-pool-mobile");
    let refused = async |when: &str| {
        let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &echo.to_string()).await;
        assert_eq!(connected.expect("an answer").1.header("x-proxy-error"), Some("no_exit"), "{when}");
    };
    let _drained = gateway.admin(&["exits", "drain", &exit.id]);
    refused("draining").await;
    wire.send(b"x").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("what is open goes on"), b"x");
    // It tries to link up again, in vain, and keeps what it has: through as many attempts as it makes in a second or two.
    let tries = || exit.process.stdout().lines().filter(|line| line.contains("the operator is draining")).count();
    until("the exit to have tried", || (tries() >= 4).then_some(())).await;
    wire.send(b"y").await.expect("open");
    assert_eq!(wire.exactly(1).await.expect("what is open goes on"), b"y");
    let _resumed = gateway.admin(&["exits", "resume", &exit.id]);
    let taken = async {
        loop {
            let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &echo.to_string()).await;
            if connected.expect("an answer").1.status == 200 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the exit to take tunnels again", taken).await;
    drop(wire);

    let (mut wire, reply) = tunnel(&gateway, "-pool-mobile", echo).await;
    let _revoked = gateway.admin(&["exits", "revoke", &exit.id]);
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset);
    assert_eq!(gateway.record(&request_id(&reply)).await["outcome"], "exit_lost");
    assert_eq!(exit.process.wait().code(), Some(1), "it knows that it need not come back");
    assert!(exit.process.stderr().contains("revoked"), "{}", exit.process.stderr());
    refused("revoked").await;
    // One that was away meanwhile is told when it comes.
    let enrolled: Value = serde_json::from_str(&gateway.admin(&["exits", "enroll", "--pool", "mobile", "--json"])).expect("JSON");
    let _revoked = gateway.admin(&["exits", "revoke", enrolled["id"].as_str().expect("an id")]);
    let mut late = start_exit(gateway.told("exit_gateway_url"), enrolled["token"].as_str().expect("a token"), &[]);
    assert_eq!(late.wait().code(), Some(1), "{}", late.stdout());
}

/// A CA's certificate, and a server's certificate and key for 127.0.0.1, as PEM files.
fn certificates(folder: &Path) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "throw-away CA");
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("complete parameters");
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let leaf = leaf.signed_by(&leaf_key, &issuer).expect("the CA may sign");
    for (name, pem) in [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", leaf_key.serialize_pem())] {
        std::fs::write(folder.join(name), pem).expect("the folder is ours");
    }
}

#[tokio::test]
async fn a_configured_gateway_with_an_exit_over_tls() {
    let folder = TempDir::new().expect("a temporary folder");
    certificates(folder.path());
    let config = format!(
        "name = \"gw-tls\"\ndata = \"{0}/data\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[console]\naddress = \"127.0.0.1:0\"\n\
         [exits]\naddress = \"127.0.0.1:0\"\ncertificate = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\n\
         [policy]\nports = [\"1-65535\"]\nallow_targets = [\"127.0.0.0/8\"]\n",
        folder.path().display()
    );
    let file = folder.path().join("outgate.toml");
    std::fs::write(&file, config).expect("the folder is ours");
    let arguments = [OsString::from("gateway"), OsString::from("--config"), file.into_os_string()];
    let mut gateway = Daemon::start(OUTGATE, &arguments, &[]);
    let ready = gateway.line("the ready line", |line| line.contains(" ready ").then(|| line.to_owned()));
    let told = |field: &str| -> SocketAddr {
        let value = ready.split(&format!("{field}=")).nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        value.trim_matches('"').parse().unwrap_or_else(|_| panic!("no {field} in {ready}"))
    };
    let data = folder.path().join("data");
    let admin = |arguments: &[&str]| -> Value {
        let output =
            std::process::Command::new(OUTGATE).args(arguments).arg("--json").arg("--data").arg(&data).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    admin(&["plans", "create", "all"]);
    let key = admin(&["keys", "create"]);
    let (user, password) =
        (format!("{}-pool-mobile", key["id"].as_str().expect("an id")), key["secret"].as_str().expect("a secret"));
    let exit = admin(&["exits", "enroll", "--pool", "mobile"]);
    let token = exit["token"].as_str().expect("a token");
    let url = format!("wss://{}", told("exits"));

    // Without the CA the gateway is not trusted, and the token is not sent to it.
    let mut wary = start_exit(&url, token, &[]);
    wary.line("a refusal to trust", |line| line.contains("no link").then_some(()));
    drop(wary);
    let mut naive = start_exit(&url.replace("wss://", "ws://"), token, &[]);
    naive.line("the fix", |line| line.contains("the URL must begin with wss://").then_some(()));
    drop(naive);
    let ca = folder.path().join("ca.pem");
    let mut exit = start_exit(&url, token, &["--ca", ca.to_str().expect("UTF-8")]);
    exit.line("the link", |line| line.contains("linked to gw-tls").then_some(()));

    let origin = Origin::start();
    let host = origin.address();
    let connected = Wire::connect_through(told("listen"), Some(Credentials { user: &user, password }), &host.to_string()).await;
    let (mut wire, reply) = connected.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    wire.send(format!("GET /bytes/{} HTTP/1.1\r\nHost: {host}\r\n\r\n", 10 * MIB).as_bytes()).await.expect("open");
    assert_eq!(wire.head().await.expect("an answer").status, 200);
    assert_eq!(summed(&mut wire, 10 * MIB).await, Checksum::of_payload(10 * MIB));
    wire.send(format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", 5 * MIB).as_bytes())
        .await
        .expect("open");
    send_payload(&mut wire, 5 * MIB, false).await;
    let uploaded = wire.reply(Expect::Body).await.expect("an answer").text();
    assert!(uploaded.contains(&Checksum::of_payload(5 * MIB).hex()), "{uploaded}");
    drop(wire);
    exit.signal(Signal::TERM);
    assert_eq!(exit.wait().code(), Some(0), "{}", exit.stderr());
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.stderr());
    let refused = Wire::connect(told("listen")).await.map(|_| ());
    assert!(matches!(refused, Err(WireError::Io(_))), "nobody listens any more: {refused:?}");
}
