//! What somebody sees who opens the proxy's address in a web browser. A real browser does so in tests/clients.

use outgate_faults::{Slug, standard_phrase};
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::h2_client::H2Client;
use outgate_testkit::wire::{Ending, Expect, Reply, Wire};

use crate::OUTGATE;
use crate::provocations::outputs::{ask, id, provoked, quickstart};
use crate::provocations::ways::Ports;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
const SENTENCE: &str = "HTTP as to a web server was spoken to a port that expects HTTP as to a proxy (the full URL as in GET \
                        http://host/path, or CONNECT host:port)";

/// What every page is: the fault with its own status and fields, and whole in itself.
fn check_page(reply: &Reply) {
    let field = |name: &str| match reply.all(name)[..] {
        [value] => value.to_owned(),
        ref values => panic!("{name}: {values:?}"),
    };
    let body = reply.text();
    assert_eq!(reply.status, 400);
    assert_eq!(field("X-Proxy-Error"), "wrong_protocol");
    assert!(field("Proxy-Status").contains("; error=http_request_error; details=\""));
    assert_eq!(field("Content-Type"), "text/html; charset=utf-8");
    assert_eq!(field("X-Content-Type-Options"), "nosniff");
    assert_eq!(field("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'");
    assert_eq!(field("Content-Length"), body.len().to_string());
    assert!(body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{body}");
    assert!(body.contains(&format!("<p>Request <code>{}</code>", field("X-Outgate-Request-Id"))), "{body}");
    assert!(body.contains("<p><code>wrong_protocol</code>: HTTP "), "{body}");
    assert!(body.contains("<code>KEY-country-us-session-ab12</code>"), "{body}");
    assert!(body.contains("width=device-width") && body.contains("color-scheme: light dark"), "{body}");
    for foreign in ["src=", "href=", "url(", "@import", "<script", "{lines}", "{sentence}", "{slug}", "{request}"] {
        assert!(!body.contains(foreign), "{foreign}: {body}");
    }
}

fn check(reply: &Reply) {
    assert_eq!(reply.reason, format!("{} (wrong_protocol)", standard_phrase(400)));
    check_page(reply);
}

fn line(scheme: &str, at: &str) -> String {
    format!("<pre>curl -x {scheme}://KEY:SECRET@{at} https://example.com/</pre>")
}

#[tokio::test]
async fn a_browser_gets_a_page_and_everybody_else_a_line() {
    let gateway = quickstart(&[]).start();
    let at = gateway.proxy();
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{fields}\r\n");
    for path in ["/", "/index.html?a=b", "/%3Cscript%3E"] {
        let (mut wire, reply) = ask(&gateway, &get(path, BROWSER)).await;
        check(&reply);
        assert!(reply.text().contains(&line("http", &at.to_string())), "{path}");
        assert!(reply.text().contains(&line("socks5h", &at.to_string())), "{path}");
        assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)));
        provoked(Slug::WrongProtocol, "read", SENTENCE).check_record(&gateway, &id(&reply), Some(400)).await;
    }
    for fields in ["", "Accept: */*\r\n", "Accept: image/avif,image/webp,*/*\r\n"] {
        let (_wire, reply) = ask(&gateway, &get("/", fields)).await;
        provoked(Slug::WrongProtocol, "read", SENTENCE).check(&gateway, &reply).await;
    }
    // What only looks like it: a request through the proxy gets what it would get anyway.
    let (_wire, reply) = ask(&gateway, &get("http://echo.outgate/", BROWSER)).await;
    assert_eq!((reply.status, reply.header("Content-Type")), (407, Some("text/plain")));
    let (mut wire, reply) = ask(&gateway, &get("/", BROWSER).replace("GET", "HEAD")).await;
    assert!(reply.header("Content-Length").and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > 1000));
    assert_eq!((reply.header("X-Proxy-Error"), wire.ending().await), (Some("wrong_protocol"), Ok((Vec::new(), Ending::Fin))));
}

