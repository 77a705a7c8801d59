//! What users ask the gateway beside the proxy, with their key's credentials: where exits are, another exit for a session, and
//! (`about`) what is about the key itself.

mod about;

use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::within;
use outgate_testkit::wire::{Credentials, Expect, Reply, Wire};
use serde_json::{Value, json};

use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::{connect, connect_as, new_key, quickstart};

/// Asks the console; `authorization` is the whole value of the field, empty for none.
async fn ask(gateway: &GatewayProcess, authorization: &str, request: &str) -> (Reply, Value) {
    let mut wire = Wire::connect(gateway.console()).await.expect("the console listens");
    let field = if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let request = format!("{request} HTTP/1.1\r\nHost: console\r\nContent-Length: 0\r\n{field}\r\n");
    wire.send(request.as_bytes()).await.expect("the console reads");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    let body = serde_json::from_str(&reply.text()).unwrap_or_else(|error| panic!("{error}: {}", reply.text()));
    (reply, body)
}

fn basic(user: &str, secret: &str) -> String {
    let line = Credentials { user, password: secret }.header_line();
    line.trim_end().strip_prefix("Proxy-Authorization: ").expect("the field's name").to_owned()
}

fn own(gateway: &GatewayProcess) -> String {
    basic(gateway.told("key_id"), gateway.told("secret"))
}

async fn exit(gateway: &GatewayProcess, pool: &str, place: [&str; 3]) -> LabelledExit {
    let [country, state, city] = place;
    LabelledExit::link_up(gateway, &["--pool", pool, "--country", country, "--state", state, "--city", city]).await
}

