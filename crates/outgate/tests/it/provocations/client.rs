//! What the client sent.

use outgate_faults::Slug;
use outgate_testkit::origin::Origin;
use outgate_testkit::wire::{Ending, Wire};

use super::outputs::{ask, login, provoked, quickstart, record_of};

#[tokio::test]
async fn requests_that_break_the_rules() {
    let origin = Origin::start();
    let gateway = quickstart(&[]).start();
    let auth = login(&gateway, "");
    let at = origin.address();
    let via_get = |rest: &str| format!("GET http://{at}/ok HTTP/1.1\r\nHost: {at}\r\n{auth}{rest}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: x\r\n{auth}\r\n");
    let malformed = |what: &str| provoked(Slug::MalformedRequest, "read", format!("malformed request: {what}"));
    let target = |what: &str| provoked(Slug::MalformedTarget, "read", format!("malformed target: {what}"));
    let rows = [
        (via_get("Content-Length: 1\r\nContent-Length: 2\r\n"), malformed("more than one Content-Length")),
        (via_get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), malformed("both Content-Length and Transfer-Encoding")),
        (via_get("Host: other\r\n"), malformed("an HTTP/1.1 request has exactly one Host")),
        (via_get("Bad Field: x\r\n"), malformed("a field name is not a token, or a line is folded")),
        (format!("GET http://{at}/ok HTTP/1.1\nHost: x\n\n"), malformed("a line ends in LF without CR")),
        (line("HELLO"), malformed("the request line is not METHOD TARGET VERSION")),
        (line("CONNECT example.com HTTP/1.1"), target("CONNECT needs host:port")),
        (line("CONNECT example.com:0 HTTP/1.1"), target("the port is not a number from 1 to 65535")),
        (line("CONNECT example.com:65536 HTTP/1.1"), target("the port is not a number from 1 to 65535")),
        (
            line("GET / HTTP/1.1"),
            provoked(
                Slug::WrongProtocol,
                "read",
                "HTTP as to a web server was spoken to a port that expects HTTP as to a proxy (the full URL as in GET \
                 http://host/path, or CONNECT host:port)",
            ),
        ),
        (line("GET example.com HTTP/1.1"), target("this is a proxy: send the full URL (http://host/path), or CONNECT host:port")),
        (line("GET ftp://example.com/ HTTP/1.1"), target("only http:// can be forwarded, anything else needs CONNECT")),
        (line("GET http://u:p@example.com/ HTTP/1.1"), target("credentials belong in Proxy-Authorization, not in the target")),
        (
            via_get("Expect: 200-ok\r\n"),
            provoked(Slug::ExpectationFailed, "read", "the expectation '200-ok' cannot be met (only 100-continue can)"),
        ),
        (
            line("GET http://example.com/ HTTP/2.7"),
            provoked(Slug::VersionUnsupported, "read", "version HTTP/2.7 is not supported"),
        ),
        (
            line("GET https://secret.example/account HTTP/1.1"),
            provoked(Slug::HttpsNeedsConnect, "read", "https to secret.example needs CONNECT, but the request came in clear"),
        ),
    ];
    for (request, expected) in rows {
        let (mut wire, reply) = ask(&gateway, &request).await;
        assert_eq!(reply.header("Connection"), Some("close"), "{request:?}");
        expected.check(&gateway, &reply).await;
        assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "{request:?}: the answer must arrive, so no reset");
    }
    assert_eq!(origin.connections(), 0, "nothing of it reaches an origin");
}

#[tokio::test]
async fn heads_over_their_limits() {
    let gateway = quickstart(&[("OUTGATE_LIMITS_REQUEST_LINE", "2000"), ("OUTGATE_LIMITS_REQUEST_HEAD", "6000")]).start();
    let auth = login(&gateway, "");
    let long_line = format!("GET http://example.com/{} HTTP/1.1\r\nHost: example.com\r\n{auth}\r\n", "a".repeat(3000));
    let long_field =
        format!("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{auth}Cookie: {}\r\n\r\n", "a".repeat(7000));
    let many = "X-A: b\r\n".repeat(200);
    let many_fields = format!("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n{auth}{many}\r\n");
    let rows = [
        (long_line, provoked(Slug::UriTooLong, "read", "the request target is over the limit of 2000 bytes")),
        (long_field, provoked(Slug::HeaderTooLarge, "read", "the request header is over the limit of 6000 bytes")),
        (many_fields, provoked(Slug::HeaderTooLarge, "read", "the request header is over the limit of 128 fields")),
    ];
    for (request, expected) in rows {
        let (_wire, reply) = ask(&gateway, &request).await;
        expected.check(&gateway, &reply).await;
    }
}

#[tokio::test]
async fn a_request_that_never_ends() {
    let gateway = quickstart(&[("OUTGATE_TIMEOUTS_HEAD", "1s")]).start();
    let (_wire, reply) = ask(&gateway, "GET http://example.com/ HTTP/1.1\r\nHost: exam").await;
    provoked(Slug::RequestTimeout, "read", "the request was not complete within 1 s").check(&gateway, &reply).await;
}

#[tokio::test]
async fn other_protocols_are_refused_in_their_own_words() {
    let gateway = quickstart(&[]).start();
    let table: [(&str, &[u8], &[u8]); 3] = [
        // The start of a ClientHello; the answer is a fatal alert, protocol_version.
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("SOCKS4", b"\x04\x01\x00\x50\x01\x01\x01\x01\x00", b"\x00\x5b\0\0\0\0\0\0"),
        // SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED.
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d"),
    ];
    for (protocol, hello, refusal) in table {
        let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
        wire.send(hello).await.expect("it reads");
        wire.finish().await.expect("it reads");
        assert_eq!(wire.ending().await, Ok((refusal.to_vec(), Ending::Fin)), "{protocol}");
        let sentence = format!("{protocol} was spoken to a port that expects HTTP/1.1 or SOCKS5");
        let record = record_of(&gateway, protocol, |record| record["sentence"] == sentence.as_str()).await;
        let id = record["request_id"].as_str().expect("every record has an id");
        provoked(Slug::WrongProtocol, "read", sentence).check_record(&gateway, id, None).await;
    }
}
