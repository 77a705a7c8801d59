//! Each framing read, each breach of it told.

use super::{Expect, Reply, Wire, WireError};
use crate::script::{Script, Step};

async fn reply_to(bytes: &[u8], expect: Expect) -> Result<Reply, WireError> {
    let script = Script::start(vec![Step::ReadHead, Step::Write(bytes.to_vec()), Step::Close]);
    let mut wire = Wire::connect(script.address()).await?;
    wire.send(b"GET / HTTP/1.1\r\n\r\n").await?;
    wire.reply(expect).await
}

#[tokio::test]
async fn reads_each_framing() {
    let table: [(&str, &[u8], Expect, &str); 5] = [
        ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcXX", Expect::Body, "abc"),
        ("close", b"HTTP/1.1 200 OK\r\n\r\nabcdef", Expect::Body, "abcdef"),
        (
            "chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: v\r\n\r\n",
            Expect::Body,
            "abcd",
        ),
        ("head", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Expect::NoBody, ""),
        ("refused tunnel", b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", Expect::Tunnel, "no"),
    ];
    for (name, bytes, expect, body) in table {
        let reply = reply_to(bytes, expect).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(reply.text(), body, "{name}");
        assert_eq!(reply.trailers.len(), usize::from(name == "chunks"), "{name}");
    }
}

#[tokio::test]
async fn keeps_interim_answers_apart() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let reply = reply_to(bytes, Expect::Body).await.expect("a whole answer");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.interim.iter().map(|reply| reply.status).collect::<Vec<_>>(), [100, 103]);
    assert_eq!(reply.interim[1].header("link"), Some("a"));
}

#[tokio::test]
async fn refuses_what_is_not_http() {
    let table: [(&str, &[u8]); 4] = [
        ("no reason field", b"HTTP/1.1 200\r\n\r\n"),
        ("blank before colon", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"),
        ("two framings", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"),
        ("chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ];
    for (name, bytes) in table {
        let error = reply_to(bytes, Expect::Body).await.expect_err(name);
        assert!(matches!(error, WireError::Malformed(_)), "{name}: {error}");
    }
}
