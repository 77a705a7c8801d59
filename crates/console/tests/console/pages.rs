//! The pages without a browser: who gets in, what a forged form does, what everybody may see.

use std::net::SocketAddr;
use std::sync::Arc;

use outgate_console::{Desk, Server, Sight, pages};
use outgate_meter::Gauges;
use outgate_store::live::Live;
use outgate_store::memory::Memory;
use outgate_store::{SecretHash, Snapshot};

use crate::client::{Answer, raw};
use crate::gateway::{TOKEN, Told, now};

/// Serves the pages of a gateway that knows nothing yet; they end with the test.
async fn serve(which: impl FnOnce(Arc<Desk>, Arc<Sight>) -> outgate_console::ExtraRoutes) -> SocketAddr {
    let live = Arc::new(Told::default()) as Arc<dyn Live>;
    let desk = Desk::new(Arc::new(Memory::new()), live, &Snapshot::default(), Arc::new(now));
    let sight = Sight { name: "gw1".into(), gauges: Box::new(Gauges::default), proxies: vec!["http://127.0.0.1:8080".into()] };
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let address = server.address();
    let routes = which(Arc::new(desk), Arc::new(sight));
    tokio::spawn(server.serve(routes, std::future::pending()));
    address
}

async fn all_pages() -> SocketAddr {
    serve(|desk, sight| pages::router(desk, sight, SecretHash::of(TOKEN.as_bytes()))).await
}

async fn get(at: SocketAddr, path: &str, fields: &str) -> Answer {
    raw(at, format!("GET {path} HTTP/1.1\r\nHost: console\r\nConnection: close\r\n{fields}\r\n").as_bytes()).await
}

async fn post(at: SocketAddr, path: &str, fields: &str, body: &str) -> Answer {
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: console\r\nConnection: close\r\n{kind}\r\n{fields}Content-Length: {}", body.len());
    raw(at, format!("{head}\r\n\r\n{body}").as_bytes()).await
}

/// The value of a cookie that an answer sets, with what is said of it.
fn cookie<'a>(answer: &'a Answer, name: &str) -> Option<(&'a str, &'a str)> {
    let set = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let set = set.filter_map(|line| line.split_once('=')).find(|(found, _)| *found == name);
    set.and_then(|(_, value)| value.split_once("; "))
}

/// Fields of somebody who signed in as the operator, more fields among them.
async fn signed_in(at: SocketAddr, more: &str, prefix: &str) -> String {
    let form = get(at, "/login", more).await;
    let (token, about) = cookie(&form, &format!("{prefix}outgate-form")).expect("a cookie for the form");
    assert!(about.contains("HttpOnly; SameSite=Strict"), "{about}");
    let fields = format!("{more}Cookie: {prefix}outgate-form={token}\r\n");
    let answer = post(at, "/login", &fields, &format!("form_token={token}&as=operator&token={TOKEN}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/overview")));
    let (login, about) = cookie(&answer, &format!("{prefix}outgate")).expect("a cookie for the log-in");
    assert_eq!(about.contains("Secure"), !prefix.is_empty(), "{about}");
    assert!(about.contains("HttpOnly; SameSite=Strict") && !login.contains(TOKEN), "{about}");
    format!("{more}Cookie: {prefix}outgate={login}\r\n")
}

#[tokio::test]
async fn only_who_signs_in_gets_in() {
    let at = all_pages().await;
    for path in ["/overview", "/keys", "/keys/abcd", "/requests/x", "/audit", "/me", "/me/requests/x"] {
        for fields in ["", "Cookie: outgate=guess\r\n", "Cookie: outgate=\r\n", &format!("Authorization: Bearer {TOKEN}\r\n")] {
            let answer = get(at, path, fields).await;
            assert_eq!(answer.status, 303, "{path} with {fields:?}");
            assert!(answer.header("location").is_some_and(|to| to.starts_with("/login")), "{path}");
        }
    }
    let fields = signed_in(at, "", "").await;
    assert_eq!(get(at, "/overview", &fields).await.status, 200);
    assert_eq!(get(at, "/me", &fields).await.status, 303, "the operator is no key's owner");
}

