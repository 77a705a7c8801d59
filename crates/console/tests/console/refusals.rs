//! What the console refuses, and that it says why in the same form everywhere.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, ask, raw};
use crate::gateway::{Dead, TOKEN, console, console_over};

fn assert_problem(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.body["status"].as_u64(), Some(u64::from(status)), "{what}");
    for field in ["type", "title", "detail"] {
        assert!(answer.body[field].as_str().is_some_and(|text| !text.is_empty()), "{what}: {field} in {}", answer.body);
    }
}

#[tokio::test]
async fn every_refusal_names_its_reason() {
    let console = console().await;
    for plan in [r#"{"name":"basic"}"#, r#"{"name":"other"}"#] {
        assert_eq!(ask(console.address, TOKEN, "POST", "/v1/plans", plan).await.status, 201);
    }
    let cases = [
        ("POST", "/v1/plans", "{", 400, "not JSON"),
        ("POST", "/v1/plans", "[]", 400, "must be a JSON object"),
        ("POST", "/v1/plans", "", 400, "name: is required"),
        ("POST", "/v1/plans", r#"{"name":null}"#, 400, "name: is required"),
        ("POST", "/v1/plans", r#"{"name":"Big Plan"}"#, 400, "name: \"Big Plan\" is not a plan name: allowed are"),
        ("POST", "/v1/plans", r#"{"name":"a","byts":5}"#, 400, "byts: is unknown: known are name, bytes"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":"5"}"#, 400, "rate: must be a whole number"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":-5}"#, 400, "rate: must be a whole number"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":1.5}"#, 400, "rate: must be a whole number"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":1e300}"#, 400, "rate: must be a whole number"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":5000000000.0}"#, 400, "rate: 5000000000 is too large"),
        ("POST", "/v1/plans", r#"{"name":5}"#, 400, "name: must be a text"),
        ("POST", "/v1/plans", r#"{"name":"a","pools":[5]}"#, 400, "pools: must be a text"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":5000000000}"#, 400, "rate: 5000000000 is too large"),
        ("POST", "/v1/plans", r#"{"name":"a","rate":0}"#, 400, "rate: must be at least 1"),
        ("POST", "/v1/plans", r#"{"name":"a","burst":5}"#, 400, "burst: needs a rate"),
        ("POST", "/v1/plans", r#"{"name":"a","bytes":"10XB"}"#, 400, "bytes: \"10XB\" is not a size"),
        ("POST", "/v1/plans", r#"{"name":"a","bytes":18446744073709551615}"#, 400, "bytes: must be at most"),
        ("POST", "/v1/plans", r#"{"name":"a","period":"week"}"#, 400, "period: \"week\" is not a period"),
        ("POST", "/v1/plans", r#"{"name":"a","ports":"80"}"#, 400, "ports: must be a list"),
        ("POST", "/v1/plans", r#"{"name":"a","ports":[0]}"#, 400, "ports: \"0\" is not a port"),
        ("POST", "/v1/plans", r#"{"name":"a","countries":["uk"]}"#, 400, "countries: \"uk\" is not a country"),
        ("POST", "/v1/plans", r#"{"name":"basic"}"#, 409, "there is already a plan basic"),
        ("GET", "/v1/plans/nothing", "", 404, "there is no plan nothing"),
        ("GET", "/v1/plans/NO%20NAME", "", 404, "is not a plan name"),
        ("GET", "/v1/plans/%ff", "", 400, "the path can't be read"),
        ("PATCH", "/v1/plans/nothing", "{}", 404, "there is no plan nothing"),
        ("PATCH", "/v1/plans/basic", r#"{"name":"x"}"#, 400, "name: is unknown"),
        ("DELETE", "/v1/plans/nothing", "", 404, "there is no plan nothing"),
        ("GET", "/v1/plans?limit=0", "", 400, "limit: must be a number from 1 to 1000"),
        ("GET", "/v1/plans?limit=1&limit=2", "", 400, "limit: is given twice"),
        ("GET", "/v1/plans?color=red", "", 400, "color: is unknown: known are after, limit"),
        ("POST", "/v1/keys", "{}", 409, "say which plan: basic, other"),
        ("POST", "/v1/keys", r#"{"plan":"none"}"#, 409, "there is no plan none"),
        ("POST", "/v1/keys", r#"{"plan":"basic","allow_ips":["300.1.1.1"]}"#, 400, "allow_ips: \"300.1.1.1\" is not an address"),
        ("POST", "/v1/keys", r#"{"plan":"basic","proof":"source"}"#, 400, "allow_ips: needs at least one address"),
        ("POST", "/v1/keys", r#"{"plan":"basic","expires":"soon"}"#, 400, "expires: \"soon\" is not a time"),
        ("GET", "/v1/keys/nokey", "", 404, "there is no key nokey"),
        ("POST", "/v1/keys/nokey/suspend", "", 404, "there is no key nokey"),
        ("POST", "/v1/keys/nokey/suspend", r#"{"why":"x"}"#, 400, "why: is unknown: nothing is expected"),
        ("POST", "/v1/keys/nokey/explode", "", 404, "there is nothing at /v1/keys/nokey/explode"),
        ("POST", "/v1/keys/nokey/rotate", r#"{"grace":"1y"}"#, 400, "grace: \"1y\" is not a duration"),
        ("POST", "/v1/exits", r#"{"city":"東京"}"#, 400, "city: \"東京\" is not a city: allowed are names in Latin letters"),
        ("POST", "/v1/exits", r#"{"country":"us","state":"zz"}"#, 400, "state: is not a subdivision of us (ISO 3166-2)"),
        ("POST", "/v1/exits", r#"{"country":"us","state":"california"}"#, 400, "did you mean ca?"),
        ("POST", "/v1/exits", r#"{"city":"berlin"}"#, 400, "country: must be said"),
        ("POST", "/v1/exits", r#"{"name":"a\nb"}"#, 400, "name: must be one line"),
        ("POST", "/v1/exits", r#"{"weight":0}"#, 400, "weight: must be 1 to 1000"),
        ("POST", "/v1/exits", r#"{"weight":70000}"#, 400, "weight: 70000 is too large"),
        ("POST", "/v1/exits", r#"{"max_tunnels":0}"#, 400, "max_tunnels: must be 1 or more"),
        ("POST", "/v1/exits/noexit/revoke", "", 404, "there is no exit noexit"),
        ("GET", "/v1/usage?by=week", "", 400, "by: \"week\" is not a grouping"),
        ("GET", "/v1/usage?key=nokey", "", 404, "there is no key nokey"),
        ("GET", "/v1/usage?since=yesterday", "", 400, "since: \"yesterday\" is not a time"),
        ("GET", "/v1/audit?after=x", "", 400, "after: "),
        ("PUT", "/v1/plans", "{}", 405, "PUT"),
        ("DELETE", "/healthz", "", 405, "DELETE"),
        ("GET", "/", "", 404, "there is nothing at /"),
        ("GET", "/v1", "", 404, "there is nothing at /v1"),
    ];
    for (method, path, body, status, detail) in cases {
        let answer = ask(console.address, TOKEN, method, path, body).await;
        let what = format!("{method} {path} {body}");
        assert_problem(&answer, status, &what);
        assert!(answer.text("detail").contains(detail), "{what}: {}", answer.body);
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{what}: {}", answer.head);
        }
    }
    console.shut_down().await;
}

#[tokio::test]
async fn every_mistake_is_named_at_once() {
    let console = console().await;
    let body = r#"{"name":"A","rate":-1,"period":"week","extra":1}"#;
    let answer = ask(console.address, TOKEN, "POST", "/v1/plans", body).await;
    assert_problem(&answer, 400, body);
    let fields: Vec<&str> =
        answer.body["errors"].as_array().expect("a list").iter().filter_map(|error| error["field"].as_str()).collect();
    assert_eq!(fields, ["name", "period", "rate", "extra"]);
    console.shut_down().await;
}

#[tokio::test]
async fn only_the_admin_token_opens() {
    let console = console().await;
    let requests = [
        "GET /v1/keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /v1/keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer\r\n\r\n".to_owned(),
        "GET /v1/keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer wrong\r\n\r\n".to_owned(),
        format!("GET /v1/keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Basic {TOKEN}\r\n\r\n"),
        format!("GET /v1/keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}x\r\n\r\n"),
        "POST /v1/plans HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
    ];
    for request in requests {
        let answer = raw(console.address, request.as_bytes()).await;
        assert_problem(&answer, 401, &request);
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        assert!(!answer.body.to_string().contains(TOKEN));
    }
    let health = raw(console.address, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((health.status, &health.body["status"]), (200, &Value::from("ok")), "health needs none");
    let own = raw(console.address, b"GET /v1/self/faults HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(own.status, 200, "routes brought along see to it themselves");
    console.shut_down().await;
}

#[tokio::test]
async fn large_and_foreign_bodies_are_refused() {
    let console = console().await;
    let large = format!(r#"{{"name":"{}"}}"#, "a".repeat(100_000));
    assert_problem(&ask(console.address, TOKEN, "POST", "/v1/plans", &large).await, 413, "a large body");
    let form = format!(
        "POST /v1/plans HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\nname=a"
    );
    assert_problem(&raw(console.address, form.as_bytes()).await, 415, "a form");
    console.shut_down().await;
}

#[tokio::test]
async fn a_store_that_refuses_is_told_and_nothing_goes_live() {
    let console = console_over(Arc::new(Dead)).await;
    let answer = ask(console.address, TOKEN, "POST", "/v1/plans", r#"{"name":"basic"}"#).await;
    assert_problem(&answer, 503, "a full disk");
    assert!(
        answer.text("detail").contains("it was not done") && answer.text("detail").contains("the disk is full"),
        "{}",
        answer.body
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(console.told.take().is_empty());
    assert_eq!(ask(console.address, TOKEN, "GET", "/v1/plans/basic", "").await.status, 404);
    console.shut_down().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_it_from_ending() {
    let console = console().await;
    let address = console.address;
    let mut idle = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET /v1/plans HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    idle.write_all(request.as_bytes()).await.expect("sent");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    console.shut_down().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed cleanly");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}