/// Nothing of the request gets into the page but an address, and only one that is one.
#[tokio::test]
async fn a_page_reflects_nothing() {
    let gateway = quickstart(&[]).start();
    let rows = [
        ("proxy.example:3128", "proxy.example:3128"),
        ("Proxy.Example", "proxy.example:80"),
        ("[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
        ("a'$(id);b&c:80", "ADDRESS:PORT"),
        ("0x7f.1:80", "ADDRESS:PORT"),
        ("a:99999", "ADDRESS:PORT"),
        ("", "ADDRESS:PORT"),
    ];
    for (host, told) in rows {
        let attack = "<svg onload=alert(1)>\"'&amp;";
        let fields = format!("{BROWSER}User-Agent: {attack}\r\nReferer: {attack}\r\nCookie: {attack}\r\n");
        let (_wire, reply) =
            ask(&gateway, &format!("GET /{{lines}}?\"><x>{{slug}} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await;
        check(&reply);
        let body = reply.text();
        assert!(body.contains(&line("http", told)), "{host}: {body}");
        assert!(!body.contains("svg") && !body.contains("<x>") && !body.contains("alert"), "{host}: {body}");
        assert!(host == told || host.is_empty() || host.eq_ignore_ascii_case(told) || !body.contains(host), "{host}: {body}");
    }
    let (_wire, reply) = ask(&gateway, &format!("GET / HTTP/1.0\r\n{BROWSER}\r\n")).await;
    check(&reply);
    assert!(reply.text().contains(&line("http", "ADDRESS:PORT")), "HTTP/1.0 may have no Host");
}

#[tokio::test]
async fn a_page_names_the_way_in_of_its_port() {
    let ports = Ports::open();
    let rows = [
        (ports.http_only(), vec!["http"], SENTENCE.to_owned()),
        (
            ports.socks_only(),
            vec!["socks5h"],
            "HTTP was spoken to a port that expects SOCKS5 (socks5h:// in the proxy&#39;s URL)".to_owned(),
        ),
        (
            ports.tls(),
            vec!["https"],
            "HTTP in clear was spoken to a port that expects TLS (https:// in the proxy&#39;s URL)".to_owned(),
        ),
    ];
    for (door, schemes, sentence) in rows {
        let mut wire = Wire::connect(door).await.expect("it listens");
        wire.send(format!("GET / HTTP/1.1\r\nHost: {door}\r\n{BROWSER}\r\n").as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer in clear");
        check(&reply);
        let body = reply.text();
        assert_eq!(body.matches("<pre>").count(), schemes.len(), "{body}");
        assert!(schemes.iter().all(|scheme| body.contains(&line(scheme, &door.to_string()))), "{body}");
        assert!(body.contains(&format!("{sentence}.")), "{body}");
        let mut wire = Wire::connect(door).await.expect("it listens");
        wire.send(format!("HEAD / HTTP/1.1\r\nHost: {door}\r\n{BROWSER}\r\n").as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::NoBody).await.expect("an answer in clear");
        assert_eq!((reply.status, wire.ending().await), (400, Ok((Vec::new(), Ending::Fin))), "no body for HEAD");
    }
}

#[tokio::test]
async fn a_page_over_tls_and_http2() {
    let ports = Ports::open();
    let at = format!("localhost:{}", ports.tls().port());
    let mut wire = ports.over_tls(&["http/1.1"]).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {at}\r\n{BROWSER}\r\n").as_bytes()).await.expect("open");
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    check(&reply);
    assert!(reply.text().contains(&line("https", &at)));

    let accept = BROWSER.trim_end().strip_prefix("Accept: ").expect("it begins so");
    let page = async |uri: &str, accept: &str| {
        let request = http::Request::builder().uri(uri).header("accept", accept).body(()).expect("a request");
        H2Client::over(ports.over_tls(&["h2"]).await).await.ask(request).await.expect("an answer").0
    };
    let reply = page(&format!("https://{at}/"), accept).await;
    check_page(&reply);
    assert!(reply.text().contains(&line("https", &at)), "{}", reply.text());
    let record = ports.record("the page's record", |record| record["protocol"] == "h2").await;
    assert_eq!((&record["outcome"], &record["sentence"]), (&"wrong_protocol".into(), &SENTENCE.into()));

    let reply = page(&format!("https://{at}/"), "*/*").await;
    assert_eq!((reply.header("x-proxy-error"), reply.text()), (Some("wrong_protocol"), format!("{SENTENCE}\n")));
    // Another host is asked for through this proxy, and in the wrong way.
    let reply = page("https://example.com/", accept).await;
    assert_eq!(reply.header("x-proxy-error"), Some("https_needs_connect"));
}

/// Who promised plain text to its users keeps to it.
#[tokio::test]
async fn a_dialect_of_plain_text_has_no_page() {
    for dialect in ["atlasvpn", "proxies.fo"] {
        let gateway = Quickstart::new(OUTGATE).args(["--dialect", dialect]).start();
        let (_wire, reply) = ask(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{BROWSER}\r\n")).await;
        assert_eq!((reply.header("X-Proxy-Error"), reply.text().as_str()), (Some("wrong_protocol"), SENTENCE), "{dialect}");
        assert_eq!(reply.all("Content-Type"), ["text/plain"], "{dialect}");
    }
}
