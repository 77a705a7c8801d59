//! Changes of what exists, who made them, and requests that come twice.

use serde_json::{Value, json};

use crate::client::{Answer, ask, raw};
use crate::gateway::{Console, TOKEN, console, now};

/// A request with fields of its own.
async fn call(console: &Console, method: &str, path: &str, fields: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(console.address, request.as_bytes()).await
}

async fn done(console: &Console, method: &str, path: &str, body: Value) -> Value {
    let answer = call(console, method, path, "", &body).await;
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    answer.body
}

/// The newest entry of the audit trail about a subject.
async fn audited(console: &Console, subject: &str) -> Value {
    done(console, "GET", &format!("/v1/audit?subject={subject}&limit=1"), Value::Null).await["items"][0].clone()
}

#[tokio::test]
async fn a_key_is_changed_field_by_field() {
    let console = console().await;
    for plan in ["small", "large"] {
        done(&console, "POST", "/v1/plans", json!({ "name": plan })).await;
    }
    done(&console, "POST", "/v1/keys", json!({ "id": "aaaa", "plan": "small", "expires": "30d" })).await;
    let cases = [
        (json!({ "plan": "large" }), "plan", json!("large"), "plan small -> large"),
        (json!({ "expires": null }), "expires", Value::Null, "expires 2026-12-21T07:30:00Z -> never"),
        (json!({ "expires": "2026-12-31" }), "expires", json!("2026-12-31T00:00:00Z"), "expires never -> 2026-12-31T00:00:00Z"),
        (
            json!({ "allow_ips": ["192.0.2.7"], "proof": "source" }),
            "proof",
            json!("source"),
            "allow_ips anywhere -> 192.0.2.7/32, proof secret -> source",
        ),
        (
            json!({ "allow_ips": ["2001:db8::1/32"] }),
            "allow_ips",
            json!(["2001:db8::/32"]),
            "allow_ips 192.0.2.7/32 -> 2001:db8::/32",
        ),
    ];
    let before = stored(&console).await;
    for (body, field, expected, told) in cases {
        let key = done(&console, "PATCH", "/v1/keys/aaaa", body.clone()).await;
        assert_eq!(key[field], expected, "{body}");
        let entry = audited(&console, "aaaa").await;
        assert_eq!((&entry["what"], &entry["detail"]), (&json!("key.set"), &json!(told)), "{body}");
    }
    let after = stored(&console).await;
    assert_eq!((before.secret, before.period_anchor), (after.secret, after.period_anchor), "what isn't said stays");
    let plans = done(&console, "GET", "/v1/plans", Value::Null).await;
    assert_eq!((&plans["items"][0]["keys"], &plans["items"][1]["keys"]), (&json!(1), &json!(0)), "it counts for its new plan");

    console.told.take();
    done(&console, "PATCH", "/v1/keys/aaaa", json!({ "plan": "large" })).await;
    assert!(console.told.take().is_empty(), "what changes nothing is not told");
    let refusals = [
        (json!({ "plan": "none" }), 409, "there is no plan none"),
        (json!({ "allow_ips": null }), 400, "allow_ips: needs at least one address"),
        (json!({ "proof": "word" }), 400, "proof: must be secret or source"),
        (json!({ "id": "bbbb" }), 400, "id: is unknown"),
    ];
    for (body, status, detail) in refusals {
        let answer = call(&console, "PATCH", "/v1/keys/aaaa", "", &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.text("detail").contains(detail), "{body}: {}", answer.body);
    }
    done(&console, "POST", "/v1/keys/aaaa/revoke", Value::Null).await;
    assert_eq!(call(&console, "PATCH", "/v1/keys/aaaa", "", &json!({ "plan": "small" })).await.status, 409);
    console.shut_down().await;
}

async fn stored(console: &Console) -> outgate_store::Key {
    console.store.load(now()).await.expect("a snapshot").keys.remove(0)
}

#[tokio::test]
async fn an_exit_is_changed_field_by_field() {
    let console = console().await;
    let exit = done(&console, "POST", "/v1/exits", json!({ "name": "a", "pool": "mobile", "weight": 2 })).await;
    let id = exit["id"].as_str().expect("an id");
    let path = format!("/v1/exits/{id}");
    let cases = [
        (json!({ "weight": 4, "max_tunnels": 7 }), "weight 2 -> 4, max_tunnels none -> 7"),
        (json!({ "name": "phone 7" }), "name a -> phone 7"),
        (json!({ "weight": null, "max_tunnels": null }), "weight 4 -> 1, max_tunnels 7 -> none"),
    ];
    for (body, told) in cases {
        done(&console, "PATCH", &path, body).await;
        let entry = audited(&console, id).await;
        assert_eq!((&entry["what"], &entry["detail"]), (&json!("exit.set"), &json!(told)));
    }
    let shown = done(&console, "GET", &path, Value::Null).await;
    assert_eq!((&shown["name"], &shown["pool"], &shown["weight"]), (&json!("phone 7"), &json!("mobile"), &json!(1)));
    for (body, detail) in [
        (json!({ "weight": 1001 }), "weight: must be 1 to 1000"),
        (json!({ "max_tunnels": 0 }), "max_tunnels: must be 1 or more"),
        (json!({ "name": "" }), "name: must be one line"),
        (json!({ "pool": "isp" }), "pool: is unknown: known are name, weight, max_tunnels"),
    ] {
        let answer = call(&console, "PATCH", &path, "", &body).await;
        assert!(answer.status == 400 && answer.text("detail").contains(detail), "{body}: {}", answer.body);
    }
    console.shut_down().await;
}