#[tokio::test]
async fn behind_tls_the_cookies_say_so() {
    let at = all_pages().await;
    let fields = signed_in(at, "X-Forwarded-Proto: https\r\n", "__Host-").await;
    assert_eq!(get(at, "/overview", &fields).await.status, 200);
}

#[tokio::test]
async fn a_form_without_its_mark_changes_nothing() {
    let at = all_pages().await;
    let fields = signed_in(at, "", "").await;
    let page = raw_text(at, "/new/plan", &fields).await;
    let token = page.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a mark");
    let good = format!("name=basic&form_token={token}");
    let cases: [(&str, &str, &str); 6] = [
        ("no mark", "", "name=basic"),
        ("another mark", "", "name=basic&form_token=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("an empty mark", "", "name=basic&form_token="),
        ("another site's", "Sec-Fetch-Site: cross-site\r\n", &good),
        ("a neighbour's", "Sec-Fetch-Site: same-site\r\n", &good),
        ("another origin's", "Origin: http://evil.example\r\n", &good),
    ];
    for (what, more, body) in cases {
        let answer = post(at, "/plans", &format!("{fields}{more}"), body).await;
        assert_eq!(answer.status, 403, "{what}");
    }
    assert!(!raw_text(at, "/plans", &fields).await.contains("/plans/basic"));
    assert_eq!(post(at, "/plans", "", &good).await.header("location"), Some("/login"), "nobody");
    assert_eq!(post(at, "/plans", &fields, &good).await.header("location"), Some("/plans"));
    assert!(raw_text(at, "/plans", &fields).await.contains("/plans/basic"));
    // Signed out, the cookie is worth nothing.
    assert_eq!(post(at, "/logout", &fields, &format!("form_token={token}")).await.status, 303);
    assert_eq!(get(at, "/overview", &fields).await.status, 303);
}

#[tokio::test]
async fn what_comes_from_outside_is_no_markup() {
    let at = all_pages().await;
    let fields = signed_in(at, "", "").await;
    for path in [
        "/keys?find=%3Cscript%3Ealert(1)%3C/script%3E",
        "/audit?subject=%22%3E%3Cscript%3E",
        "/requests?target=%22%3E%3Cscript%3E",
    ] {
        let page = raw_text(at, path, &fields).await;
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{path}");
    }
    for to in ["//evil.example", "https://evil.example", "/%5Cevil.example", "/a%0d%0ab:c"] {
        let page = raw_text(at, &format!("/login?to={to}"), "").await;
        assert!(!page.contains("evil") && !page.contains("name=\"to\""), "{to}");
    }
}

#[tokio::test]
async fn the_public_sees_the_status_and_nothing_else() {
    let at = serve(pages::status_router).await;
    let json = get(at, "/status.json", "").await;
    assert_eq!((json.status, json.text("status"), json.text("gateway")), (200, "operational", "gw1"));
    assert_eq!(json.body["components"][0]["name"], "Gateway");
    assert_eq!(json.body["incidents"], serde_json::json!([]));
    let page = raw_text(at, "/status", "").await;
    assert!(page.contains("Everything works") && !page.contains("/login"), "{page}");
    assert_eq!(get(at, "/", "").await.header("location"), Some("/status"));
    for path in ["/login", "/overview", "/v1/keys", "/v1/openapi.json", "/metrics", "/healthz"] {
        assert_eq!(get(at, path, "").await.status, 404, "{path}");
    }
    let head = get(at, "/status", "").await.head;
    for field in ["content-security-policy: default-src 'none'", "referrer-policy: no-referrer", "x-frame-options: DENY"] {
        assert!(head.contains(field), "{field} is not in {head}");
    }
}

/// A page's text.
async fn raw_text(at: SocketAddr, path: &str, fields: &str) -> String {
    let answer = get(at, path, fields).await;
    assert!(answer.status < 500, "{path}: {}", answer.head);
    answer.page
}
