//! Heads in, what was asked or the refusal out.

use super::*;
use outgate_faults::Slug;

fn parse(head: &str) -> Result<Asked, Slug> {
    Asked::parse(head.as_bytes(), "gw", Carrier::Http1).map_err(|fault| fault.slug())
}

/// The head that goes to the origin.
fn forwarded(head: &str) -> String {
    match parse(head).unwrap().want {
        Want::Forward(_, forward) => String::from_utf8(forward.head).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn targets() {
    let cases = [
        ("CONNECT example.org:443 HTTP/1.1", Ok("example.org:443")),
        ("CONNECT [2606:4700::1]:443 HTTP/1.1", Ok("[2606:4700::1]:443")),
        ("GET http://Example.ORG HTTP/1.1", Ok("example.org:80")),
        ("GET HTTP://example.org:8080/a?b HTTP/1.1", Ok("example.org:8080")),
        ("GET http://example.org:/ HTTP/1.1", Ok("example.org:80")),
        ("CONNECT example.org HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT example.org: HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT example.org:0 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT example.org:65536 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT example.org:+443 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT :443 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT http://example.org:443 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT user@example.org:443 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("CONNECT 0x7f.1:443 HTTP/1.1", Err(Slug::TargetPrivate)),
        ("CONNECT 2852039166:80 HTTP/1.1", Err(Slug::TargetMetadata)),
        ("CONNECT 0x08080808:80 HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET http://user:pw@example.org/ HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET https://example.org/ HTTP/1.1", Err(Slug::HttpsNeedsConnect)),
        ("GET ftp://example.org/ HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET / HTTP/1.1", Err(Slug::WrongProtocol)),
        ("GET a HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET /http://a/ HTTP/1.1", Err(Slug::WrongProtocol)),
        ("GET http://example.org/#top HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET http:///path HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET http://a\u{e9}/ HTTP/1.1", Err(Slug::MalformedTarget)),
        ("GET  http://a/ HTTP/1.1", Err(Slug::MalformedRequest)),
        ("GET http://a/ b HTTP/1.1", Err(Slug::MalformedRequest)),
        ("GET http://a/ HTTP/2.0", Err(Slug::VersionUnsupported)),
        ("GET http://a/ HTTP/1.2", Err(Slug::VersionUnsupported)),
        ("G@T http://a/ HTTP/1.1", Err(Slug::MalformedRequest)),
        ("hello", Err(Slug::MalformedRequest)),
    ];
    for (line, expected) in cases {
        let got = parse(&format!("{line}\r\nHost: x\r\n\r\n"));
        let got = got.map(|asked| asked.target().unwrap().to_string());
        assert_eq!(got, expected.map(str::to_owned), "{line}");
    }
}

#[test]
fn ambiguous_messages_are_refused() {
    let cases = [
        ("Host: a\r\nHost: a", Slug::MalformedRequest),
        ("Accept: *", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: 1\r\nContent-Length: 1", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: 1, 1", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: +1", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: 0x1", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length:", Slug::MalformedRequest),
        ("Host: a\r\nContent-Length: 99999999999999999999", Slug::MalformedRequest),
        ("Host: a\r\nTransfer-Encoding: gzip, chunked", Slug::MalformedRequest),
        ("Host: a\r\nTransfer-Encoding: xchunked", Slug::MalformedRequest),
        ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Slug::MalformedRequest),
        ("Host: a\r\nTransfer-Encoding : chunked", Slug::MalformedRequest),
        ("Host: a\r\n X: folded", Slug::MalformedRequest),
        ("Host: a\r\nX: a\0b", Slug::MalformedRequest),
        ("Host: a\r\nConnection: close, Content-Length", Slug::MalformedRequest),
        ("Host: a\r\nConnection: transfer-encoding", Slug::MalformedRequest),
        ("Host: a\r\nExpect: tea", Slug::ExpectationFailed),
        ("Host: a\r\nVia: 1.1 other, 1.1 gw", Slug::LoopDetected),
        ("Host: a\r\nProxy-Authorization: Basic a\r\nProxy-Authorization: Basic b", Slug::CredentialsMalformed),
    ];
    for (fields, expected) in cases {
        let got = parse(&format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!(got.map(|_| ()), Err(expected), "{fields}");
    }
    assert_eq!(parse("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").map(|_| ()), Err(Slug::MalformedRequest));
    assert_eq!(parse("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").map(|_| ()), Err(Slug::MalformedRequest));
    let many = "X: y\r\n".repeat(200);
    assert_eq!(parse(&format!("GET http://a/ HTTP/1.1\r\nHost: a\r\n{many}\r\n")).map(|_| ()), Err(Slug::HeaderTooLarge));
}

#[test]
fn the_forwarded_head() {
    let got = forwarded(
        "GET http://a.example:8080/x?y HTTP/1.1\r\nHost: evil\r\nProxy-Authorization: Basic c2VjcmV0\r\nConnection: x-hop, close\r\n\
         X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\nAccept: */*\r\nVia: 1.0 other\r\n\r\n",
    );
    let expected = "GET /x?y HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nVia: 1.0 other\r\nTE: trailers\r\nConnection: TE\r\nVia: 1.1 gw\r\n\r\n";
    assert_eq!(got, expected);
    let got = forwarded("POST http://a HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(got, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nVia: 1.0 gw\r\n\r\n");
    let got = forwarded("POST http://a?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!(got, "POST /?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nVia: 1.1 gw\r\n\r\n");
    let got = forwarded("GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(got, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVia: 1.1 gw\r\n\r\n");
    let got = forwarded("OPTIONS http://a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
    assert_eq!(got, "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\nVia: 1.1 gw\r\n\r\n");
}

#[test]
fn via_says_what_the_request_came_in_over() {
    let cases = [
        (Carrier::Http1, "GET http://a/ HTTP/1.0\r\n\r\n", "\r\nVia: 1.0 gw\r\n"),
        (Carrier::Http1, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nVia: 1.1 gw\r\n"),
        (Carrier::Http2, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nVia: 2.0 gw\r\n"),
    ];
    for (carrier, head, expected) in cases {
        match Asked::parse(head.as_bytes(), "gw", carrier).unwrap().want {
            Want::Forward(_, forward) => {
                assert!(String::from_utf8(forward.head).unwrap().contains(expected), "{carrier:?} {head}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_ends_here() {
    for head in ["OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"] {
        assert!(matches!(parse(head).unwrap().want, Want::Here(None)));
    }
    let trace =
        "TRACE http://a/ HTTP/1.1\r\nHost: a\r\nCookie: c\r\nProxy-Authorization: Basic x\r\nMax-Forwards: 0\r\nX: y\r\n\r\n";
    match parse(trace).unwrap().want {
        Want::Here(Some(body)) => {
            assert_eq!(String::from_utf8(body).unwrap(), "TRACE http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX: y\r\n\r\n")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_ends_here_has_no_body() {
    for line in ["OPTIONS *", "OPTIONS http://a/", "TRACE http://a/"] {
        for body in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
            let head = format!("{line} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n{body}\r\n\r\n");
            assert_eq!(parse(&head).map(|_| ()), Err(Slug::MalformedRequest), "{line} {body}");
        }
    }
}

#[test]
fn credentials_in_an_https_url_are_not_told_back() {
    let fault = Asked::parse(b"GET https://user:hush@a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", "gw", Carrier::Http1).unwrap_err();
    assert_eq!(fault.slug(), Slug::HttpsNeedsConnect);
    assert!(!fault.sentence().contains("hush") && fault.sentence().contains("a.example"));
}

#[test]
fn keep_alive() {
    let cases = [
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", false),
        ("GET http://a/ HTTP/1.0\r\n\r\n", false),
        ("GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
    ];
    for (head, expected) in cases {
        assert_eq!(parse(head).unwrap().keep_alive, expected, "{head}");
    }
}

#[test]
fn the_end_of_a_head_is_found_however_it_drips() {
    let limits = HeadLimits { line: 40, head: 100 };
    let head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nrest";
    for from in 0..34 {
        assert_eq!(end_of_head(&head[..from], 0, limits).unwrap(), None, "{from}");
        assert_eq!(end_of_head(head, from, limits).unwrap(), Some(35), "{from}");
    }
    let slug = |bytes: &[u8]| end_of_head(bytes, 0, limits).map_err(|f| f.slug());
    assert_eq!(slug(b"GET http://a/ HTTP/1.1\nHost: a\n\n"), Err(Slug::MalformedRequest));
    assert_eq!(slug(&[b'a'; 41]), Err(Slug::UriTooLong));
    assert_eq!(slug(format!("GET {} HTTP/1.1\r\n", "a".repeat(50)).as_bytes()), Err(Slug::UriTooLong));
    assert_eq!(slug(format!("GET a b\r\n{}", "X: yyyyyyyyyyyyyyy\r\n".repeat(6)).as_bytes()), Err(Slug::HeaderTooLarge));
    assert_eq!(slug(b""), Ok(None));
}