#[tokio::test]
async fn who_did_it_is_recorded_as_claimed() {
    let console = console().await;
    let cases = [
        ("", 201, "admin"),
        ("X-Outgate-Who: alice@laptop\r\n", 201, "admin (alice@laptop)"),
        ("X-Outgate-Who: J\u{f6}rg\r\n", 201, "admin (J\u{f6}rg)"),
        ("X-Outgate-Who: \r\n", 400, ""),
    ];
    for (number, (field, status, who)) in cases.into_iter().enumerate() {
        let name = format!("p{number}");
        let answer = call(&console, "POST", "/v1/plans", field, &json!({ "name": name })).await;
        assert_eq!(answer.status, status, "{field}: {}", answer.body);
        assert_eq!(audited(&console, &name).await["who"].as_str().unwrap_or_default(), who, "{field}");
    }
    let long = format!("X-Outgate-Who: {}\r\n", "x".repeat(101));
    assert_eq!(call(&console, "POST", "/v1/plans", &long, &json!({ "name": "long" })).await.status, 400);
    console.shut_down().await;
}

#[tokio::test]
async fn a_request_under_an_idempotency_key_is_done_once() {
    let console = console().await;
    done(&console, "POST", "/v1/plans", json!({ "name": "small" })).await;
    let field = "Idempotency-Key: \"8e03978e\"\r\n";
    let first = call(&console, "POST", "/v1/keys", field, &json!({ "plan": "small" })).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None), "{}", first.body);
    let again = call(&console, "POST", "/v1/keys", field, &json!({ "plan": "small" })).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!((&again.body, again.header("location")), (&first.body, first.header("location")), "the secret too");
    assert_eq!(done(&console, "GET", "/v1/keys", Value::Null).await["items"].as_array().map(Vec::len), Some(1));

    for (path, body) in [("/v1/keys", json!({})), ("/v1/exits", json!({ "plan": "small" }))] {
        let other = call(&console, "POST", path, field, &body).await;
        assert_eq!((other.status, other.text("type")), (422, "urn:outgate:problem:idempotency-key-reused"), "{path} {body}");
    }
    let field = "Idempotency-Key: other\r\n";
    assert_eq!(call(&console, "POST", "/v1/plans", field, &json!({ "name": "Bad" })).await.status, 400);
    assert_eq!(
        call(&console, "POST", "/v1/plans", field, &json!({ "name": "good" })).await.status,
        201,
        "nothing was done before"
    );
    let bad = call(&console, "POST", "/v1/plans", "Idempotency-Key: \"\"\r\n", &json!({ "name": "x" })).await;
    assert!(bad.status == 400 && bad.text("detail").starts_with("Idempotency-Key must be"), "{}", bad.body);
    let stranger = ask(console.address, "wrong", "POST", "/v1/keys", r#"{"plan":"small"}"#).await;
    assert_eq!(stranger.status, 401);
    console.shut_down().await;
}

#[tokio::test]
async fn a_page_says_where_the_next_one_is() {
    let console = console().await;
    for name in ["a", "b", "c"] {
        done(&console, "POST", "/v1/plans", json!({ "name": name })).await;
    }
    let first = call(&console, "GET", "/v1/plans?limit=2", "", &Value::Null).await;
    assert_eq!(first.header("link"), Some("</v1/plans?limit=2&after=b>; rel=\"next\""));
    let last = call(&console, "GET", "/v1/plans?limit=2&after=b", "", &Value::Null).await;
    assert_eq!((last.header("link"), &last.body["items"][0]["name"]), (None, &json!("c")));
    for (since, expected) in [("1h", 3), ("2026-11-21T07:30:00Z", 3), ("2026-11-21T07:30:01Z", 0)] {
        let trail = done(&console, "GET", &format!("/v1/audit?since={since}"), Value::Null).await;
        assert_eq!(trail["items"].as_array().map(Vec::len), Some(expected), "since {since}");
    }
    console.shut_down().await;
}