fn pool<'a>(body: &'a Value, name: &str) -> &'a Value {
    let pools = body["pools"].as_array().expect("a list of pools");
    pools.iter().find(|pool| pool["pool"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_key_sees_where_exits_are() {
    let gateway = quickstart(&[]).start();
    let los_angeles = ["us", "ca", "Los Angeles"];
    let exits = [
        exit(&gateway, "mobile", los_angeles).await,
        exit(&gateway, "mobile", los_angeles).await,
        exit(&gateway, "mobile", ["us", "ny", "New York"]).await,
        exit(&gateway, "mobile", ["de", "be", "Berlin"]).await,
    ];
    let seen = json!({
        "pool": "mobile", "kind": "mobile", "targeting": true, "exits": 4, "elsewhere": 0,
        "countries": [
            {
                "country": "de", "name": "Germany", "exits": 1,
                "states": [{ "state": "be", "name": "Berlin", "exits": 1 }],
                "cities": [{ "city": "berlin", "state": "be", "exits": 1 }],
            },
            {
                "country": "us", "name": "United States of America", "exits": 3,
                "states": [
                    { "state": "ca", "name": "California", "exits": 2 },
                    { "state": "ny", "name": "New York", "exits": 1 },
                ],
                "cities": [
                    { "city": "losangeles", "state": "ca", "exits": 2 },
                    { "city": "newyork", "state": "ny", "exits": 1 },
                ],
            },
        ],
    });
    let credentials = own(&gateway);
    // The count may be a second old.
    let counted = async {
        loop {
            let (reply, body) = ask(&gateway, &credentials, "GET /v1/locations").await;
            assert_eq!(reply.status, 200, "{body}");
            if pool(&body, "mobile")["exits"] == 4 {
                return body;
            }
        }
    };
    let body = within("the count of all four", counted).await;
    assert_eq!(pool(&body, "mobile"), &seen);
    // Quickstart's own exit is in no country; a pool without exits is shown, and whether it takes targeting.
    assert_eq!((&pool(&body, "residential")["exits"], &pool(&body, "residential")["elsewhere"]), (&json!(1), &json!(1)));
    assert_eq!(
        pool(&body, "isp"),
        &json!({
            "pool": "isp", "kind": "isp", "targeting": false, "exits": 0, "elsewhere": 0, "countries": [],
        })
    );

    // The administrator sees the same; a key only what its plan lets it use.
    let (_, all) = ask(&gateway, &format!("Bearer {}", gateway.told("admin_token")), "GET /v1/locations").await;
    assert_eq!(all, body);
    let _plan = gateway.admin(&["plans", "create", "small", "--pool", "mobile", "--country", "de"]);
    let (user, secret) = new_key(&gateway, &["--plan", "small"]);
    let (_, less) = ask(&gateway, &basic(&user, &secret), "GET /v1/locations").await;
    assert_eq!((less["pools"].as_array().map(Vec::len), &pool(&less, "mobile")["exits"]), (Some(1), &json!(1)));
    assert_eq!(pool(&less, "mobile")["countries"][0], seen["countries"][0]);
    let (reply, _) = ask(&gateway, &credentials, "GET /v1/keys").await;
    assert_eq!(reply.status, 401, "nothing else is open to it");
    drop(exits);
}

#[tokio::test]
async fn a_key_rotates_its_sessions() {
    let gateway = quickstart(&[]).start();
    let berlin = ["de", "be", "Berlin"];
    let exits = [exit(&gateway, "mobile", berlin).await, exit(&gateway, "mobile", berlin).await];
    let used = async || {
        let (_wire, reply) = connect(&gateway, "-pool-mobile-country-de-session-ab12", "echo.outgate:80").await;
        reply.header("X-Outgate-Exit").map(str::to_owned).unwrap_or_else(|| panic!("{}", reply.text()))
    };
    let credentials = own(&gateway);
    let rotate = "POST /v1/me/sessions/ab12/rotate?pool=mobile&country=de";
    let (reply, body) = ask(&gateway, &credentials, rotate).await;
    let none = "has no session ab12 in pool mobile, country de: a session is one of its pool and place";
    assert!(reply.status == 404 && body["detail"].as_str().is_some_and(|detail| detail.contains(none)), "{body}");

    let mut before = used().await;
    let by_user_name = basic(&gateway.user("-pool-mobile-country-de-session-ab12"), gateway.told("secret"));
    for (credentials, request) in [(&credentials, rotate), (&by_user_name, "POST /v1/me/sessions/ab12/rotate")] {
        assert_eq!(used().await, before, "a session stays");
        let (reply, body) = ask(&gateway, credentials, request).await;
        assert_eq!(reply.status, 200, "{body}");
        let told =
            json!({ "key": gateway.told("key_id"), "session": "ab12", "place": "pool mobile, country de", "rotated": true });
        assert_eq!(body, told);
        let after = used().await;
        assert!(after != before && exits.iter().any(|exit| exit.id == after), "{before} {after}");
        before = after;
    }

    // Another key's session of the same name is another one.
    let (user, secret) = new_key(&gateway, &[]);
    let (reply, _) = ask(&gateway, &basic(&user, &secret), rotate).await;
    assert_eq!(reply.status, 404);
    let _plan = gateway.admin(&["plans", "create", "small", "--pool", "direct"]);
    let (user, secret) = new_key(&gateway, &["--plan", "small"]);
    let rows = [
        (basic(&user, &secret), "/ab12/rotate?pool=mobile", 403, "pool_denied"),
        (credentials.clone(), "/ab12/rotate?pool=mobile&country=uk", 400, "country_invalid"),
        (credentials.clone(), "/ab12/rotate?pool=mobile&country=de&city=atlantis", 400, "city_invalid"),
        (credentials.clone(), "/a.b/rotate?pool=mobile", 400, "session_invalid"),
        (credentials.clone(), "/ab12/rotate?pool=isp&country=de", 400, "targeting_unsupported"),
        (String::new(), "/ab12/rotate", 401, "credentials_missing"),
    ];
    for (credentials, request, status, fault) in rows {
        let (reply, body) = ask(&gateway, &credentials, &format!("POST /v1/me/sessions{request}")).await;
        assert_eq!((reply.status, &body["fault"]), (status, &json!(fault)), "{request}: {body}");
    }
    let (reply, body) = ask(&gateway, &credentials, "POST /v1/me/sessions/ab12/rotate?contry=de").await;
    assert!(reply.status == 400 && body["detail"].as_str().is_some_and(|detail| detail.contains("contry: is unknown")), "{body}");
}

#[tokio::test]
async fn guesses_at_the_console_and_at_the_proxy_count_together() {
    let gateway = quickstart(&[]).start();
    let id = gateway.told("key_id");
    for (authorization, fault) in [
        (String::new(), "credentials_missing"),
        ("Basic %".to_owned(), "credentials_malformed"),
        (basic("nobody", "x"), "credentials_wrong"),
    ] {
        let (reply, body) = ask(&gateway, &authorization, "GET /v1/locations").await;
        assert_eq!((reply.status, &body["fault"]), (401, &json!(fault)), "{body}");
        assert_eq!(reply.all("WWW-Authenticate"), ["Basic realm=\"outgate\", charset=\"UTF-8\""]);
        assert_eq!(reply.all("Content-Type"), ["application/problem+json"]);
    }
    let (reply, _) = ask(&gateway, "Bearer wrong", "GET /v1/locations").await;
    assert_eq!((reply.status, reply.header("WWW-Authenticate")), (401, Some("Bearer realm=\"outgate admin\"")));
    // Ten wrong ones for a key, five at each door: then neither takes the right one any more, for a while.
    for _ in 0..5 {
        let (reply, _) = ask(&gateway, &basic(id, "wrong"), "GET /v1/locations").await;
        assert_eq!(reply.status, 401);
        let wrong = Credentials { user: id, password: "wrong" };
        let (_wire, reply) = connect_as(&gateway, wrong, "echo.outgate:80").await;
        assert_eq!(reply.status, 407);
    }
    let (reply, body) = ask(&gateway, &own(&gateway), "GET /v1/locations").await;
    assert_eq!((reply.status, &body["fault"]), (429, &json!("auth_throttled")), "{body}");
    assert!(reply.header("Retry-After").and_then(|wait| wait.parse::<u64>().ok()).is_some_and(|wait| (1..=11).contains(&wait)));
    let (_wire, reply) = connect(&gateway, "", "echo.outgate:80").await;
    assert_eq!((reply.status, reply.header("X-Proxy-Error")), (429, Some("auth_throttled")));

    // What is wrong with a key is told to who knows its secret.
    let (user, secret) = new_key(&gateway, &[]);
    let _suspended = gateway.admin(&["keys", "suspend", &user]);
    let (reply, body) = ask(&gateway, &basic(&user, &secret), "GET /v1/locations").await;
    assert_eq!((reply.status, &body["fault"]), (401, &json!("key_suspended")), "{body}");
}
