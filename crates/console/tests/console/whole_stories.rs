//! What an administrator does from beginning to end, and what the store and the gateway know of it.

use std::sync::Arc;

use outgate_store::memory::Memory;
use outgate_store::unreliable::{Mishap, Unreliable};
use outgate_store::{AuditQuery, Key, Store};
use serde_json::{Value, json};

use crate::client::{Answer, ask};
use crate::gateway::{Console, TOKEN, console, console_over, now};

async fn call(console: &Console, method: &str, path: &str, body: &str) -> Answer {
    ask(console.address, TOKEN, method, path, body).await
}

/// A call that must succeed.
async fn done(console: &Console, method: &str, path: &str, body: &str) -> Value {
    let answer = call(console, method, path, body).await;
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
    answer.body
}

async fn stored_key(console: &Console, id: &str) -> Key {
    let keys = console.store.load(now()).await.expect("a snapshot").keys;
    keys.into_iter().find(|key| key.id.as_str() == id).expect("the key is stored")
}

#[tokio::test]
async fn the_life_of_a_plan() {
    let console = console().await;
    let body = r#"{"name":"basic","bytes":"10GB","period":"30d","rate":5,"burst":10,"threads":20,"speed":1000000,"pools":["direct"],"ports":["443",80,"8000-8999"],"countries":["de"]}"#;
    let answer = call(&console, "POST", "/v1/plans", body).await;
    assert_eq!((answer.status, answer.header("location")), (201, Some("/v1/plans/basic")), "{}", answer.body);
    let expected = json!({
        "name": "basic", "bytes": 10_000_000_000_u64, "period": "30d", "rate": 5, "burst": 10, "threads": 20, "speed": 1_000_000,
        "pools": ["direct"], "ports": ["443", "80", "8000-8999"], "countries": ["de"], "keys": 0,
    });
    assert_eq!(answer.body, expected);
    assert_eq!(done(&console, "GET", "/v1/plans/basic", "").await, expected);

    let changed = done(&console, "PATCH", "/v1/plans/basic", r#"{"bytes":null,"period":null,"ports":null,"threads":7}"#).await;
    assert_eq!((&changed["bytes"], &changed["period"], &changed["ports"]), (&Value::Null, &json!("month"), &json!([])));
    assert_eq!((&changed["threads"], &changed["rate"]), (&json!(7), &json!(5)), "what isn't said stays");
    let trail = done(&console, "GET", "/v1/audit?subject=basic", "").await;
    let told: Vec<&str> = trail["items"].as_array().expect("a list").iter().filter_map(|row| row["detail"].as_str()).collect();
    let created = "period 30d, bytes 10000000000, rate 5, burst 10, threads 20, speed 1000000, pools direct, ports 443 80 8000-8999, countries de";
    let changed = "period 30d -> month, bytes 10000000000 -> none, threads 20 -> 7, ports 443 80 8000-8999 -> none";
    assert_eq!(told, [changed, created]);
    assert_eq!(call(&console, "DELETE", "/v1/plans/basic", "").await.status, 204);
    assert_eq!(call(&console, "GET", "/v1/plans/basic", "").await.status, 404);
    assert_eq!(console.told.take(), ["plan basic bytes Some(10000000000)", "plan basic bytes None", "plan basic removed"]);
    console.shut_down().await;
}

#[tokio::test]
async fn the_life_of_a_key() {
    let console = console().await;
    done(&console, "POST", "/v1/plans", r#"{"name":"only"}"#).await;
    let body = r#"{"allow_ips":["192.0.2.7","2001:db8::/32","::ffff:198.51.100.0/120"],"expires":"30d"}"#;
    let made = done(&console, "POST", "/v1/keys", body).await;
    let (id, secret) = (made["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    assert_eq!(
        (&made["plan"], &made["state"], &made["expires"]),
        (&json!("only"), &json!("active"), &json!("2026-12-21T07:30:00Z"))
    );
    assert_eq!(made["allow_ips"], json!(["192.0.2.7/32", "2001:db8::/32", "198.51.100.0/24"]));
    assert_eq!(
        made["period"],
        json!({ "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "bytes": 0, "limit": null })
    );
    assert!(stored_key(&console, id).await.verify(secret.as_bytes(), now()));

    let shown = call(&console, "GET", &format!("/v1/keys/{id}"), "").await;
    assert_eq!(shown.body.get("secret"), None, "a secret is shown once");
    assert!(!shown.body.to_string().contains(secret));
    assert_eq!(shown.header("cache-control"), Some("no-store"));

    let rotated = done(&console, "POST", &format!("/v1/keys/{id}/rotate"), r#"{"grace":"1h"}"#).await;
    assert_eq!(rotated["old_secret_until"], json!("2026-11-21T08:30:00Z"));
    let fresh = rotated["secret"].as_str().expect("a secret");
    let key = stored_key(&console, id).await;
    assert!(key.verify(secret.as_bytes(), now()) && key.verify(fresh.as_bytes(), now()), "both are good within the grace");
    done(&console, "POST", &format!("/v1/keys/{id}/rotate"), "").await;
    let key = stored_key(&console, id).await;
    assert!(
        !key.verify(secret.as_bytes(), now()) && !key.verify(fresh.as_bytes(), now()),
        "without grace the old one ends at once"
    );
    console.told.take();

    let steps = [
        ("suspend", "", 200, "suspended"),
        ("suspend", "", 200, "suspended"),
        ("unblock", "", 409, ""),
        ("resume", "", 200, "active"),
        ("block", r#"{"why":"sends spam"}"#, 200, "blocked"),
        ("suspend", "", 409, ""),
        ("resume", "", 409, ""),
        ("unblock", "", 200, "active"),
        ("revoke", "", 200, "revoked"),
        ("revoke", "", 200, "revoked"),
        ("resume", "", 409, ""),
        ("rotate", "", 409, ""),
        ("block", "", 409, ""),
    ];
    for (number, (action, body, status, state)) in steps.into_iter().enumerate() {
        let answer = call(&console, "POST", &format!("/v1/keys/{id}/{action}"), body).await;
        assert_eq!(answer.status, status, "step {number}, {action}: {}", answer.body);
        if status == 200 {
            assert_eq!(answer.text("state"), state, "step {number}, {action}");
        }
    }
    let told = ["key suspended", "key active", "key blocked", "key active", "key revoked"];
    assert_eq!(console.told.take(), told, "what changes nothing is not told again");

    let trail = done(&console, "GET", &format!("/v1/audit?subject={id}"), "").await;
    let what: Vec<&str> = trail["items"].as_array().expect("a list").iter().filter_map(|row| row["what"].as_str()).collect();
    let expected =
        ["key.revoke", "key.unblock", "key.block", "key.resume", "key.suspend", "key.rotate", "key.rotate", "key.create"];
    assert_eq!(what, expected);
    assert_eq!(trail["items"][2]["detail"], json!("sends spam"));
    console.shut_down().await;
}

#[tokio::test]
async fn a_new_key_takes_the_plan_that_is_meant() {
    let console = console().await;
    let none = call(&console, "POST", "/v1/keys", "{}").await;
    assert_eq!((none.status, none.text("detail")), (409, "there is no plan yet: create one first"));
    done(&console, "POST", "/v1/plans", r#"{"name":"large"}"#).await;
    assert_eq!(done(&console, "POST", "/v1/keys", "{}").await["plan"], json!("large"), "the only one");
    done(&console, "POST", "/v1/plans", r#"{"name":"small"}"#).await;
    assert_eq!(call(&console, "POST", "/v1/keys", "{}").await.status, 409, "none of two");
    done(&console, "POST", "/v1/plans", r#"{"name":"quickstart"}"#).await;
    assert_eq!(done(&console, "POST", "/v1/keys", "{}").await["plan"], json!("quickstart"), "the one of the first run");
    done(&console, "POST", "/v1/plans", r#"{"name":"default"}"#).await;
    assert_eq!(done(&console, "POST", "/v1/keys", "{}").await["plan"], json!("default"), "the one of that name");
    assert_eq!(done(&console, "POST", "/v1/keys", r#"{"plan":"small"}"#).await["plan"], json!("small"), "the one asked for");

    let kept = call(&console, "DELETE", "/v1/plans/small", "").await;
    assert_eq!((kept.status, kept.text("detail")), (409, "1 key is on the plan small, so it stays"));
    assert_eq!(done(&console, "GET", "/v1/plans/small", "").await["keys"], json!(1));
    console.shut_down().await;
}

#[tokio::test]
async fn the_life_of_an_exit() {
    let console = console().await;
    let body = r#"{"name":"Phone 7","pool":"mobile","country":"de","state":"be","city":"berlin","asn":3320}"#;
    let made = done(&console, "POST", "/v1/exits", body).await;
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    assert_eq!(
        (&made["status"], &made["country"], &made["city"], &made["online"]),
        (&json!("active"), &json!("de"), &json!("berlin"), &Value::Null)
    );
    let stored = console.store.load(now()).await.expect("a snapshot").exits;
    assert!(stored.iter().any(|exit| exit.token.verify(token.as_bytes())));

    console.told.dial_in(id);
    let list = done(&console, "GET", "/v1/exits", "").await;
    let online = &list["items"][0]["online"];
    assert_eq!((&online["tunnels"], &online["rtt_ms"], &online["pool"]), (&json!(3), &json!(12.0), &json!("mobile")));
    assert!(!list.to_string().contains(token));

    assert_eq!(done(&console, "POST", &format!("/v1/exits/{id}/drain"), "").await["status"], json!("draining"));
    assert_eq!(done(&console, "POST", &format!("/v1/exits/{id}/resume"), "").await["status"], json!("active"));
    assert_eq!(done(&console, "POST", &format!("/v1/exits/{id}/revoke"), "").await["status"], json!("revoked"));
    assert_eq!(call(&console, "POST", &format!("/v1/exits/{id}/drain"), "").await.status, 409);
    assert_eq!(console.told.take(), ["exit active", "exit draining", "exit active", "exit revoked"]);
    console.shut_down().await;
}

#[tokio::test]
async fn usage_includes_what_was_just_metered() {
    let console = console().await;
    done(&console, "POST", "/v1/plans", r#"{"name":"basic"}"#).await;
    for id in ["aaaa", "bbbb"] {
        done(&console, "POST", "/v1/keys", &format!(r#"{{"id":"{id}"}}"#)).await;
        console.told.meter(id, now(), 100, 1_000);
    }
    console.told.meter("aaaa", now(), 5, 50);
    let by_key = done(&console, "GET", "/v1/usage", "").await;
    let expected = json!([
        { "key": "aaaa", "up": 105, "down": 1_050, "bytes": 1_155, "requests": 2, "tunnels": 0 },
        { "key": "bbbb", "up": 100, "down": 1_000, "bytes": 1_100, "requests": 1, "tunnels": 0 },
    ]);
    assert_eq!((&by_key["items"], &by_key["since"]), (&expected, &json!("2026-11-20T07:30:00Z")));
    let by_hour = done(&console, "GET", "/v1/usage?key=aaaa&since=2h&by=hour", "").await;
    assert_eq!(by_hour["items"][0]["hour"], json!("2026-11-21T07:00Z"));
    assert_eq!(by_hour["items"].as_array().map(Vec::len), Some(1));
    console.shut_down().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let console = console().await;
    done(&console, "POST", "/v1/plans", r#"{"name":"basic"}"#).await;
    for number in 0..5 {
        done(&console, "POST", "/v1/keys", &format!(r#"{{"id":"key{number}"}}"#)).await;
    }
    for (path, name) in [("/v1/keys?limit=2", "id"), ("/v1/audit?limit=2", "subject")] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = done(&console, "GET", &format!("{path}{after}"), "").await;
            let items = page["items"].as_array().expect("a list").clone();
            assert!((1..=2).contains(&items.len()), "a page is neither empty nor too long");
            seen.extend(items.iter().filter_map(|item| item[name].as_str().map(str::to_owned)));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        seen.sort();
        let mut expected = vec!["key0", "key1", "key2", "key3", "key4"];
        if name == "subject" {
            expected.insert(0, "basic");
        }
        assert_eq!(seen, expected, "{path}");
    }
    console.shut_down().await;
}

#[tokio::test]
async fn an_unclear_store_is_asked_again_and_changes_once() {
    let inner: Arc<dyn Store> = Arc::new(Memory::new());
    // The first call of a change asks what others changed.
    let mut mishaps = [Mishap::None, Mishap::LostAfter, Mishap::Refused, Mishap::None].into_iter().cycle();
    let unreliable = Unreliable::new(Arc::clone(&inner), move || mishaps.next().unwrap_or(Mishap::None));
    let console = console_over(Arc::new(unreliable)).await;
    done(&console, "POST", "/v1/plans", r#"{"name":"basic"}"#).await;
    let trail = inner.audit(AuditQuery { subject: None, before: None, limit: 10 }).await.expect("the trail");
    assert_eq!(trail.len(), 1);
    assert_eq!(console.told.take(), ["plan basic bytes None"]);
    console.shut_down().await;
}
