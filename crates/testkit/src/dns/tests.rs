//! Every kind of answer, asked for over a socket.

use std::net::{Ipv4Addr, UdpSocket};
use std::str::FromStr as _;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, DnsServer};

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_str(name).expect("a good name"), kind));
    message.to_vec().expect("a good message")
}

fn ask(server: &DnsServer, name: &str, kind: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a legal timeout");
    socket.send_to(&question(name, kind), server.address()).expect("loopback");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Message::from_vec(&buffer[..length]).ok()
}

fn addresses(message: &Message) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::A(A(ip)) => ip.to_string(),
        RData::AAAA(AAAA(ip)) => ip.to_string(),
        RData::CNAME(CNAME(name)) => name.to_string(),
        other => format!("{other:?}"),
    };
    message.answers.iter().map(text).collect()
}

#[test]
fn answers_by_name() {
    let alias = Answer::Alias { to: "two.test".to_owned(), ttl: 5 };
    let server = DnsServer::start(&[
        ("two.test", Answer::ips(&["192.0.2.1", "2001:db8::1"]).for_seconds(7)),
        ("alias.test", alias),
        ("broken.test", Answer::ServFail),
        ("refused.test", Answer::Refused),
        ("silent.test", Answer::Silence),
        ("garbage.test", Answer::Garbage),
    ]);
    let table = [
        ("TWO.test.", RecordType::A, ResponseCode::NoError, vec!["192.0.2.1"]),
        ("two.test.", RecordType::AAAA, ResponseCode::NoError, vec!["2001:db8::1"]),
        ("alias.test.", RecordType::A, ResponseCode::NoError, vec!["two.test.", "192.0.2.1"]),
        ("broken.test.", RecordType::A, ResponseCode::ServFail, vec![]),
        ("refused.test.", RecordType::A, ResponseCode::Refused, vec![]),
        ("unknown.test.", RecordType::A, ResponseCode::NXDomain, vec![]),
    ];
    for (name, kind, code, expected) in table {
        let reply = ask(&server, name, kind).unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(reply.metadata.response_code, code, "{name}");
        assert_eq!(addresses(&reply), expected, "{name}");
    }
    let ttl = ask(&server, "two.test.", RecordType::A).expect("an answer").answers[0].ttl;
    assert_eq!(ttl, 7);
    assert!(ask(&server, "silent.test.", RecordType::A).is_none());
    assert!(ask(&server, "garbage.test.", RecordType::A).is_none());
    assert_eq!((server.queries("two.test"), server.queries("silent.test")), (4, 1));
}

#[test]
fn a_name_can_be_rebound() {
    let server = DnsServer::start(&[]);
    server.set("rebind.test", vec![Answer::ip("192.0.2.1"), Answer::ip("127.0.0.1")]);
    let asked: Vec<_> =
        (0..3).map(|_| addresses(&ask(&server, "rebind.test.", RecordType::A).expect("an answer")).join(",")).collect();
    assert_eq!(asked, ["192.0.2.1", "127.0.0.1", "127.0.0.1"]);
}

#[tokio::test]
async fn a_truncated_answer_is_whole_over_tcp() {
    let ips = vec!["192.0.2.9".parse().expect("an address")];
    let server = DnsServer::start(&[("big.test", Answer::OnlyOverTcp(ips))]);
    let short = ask(&server, "big.test.", RecordType::A).expect("an answer");
    assert!(short.metadata.truncation && short.answers.is_empty());

    let mut stream = TcpStream::connect(server.address()).await.expect("the same port");
    let query = question("big.test.", RecordType::A);
    let length = u16::try_from(query.len()).expect("a short question");
    stream.write_all(&[length.to_be_bytes().as_slice(), &query].concat()).await.expect("it reads");
    let length = stream.read_u16().await.expect("it answers");
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await.expect("it answers");
    assert_eq!(addresses(&Message::from_vec(&reply).expect("a message")), ["192.0.2.9"]);
}
