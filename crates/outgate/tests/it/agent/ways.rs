//! Ways to the gateway: through a proxy that is another Outgate gateway, and with the wrong scheme.

use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Expect, Wire};

use super::{enroll, online, start, wait_for_links};
use crate::OUTGATE;

#[tokio::test]
async fn link_and_echo_go_through_an_outgate_gateway_as_the_proxy() {
    let proxy = Quickstart::new(OUTGATE).start();
    let gateway = Quickstart::new(OUTGATE).start();
    let (id, token) = enroll(&gateway);
    let through = format!("http://{}:{}@{}", proxy.told("key_id"), proxy.told("secret"), proxy.proxy());
    let exit = start(gateway.told("exit_gateway_url"), &token, &["--proxy", &through], &[]);
    wait_for_links(&gateway, &id, 2);
    let user = gateway.user("-pool-mobile");
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let authorization = gateway.credentials(&user).header_line();
    let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{authorization}\r\n");
    wire.send(request.as_bytes()).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains(&id), "{}", reply.text());
    assert_eq!(online(&gateway, &id)["links"], 2);
    drop(wire);
    drop(exit);
    // Two links and the echo's way back, each in the proxy's own records.
    let door = gateway.told("exit_gateway_url").trim_start_matches("ws://").to_owned();
    until("the proxy's records", || {
        let records = proxy.records();
        (records.iter().filter(|record| record["target"] == door.as_str()).count() >= 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_reason() {
    let proxy = Quickstart::guarded(OUTGATE).start();
    let gateway = Quickstart::new(OUTGATE).start();
    let (_, token) = enroll(&gateway);
    let (key, secret, address) = (proxy.told("key_id"), proxy.told("secret"), proxy.proxy());
    let cases = [
        (format!("http://{key}:{secret}@{address}"), "403 port_denied"),
        (format!("http://{key}:not-{secret}@{address}"), "407 credentials_wrong; are its user and password right?"),
        (format!("http://{address}"), "407 credentials_missing; it wants credentials"),
    ];
    for (through, part) in cases {
        let mut exit = start(gateway.told("exit_gateway_url"), &token, &["--proxy", &through], &[]);
        let line = exit.line("the refusal", |line| line.contains("no link").then(|| line.to_owned()));
        assert!(line.contains(part) && line.contains(&address.to_string()), "{line}");
        for secret in [secret, &token] {
            assert!(!exit.stdout().contains(secret) && !exit.stderr().contains(secret));
        }
    }
}

#[tokio::test]
async fn a_door_without_tls_is_named_with_its_fix() {
    let gateway = Quickstart::new(OUTGATE).start();
    let (_, token) = enroll(&gateway);
    let plain_door = gateway.told("exit_gateway_url").replace("ws://", "wss://");
    let mut exit = start(&plain_door, &token, &[], &[]);
    let line = exit.line("the reason", |line| line.contains("no link").then(|| line.to_owned()));
    assert!(line.contains("begins with ws://"), "{line}");
}
