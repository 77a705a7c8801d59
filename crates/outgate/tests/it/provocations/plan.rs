//! What the key has paid for.

use jiff::Timestamp;
use outgate_faults::Slug;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::origin::Origin;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Expect, Wire};
use serde_json::Value;

use super::outputs::{Provoked, connect_as, doors, id, new_key, provoked, quickstart};
use super::trial::{Trial, Way};

scenes![a_period_without_bytes, requests_that_come_too_fast, too_many_at_once];

/// A key on a new plan with these limits.
fn key_with(gateway: &GatewayProcess, limits: &[&str]) -> (String, String) {
    let _plan = gateway.admin(&[&["plans", "create", "tight"], limits].concat());
    new_key(gateway, &["--plan", "tight"])
}

/// What a key reads whose 100 kB are used up, and how long it is told to wait.
fn exhausted(gateway: &GatewayProcess, key: &str, stage: &'static str) -> (Provoked, u64) {
    let shown: Value = serde_json::from_str(&gateway.admin(&["keys", "show", key, "--json"])).expect("--json prints JSON");
    let end = shown["period"]["end"].as_str().expect("a period has an end");
    let left = end.parse::<Timestamp>().expect("the end is a time").as_second() - Timestamp::now().as_second();
    let until = format!("{} {} UTC", &end[..10], &end[11..16]);
    let sentence = format!("the plan's 100kB of bandwidth are used up until {until}");
    let left = u64::try_from(left).expect("the period's end is ahead");
    (provoked(Slug::BandwidthExhausted, stage, sentence), left)
}

async fn a_period_without_bytes(trial: &mut Trial) {
    let origin = Origin::start();
    let flood = Script::start(vec![Step::Repeat(vec![7; 10_000], 1_000), Step::Stall]);
    let gateway = doors(&[], "");
    let (user, password) = key_with(&gateway, &["--bytes", "100kB"]);
    let credentials = Credentials { user: &user, password: &password };

    // In the middle of a tunnel: cut, at the limit and not far beyond it.
    let (mut wire, reply) = connect_as(&gateway, credentials, &flood.address().to_string()).await;
    assert_eq!(reply.status, 200);
    let (cut, left) = exhausted(&gateway, &user, "settle");
    let record = cut.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
    let moved = record["bytes_down"].as_u64().expect("a number");
    assert!((100_000..=100_010).contains(&moved), "{moved} bytes of 100000");

    // From then on: told.
    let (told, _) = exhausted(&gateway, &user, "admit");
    let told = told.retry_after(left.saturating_sub(60)..=left + 5);
    trial.ask_as(&gateway, Some(credentials), &origin.address().to_string(), &told).await;
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let at = origin.address();
    let request = format!("GET http://{at}/ok HTTP/1.1\r\nHost: {at}\r\n{}\r\n", credentials.header_line());
    wire.send(request.as_bytes()).await.expect("the gateway reads");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    told.check(&gateway, &reply).await;
    assert_eq!(origin.connections(), 0);

    // A larger plan frees the key at once, on the same connection.
    let _done = gateway.admin(&["plans", "set", "tight", "--bytes", "200kB"]);
    wire.send(request.as_bytes()).await.expect("the connection is usable");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "ok\n");
}

/// In the middle of an answer the client is reset: a shortened body must not look whole.
#[tokio::test]
async fn a_period_that_ends_in_the_middle_of_an_answer() {
    let origin = Origin::start();
    let gateway = quickstart(&[]).start();
    let (user, password) = key_with(&gateway, &["--bytes", "100kB"]);
    let credentials = Credentials { user: &user, password: &password };
    let at = origin.address();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let request = format!("GET http://{at}/bytes/1000000 HTTP/1.1\r\nHost: {at}\r\n{}\r\n", credentials.header_line());
    wire.send(request.as_bytes()).await.expect("the gateway reads");
    let head = wire.head().await.expect("the head comes");
    assert_eq!(head.status, 200);
    let (cut, _) = exhausted(&gateway, &user, "relay");
    cut.check_cut(&gateway, &mut wire, &id(&head), 200).await;
}

async fn requests_that_come_too_fast(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let (user, password) = key_with(&gateway, &["--rate", "1", "--burst", "1"]);
    let credentials = Credentials { user: &user, password: &password };
    // The bucket holds one, and asking on and on leaves it no time to fill.
    let expected = |_: &str| {
        let limited = provoked(Slug::RateLimited, "admit", "the plan's rate of 1 requests per second is exceeded");
        limited.field("RateLimit-Policy", "\"rate\";q=1;w=1").field("RateLimit", "\"rate\";r=0;t=1")
    };
    trial.ask_until(&gateway, credentials, "echo.outgate:80", Slug::RateLimited, expected).await;
}

async fn too_many_at_once(trial: &mut Trial) {
    let origin = Script::start(vec![Step::Stall]);
    let gateway = doors(&[], "");
    let (user, password) = key_with(&gateway, &["--threads", "1"]);
    let credentials = Credentials { user: &user, password: &password };
    let (open, reply) = connect_as(&gateway, credentials, &origin.address().to_string()).await;
    assert_eq!(reply.status, 200);
    let expected = provoked(Slug::ThreadsExceeded, "admit", "the plan's limit of 1 tunnels at once is reached");
    trial.ask_as(&gateway, Some(credentials), &origin.address().to_string(), &expected).await;
    open.reset();
    loop {
        let (_wire, reply) = connect_as(&gateway, credentials, "echo.outgate:80").await;
        if reply.status == 200 {
            break;
        }
        assert_eq!(reply.header("X-Proxy-Error"), Some("threads_exceeded"), "until the first one's end is noticed");
    }
}
