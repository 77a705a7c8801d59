//! What a key's owner reads about the key, and the one thing the owner changes: its secret.

use std::net::SocketAddr;

use outgate_testkit::dead::RefusingPort;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Ending, Wire};
use serde_json::{Value, json};

use super::{ask, basic, exit, own};
use crate::provocations::outputs::{connect, connect_as, id, new_key, quickstart};

/// What a key reads; it must be allowed to.
async fn read(gateway: &GatewayProcess, authorization: &str, path: &str) -> Value {
    let (reply, body) = ask(gateway, authorization, &format!("GET {path}")).await;
    assert_eq!(reply.status, 200, "{path}: {body}");
    body
}

fn admin(gateway: &GatewayProcess, arguments: &[&str]) {
    let _told = gateway.admin(arguments);
}

#[tokio::test]
async fn a_key_reads_what_it_is_whatever_its_state() {
    let gateway = quickstart(&[]).start();
    admin(&gateway, &["plans", "create", "small", "--bytes", "1MB", "--rate", "5", "--threads", "2", "--pool", "direct"]);
    let (user, secret) = new_key(&gateway, &["--plan", "small", "--expires", "2099-12-31"]);
    let credentials = basic(&user, &secret);
    let me = read(&gateway, &credentials, "/v1/me").await;
    assert_eq!((&me["id"], &me["state"], &me["expired"]), (&json!(user), &json!("active"), &json!(false)));
    assert_eq!(
        (&me["plan"]["name"], &me["plan"]["bytes"], &me["plan"]["keys"]),
        (&json!("small"), &json!(1_000_000), &Value::Null)
    );
    assert_eq!(read(&gateway, &basic(&format!("{user}-country-us"), &secret), "/v1/me").await, me, "as its user name is written");

    for (action, state) in
        [(&["suspend"] as &[&str], "suspended"), (&["resume"], "active"), (&["block", "--why", "spam"], "blocked")]
    {
        admin(&gateway, &[&["keys", action[0], &user], &action[1..]].concat());
        let me = read(&gateway, &credentials, "/v1/me").await;
        assert_eq!(me["state"], state);
        assert!(!me.to_string().contains("spam"), "why it is blocked is the operator's: {me}");
    }
    let (reply, body) = ask(&gateway, &credentials, "GET /v1/locations").await;
    assert_eq!((reply.status, &body["fault"]), (403, &json!("key_blocked")), "a blocked key reads of itself only");
    admin(&gateway, &["keys", "unblock", &user]);
    admin(&gateway, &["keys", "set", &user, "--expires", "2026-01-01"]);
    assert_eq!(read(&gateway, &credentials, "/v1/me").await["expired"], true);

    admin(&gateway, &["keys", "set", &user, "--allow-ip", "192.0.2.7"]);
    let refused = async |path: &str, authorization: &str, fault: &str| {
        let (reply, body) = ask(&gateway, authorization, &format!("GET {path}")).await;
        assert_eq!((reply.status, &body["fault"]), (401, &json!(fault)), "{path}: {body}");
    };
    refused("/v1/me", &credentials, "source_denied").await;
    admin(&gateway, &["keys", "revoke", &user]);
    for path in ["/v1/me", "/v1/me/usage", "/v1/me/limits", "/v1/me/faults", "/v1/me/sessions"] {
        refused(path, &credentials, "key_revoked").await;
        refused(path, "", "credentials_missing").await;
        refused(path, &basic(&user, "wrong"), "credentials_wrong").await;
        let (reply, body) = ask(&gateway, &own(&gateway), &format!("GET {path}?color=red")).await;
        assert_eq!(reply.status, 400, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_key_reads_what_it_used_and_what_is_left() {
    let gateway = quickstart(&[]).start();
    let limits = ["--bytes", "1MB", "--period", "7d", "--rate", "100", "--burst", "7", "--threads", "3", "--speed", "9MB"];
    admin(&gateway, &[&["plans", "create", "small"], &limits[..]].concat());
    let (user, secret) = new_key(&gateway, &["--plan", "small"]);
    let credentials = basic(&user, &secret);
    let left = read(&gateway, &credentials, "/v1/me/limits").await;
    assert_eq!((&left["period"]["left"], &left["period"]["limit"]), (&json!(1_000_000), &json!(1_000_000)));
    assert_eq!(left["rate"], json!({ "limit": 100, "burst": 7, "left": 7 }));
    assert_eq!((&left["threads"], &left["speed"]), (&json!({ "limit": 3, "open": 0, "left": 3 }), &json!(9_000_000)));

    let script = Script::start(vec![Step::Write(vec![b'x'; 1_000]), Step::Stall]);
    let target = script.address().to_string();
    let (mut wire, reply) = connect_as(&gateway, Credentials { user: &user, password: &secret }, &target).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let _read = wire.exactly(1_000).await.expect("open");
    let left = read(&gateway, &credentials, "/v1/me/limits").await;
    assert_eq!((&left["period"]["bytes"], &left["period"]["left"]), (&json!(1_000), &json!(999_000)));
    assert_eq!(left["threads"], json!({ "limit": 3, "open": 1, "left": 2 }));

    // Delivered several times a second.
    for (by, group) in [("hour", ""), ("day", ""), ("pool", "direct"), ("key", user.as_str())] {
        let usage = loop {
            let usage = read(&gateway, &credentials, &format!("/v1/me/usage?by={by}&since=1h")).await;
            if usage["items"][0]["bytes"] == 1_000 {
                break usage;
            }
        };
        assert_eq!((&usage["by"], usage["items"].as_array().map(Vec::len)), (&json!(by), Some(1)));
        assert!(usage["items"][0][by].as_str().is_some_and(|label| label.contains(group)), "{usage}");
        assert_eq!((&usage["period"]["bytes"], &usage["period"]["limit"]), (&json!(1_000), &json!(1_000_000)));
    }
    let unlimited = read(&gateway, &own(&gateway), "/v1/me/limits").await;
    assert_eq!(unlimited["rate"], json!({ "limit": null, "burst": null, "left": null }));
    assert_eq!(read(&gateway, &own(&gateway), "/v1/me/usage").await["items"], json!([]), "another key's usage is its own");
}

/// Asks for a tunnel over SOCKS5: the reply's code.
async fn socks(gateway: &GatewayProcess, user: &str, secret: &str, target: SocketAddr) -> u8 {
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let mut said = vec![5, 1, 2, 1, user.len() as u8];
    said.extend(user.bytes());
    said.push(secret.len() as u8);
    said.extend(secret.bytes());
    said.extend([5, 1, 0, 1, 127, 0, 0, 1]);
    said.extend(target.port().to_be_bytes());
    wire.send(&said).await.expect("open");
    wire.exactly(2 + 2 + 10).await.expect("a method, a verdict, a reply")[5]
}

#[tokio::test]
async fn a_key_reads_its_last_faults_with_what_to_do() {
    let gateway = quickstart(&[]).start();
    let (user, secret) = new_key(&gateway, &[]);
    let (credentials, as_) = (basic(&user, &secret), Credentials { user: &user, password: &secret });
    assert_eq!(read(&gateway, &credentials, "/v1/me/faults").await, json!({ "items": [] }));

    let (_wire, denied) = connect_as(&gateway, as_, "example.com:25").await;
    assert_eq!(denied.status, 403);
    let refusing = RefusingPort::reserve();
    assert_eq!(socks(&gateway, &user, &secret, refusing.address()).await, 5, "all that SOCKS5 can say");
    let guess = Credentials { user: &user, password: "guess" };
    let (_wire, reply) = connect_as(&gateway, guess, "example.com:80").await;
    assert_eq!(reply.status, 407);
    let idle = Script::start(vec![Step::Stall]);
    let (mut open, reply) = connect_as(&gateway, as_, &idle.address().to_string()).await;
    let broken = id(&reply);
    admin(&gateway, &["keys", "suspend", &user]);
    assert_eq!(open.drain(|_| {}).await.expect("an end"), Ending::Reset);

    let faults = loop {
        let faults = read(&gateway, &credentials, "/v1/me/faults").await;
        if faults["items"].as_array().is_some_and(|items| items.len() == 4) {
            break faults;
        }
    };
    let told = |number: usize, field: &str| faults["items"][number][field].as_str().unwrap_or_default().to_owned();
    let slugs: Vec<String> = (0..4).map(|number| told(number, "fault")).collect();
    assert_eq!(slugs, ["key_suspended", "credentials_wrong", "target_refused", "port_denied"], "newest first");
    assert_eq!((told(0, "request_id"), told(0, "ended_by")), (broken, "cut".to_owned()), "what broke a tunnel midway");
    assert_eq!(
        (told(1, "client"), told(1, "target")),
        ("127.0.0.1".to_owned(), "example.com:80".to_owned()),
        "a stranger's guess"
    );
    assert_eq!((told(2, "protocol"), told(2, "target")), ("socks5".to_owned(), refusing.address().to_string()));
    assert_eq!(told(2, "sentence"), format!("{} refused the connection", refusing.address()));
    assert_eq!((told(3, "request_id"), told(3, "retry")), (id(&denied), "never".to_owned()));
    for field in ["time", "layer", "sentence", "cause", "fix", "retry", "lasting", "who_fixes", "protocol", "client"] {
        assert!((0..4).all(|number| !told(number, field).is_empty()), "{field} in {faults}");
    }
    assert!(!faults.to_string().contains(&secret));
    let newest = read(&gateway, &credentials, "/v1/me/faults?limit=1").await;
    assert_eq!((newest["items"].as_array().map(Vec::len), &newest["items"][0]), (Some(1), &faults["items"][0]));
    assert_eq!(read(&gateway, &own(&gateway), "/v1/me/faults").await, json!({ "items": [] }), "nobody else's");

    // They stay few, and guesses don't push the others out.
    admin(&gateway, &["keys", "resume", &user]);
    for _ in 0..25 {
        let (_wire, _denied) = connect_as(&gateway, as_, "example.com:25").await;
        let (_wire, _wrong) = connect_as(&gateway, Credentials { user: "nobody", password: "x" }, "example.com:25").await;
    }
    for _ in 0..8 {
        let (_wire, _wrong) = connect_as(&gateway, guess, "example.com:80").await;
    }
    let slugs = async || -> Vec<String> {
        let faults = read(&gateway, &credentials, "/v1/me/faults").await;
        let items = faults["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|fault| fault["fault"].as_str().map(str::to_owned)).collect()
    };
    let counted = loop {
        let slugs = slugs().await;
        let count = |slug: &str| slugs.iter().filter(|other| *other == slug).count();
        if slugs.first().is_some_and(|first| first == "credentials_wrong") {
            break (count("port_denied"), count("credentials_wrong"));
        }
    };
    assert_eq!(counted, (20, 5));
}

#[tokio::test]
async fn a_key_sees_its_sessions_while_they_hold() {
    let gateway = quickstart(&[]).start();
    let mobile = exit(&gateway, "mobile", ["de", "be", "Berlin"]).await;
    let credentials = own(&gateway);
    assert_eq!(read(&gateway, &credentials, "/v1/me/sessions").await, json!({ "items": [] }));
    for modifiers in ["-pool-mobile-country-de-session-b", "-pool-mobile-session-a-ttl-10", "-pool-mobile-session-a-ttl-10"] {
        let (_wire, reply) = connect(&gateway, modifiers, "echo.outgate:80").await;
        assert_eq!(reply.status, 200, "{modifiers}: {}", reply.text());
    }
    let sessions = read(&gateway, &credentials, "/v1/me/sessions").await;
    let names: Vec<&str> = sessions["items"].as_array().expect("a list").iter().filter_map(|s| s["session"].as_str()).collect();
    assert_eq!(names, ["a", "b"], "each once");
    let second = &sessions["items"][1];
    assert_eq!((&second["pool"], &second["country"], &second["exit"]), (&json!("mobile"), &json!("de"), &json!(mobile.id)));
    assert!(second["until"].is_string(), "{second}");
    let (reply, body) = ask(&gateway, &credentials, "POST /v1/me/sessions/b/rotate?pool=mobile&country=de").await;
    assert_eq!(reply.status, 200, "{body}");
    let sessions = read(&gateway, &credentials, "/v1/me/sessions").await;
    assert_eq!((&sessions["items"][0]["session"], &sessions["items"][1]), (&json!("a"), &Value::Null), "its time has ended");
    let (user, secret) = new_key(&gateway, &[]);
    assert_eq!(read(&gateway, &basic(&user, &secret), "/v1/me/sessions").await, json!({ "items": [] }), "nobody else's");
}

#[tokio::test]
async fn a_key_rotates_its_own_secret() {
    let gateway = quickstart(&[]).start();
    let (user, secret) = new_key(&gateway, &["--allow-ip", "127.0.0.1", "--by-ip"]);
    let rotate = async |secret: &str| ask(&gateway, &basic(&user, secret), "POST /v1/me/secret").await;
    let (reply, body) = rotate("anything").await;
    assert_eq!((reply.status, &body["fault"]), (401, &json!("credentials_wrong")), "an address alone is no proof here: {body}");
    admin(&gateway, &["keys", "set", &user, "--proof", "secret"]);

    let (reply, body) = rotate(&secret).await;
    assert_eq!((reply.status, &body["id"], &body["old_secret_until"]), (200, &json!(user), &Value::Null), "{body}");
    let new = body["secret"].as_str().expect("a secret").to_owned();
    for (secret, status) in [(&secret, 407), (&new, 200)] {
        let (_wire, reply) = connect_as(&gateway, Credentials { user: &user, password: secret }, "echo.outgate:80").await;
        assert_eq!(reply.status, status);
    }
    let (reply, body) = rotate(&new).await;
    assert_eq!((reply.status, &body["type"]), (429, &json!("urn:outgate:problem:too-often")), "{body}");
    assert!(reply.header("Retry-After").and_then(|wait| wait.parse::<u64>().ok()).is_some_and(|wait| (1..=60).contains(&wait)));

    // The old secret is good for its grace, but not to take the key over.
    let rotated: Value =
        serde_json::from_str(&gateway.admin(&["keys", "rotate", &user, "--grace", "1h", "--json"])).expect("--json prints JSON");
    let newest = rotated["secret"].as_str().expect("a secret");
    assert_eq!(read(&gateway, &basic(&user, &new), "/v1/me").await["old_secret_until"], rotated["old_secret_until"]);
    let (reply, body) = rotate(&new).await;
    assert_eq!((reply.status, &body["fault"]), (401, &json!("credentials_wrong")), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("only the present secret")), "{body}");
    admin(&gateway, &["keys", "suspend", &user]);
    let (reply, body) = rotate(newest).await;
    assert_eq!((reply.status, &body["fault"]), (401, &json!("key_suspended")), "{body}");

    let trail: Value =
        serde_json::from_str(&gateway.admin(&["audit", "--subject", &user, "--json"])).expect("--json prints JSON");
    let by_owner: Vec<&Value> =
        trail.as_array().expect("a list").iter().filter(|row| row["who"] == json!(format!("key {user}"))).collect();
    assert!(matches!(by_owner[..], [row] if row["what"] == "key.rotate"), "{trail}");
}
