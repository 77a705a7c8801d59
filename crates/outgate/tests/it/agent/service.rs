//! What a service manager and its logs get: readiness, status, the watchdog, the token as a credential, the end.

use outgate_testkit::daemon::Signal;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::until;
use outgate_testkit::service_manager::ServiceManager;
use outgate_testkit::wire::{Ending, Wire};
use tempfile::TempDir;

use super::{enroll, start, wait_for_links};
use crate::OUTGATE;

#[tokio::test]
async fn a_service_manager_is_told_and_gives_the_token() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (id, token) = enroll(&gateway);
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("outgate-exit-token"), format!("{token}\n")).expect("ours");
    let manager = ServiceManager::start();
    let credentials = folder.path().to_str().expect("UTF-8");
    let environment = [
        ("CREDENTIALS_DIRECTORY", credentials),
        ("NOTIFY_SOCKET", manager.path()),
        // So short that its messages come quickly; nobody here acts on a late one.
        ("WATCHDOG_USEC", "300000"),
    ];
    // The token of `start` would come first.
    let arguments = ["exit", "--gateway", gateway.told("exit_gateway_url"), "--links", "3"].map(std::ffi::OsString::from);
    let mut exit = outgate_testkit::daemon::Daemon::start(OUTGATE, &arguments, &environment);
    assert_eq!(manager.told("READY"), "READY=1");
    let status = manager.told("STATUS=");
    assert!(status.contains(&format!("exit {id}")) && status.contains("/3 links"), "{status}");
    assert_eq!(manager.told("WATCHDOG"), "WATCHDOG=1");
    exit.signal(Signal::TERM);
    assert!(manager.told("STOPPING").starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="));
    assert_eq!(exit.wait().code(), Some(0), "{}", exit.stderr());
    assert!(!exit.stdout().contains('\r'), "no status line where there is no terminal: {:?}", exit.stdout());
}

#[tokio::test]
async fn a_token_that_is_missing_is_asked_for() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("two"), "one two").expect("ours");
    let two = folder.path().join("two");
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(OUTGATE);
        command.args(["exit", "--gateway", "ws://127.0.0.1:1"]).args(more).env_remove("OUTGATE_EXIT_TOKEN");
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(2), "{text}");
    for way in ["--token-file", "OUTGATE_EXIT_TOKEN", "LoadCredential"] {
        assert!(text.contains(way), "{text}");
    }
    let (code, text) = run(&["--token-file", two.to_str().expect("UTF-8")]);
    assert!(code == Some(2) && text.contains("nothing else"), "{text}");
    let (code, text) = run(&["--token", "x", "--proxy", "socks5://me:secret@proxy:1080"]);
    assert!(code == Some(2) && text.contains("socks5") && !text.contains("secret"), "{text}");
    let (code, text) = run(&["--token", "x", "--speed", "10"]);
    assert!(code == Some(2) && text.contains("at least 1 KiB/s"), "{text}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (id, token) = enroll(&gateway);
    let mut exit = start(gateway.told("exit_gateway_url"), &token, &["--grace", "1h"], &[]);
    wait_for_links(&gateway, &id, 2);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("bound").to_string();
    let user = gateway.user("-pool-mobile");
    let connected = Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), &target).await;
    let (mut wire, reply) = connected.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    exit.signal(Signal::TERM);
    let line = exit.line("the drain", |line| line.contains("stopping").then(|| line.to_owned()));
    assert!(line.contains("1 open tunnel may finish within 1h; a second signal ends at once"), "{line}");
    exit.signal(Signal::TERM);
    assert_eq!(exit.wait().code(), Some(0), "{}", exit.stderr());
    assert!(exit.stderr().contains("1 tunnels were still open and were cut"), "{}", exit.stderr());
    assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset);
    until("the exit to be gone", || super::online(&gateway, &id).is_null().then_some(())).await;
}
