//! Rotations: the gateway asks, the exit's hook runs, the address before and after is what the gateway sees.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::{until, wait_for, within};
use outgate_testkit::wire::Wire;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{enroll, online, start, wait_for_links};
use crate::OUTGATE;

/// `outgate exits rotate`, against this gateway.
fn rotate(gateway: &GatewayProcess, id: &str) -> Child {
    let mut command = Command::new(OUTGATE);
    command.args(["exits", "rotate", id, "--json", "--data"]).arg(gateway.data());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn ended(child: Child) -> (Option<i32>, Value, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("our child");
    let json = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    (status.code(), json, String::from_utf8_lossy(&stderr).into_owned())
}

/// A file that holds the exit's address, and a hook that writes another one there when `gate` exists.
fn address_file(folder: &Path) -> (PathBuf, String) {
    let file = folder.join("address");
    std::fs::write(&file, "127.0.0.1").expect("ours");
    let source = format!("@{}", file.display());
    (file, source)
}

#[tokio::test]
async fn the_address_before_and_after_is_verified_and_meanwhile_no_tunnel_is_given() {
    let gateway = Quickstart::new(OUTGATE).start();
    let folder = TempDir::new().expect("a folder");
    let (file, source) = address_file(folder.path());
    let gate = folder.path().join("gate");
    let hook = format!("while [ ! -e {} ]; do sleep 0.05; done; echo 127.0.0.44 > {}", gate.display(), file.display());
    let (id, token) = enroll(&gateway);
    let mut exit = start(gateway.told("exit_gateway_url"), &token, &["--source", &source, "--rotate-command", &hook], &[]);
    wait_for_links(&gateway, &id, 2);
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = target.local_addr().expect("bound").to_string();
    let user = gateway.user("-pool-mobile");
    let connect = async || {
        let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &address).await;
        connected.expect("an answer")
    };
    let (kept, reply) = connect().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (_, from) = target.accept().await.expect("a caller");
    assert_eq!(from.ip().to_string(), "127.0.0.1");

    let rotation = rotate(&gateway, &id);
    exit.line("the hook", |line| line.contains("asked to rotate").then_some(()));
    let (_, reply) = connect().await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("no_exit")), "{}", reply.text());
    // A second one at the same time is told so.
    let (code, _, text) = ended(rotate(&gateway, &id));
    assert!(code == Some(1) && text.contains("is under way"), "{code:?} {text}");
    std::fs::write(&gate, "").expect("ours");
    let (code, told, text) = ended(rotation);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        (&told["before"], &told["after"], &told["changed"]),
        (&"127.0.0.1".into(), &"127.0.0.44".into(), &true.into()),
        "{told}"
    );
    assert!(told["took_ms"].as_u64().is_some());

    let (_wire, reply) = connect().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (_, from) = target.accept().await.expect("a caller");
    assert_eq!(from.ip().to_string(), "127.0.0.44");
    drop(kept);
    let records: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("JSON");
    assert!(records.is_array());
    // Both links are over the new address in the end, and the old ones gone.
    until("two links", || (online(&gateway, &id)["links"] == 2).then_some(())).await;
}

#[tokio::test]
async fn a_hook_that_fails_hangs_or_changes_nothing_is_told_as_such() {
    let gateway = Quickstart::new(OUTGATE).start();
    let cases: [(&str, &[&str], &str); 4] = [
        (
            "echo 'modem: no carrier' >&2; exit 4",
            &[],
            "the exit's hook failed: the command ended with exit status: 4: modem: no carrier",
        ),
        ("sleep 1000", &["--rotate-timeout", "300ms"], "killed: it had not ended after 300 ms"),
        ("true", &[], "still leaves from 127.0.0.1"),
        ("", &[], "--rotate-command or --rotate-url"),
    ];
    for (hook, more, part) in cases {
        let (id, token) = enroll(&gateway);
        let command = ["--rotate-command", hook];
        let arguments: Vec<&str> = command.iter().filter(|_| !hook.is_empty()).chain(more).copied().collect();
        let _exit = start(gateway.told("exit_gateway_url"), &token, &arguments, &[]);
        wait_for_links(&gateway, &id, 2);
        let (code, told, text) = ended(rotate(&gateway, &id));
        assert_eq!(code, Some(1), "{hook}: {text}");
        assert!(text.contains(part), "{hook}: {text}");
        let unchanged = hook == "true";
        assert_eq!(told["changed"].as_bool(), unchanged.then_some(false), "{hook}: {told}");
        // Whatever came of it, the exit goes on.
        let user = gateway.user("-pool-mobile");
        let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), "echo.outgate:80").await;
        let (_, reply) = connected.expect("an answer");
        assert_eq!(reply.status, 200, "{hook}: {}", reply.text());
        let _revoked = gateway.admin(&["exits", "revoke", &id]);
    }
    let (id, _) = enroll(&gateway);
    let (code, _, text) = ended(rotate(&gateway, &id));
    assert!(code == Some(1) && text.contains("the exit is not connected"), "{text}");
}

#[tokio::test]
async fn a_url_is_called_and_lost_links_are_waited_for() {
    let gateway =
        Quickstart::new(OUTGATE).env("OUTGATE_TIMEOUTS_HEARTBEAT", "100ms").env("OUTGATE_TIMEOUTS_DEAD", "500ms").start();
    let folder = TempDir::new().expect("a folder");
    let (file, source) = address_file(folder.path());
    let modem = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/reconnect", modem.local_addr().expect("bound"));
    let (id, token) = enroll(&gateway);
    let exit = start(gateway.told("exit_gateway_url"), &token, &["--source", &source, "--rotate-url", &url], &[]);
    wait_for_links(&gateway, &id, 2);
    let rotation = rotate(&gateway, &id);
    let (mut call, _) = within("the call", modem.accept()).await.expect("a caller");
    let mut request = [0; 1024];
    let length = within("the request", call.read(&mut request)).await.expect("a request");
    assert!(request[..length].starts_with(b"POST /reconnect HTTP/1.1\r\n"));
    // The line is cut while the modem works: the exit stands still until its links are dead for the gateway.
    exit.signal(outgate_testkit::daemon::Signal::STOP);
    wait_for("the links' death", || online(&gateway, &id).is_null().then_some(()));
    std::fs::write(&file, "127.0.0.45").expect("ours");
    call.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("it listens");
    exit.signal(outgate_testkit::daemon::Signal::CONT);
    let (code, told, text) = ended(rotation);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!((&told["before"], &told["after"]), (&"127.0.0.1".into(), &"127.0.0.45".into()), "{told}");
}
