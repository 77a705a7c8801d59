//! DNS messages in and out: UDP, TCP, and what the table says put into RFC 1035's form.

use std::io;
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Answer, Table, canonical, lock};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

pub(super) async fn serve(udp: std::net::UdpSocket, tcp: std::net::TcpListener, table: Arc<Mutex<Table>>) {
    let udp = UdpSocket::from_std(udp).expect("the socket is non-blocking");
    let tcp = TcpListener::from_std(tcp).expect("the socket is non-blocking");
    let over_tcp = async {
        while let Ok((stream, _)) = tcp.accept().await {
            let table = Arc::clone(&table);
            // A client that hangs up has what it wanted.
            tokio::spawn(async move { drop(serve_stream(stream, &table).await) });
        }
    };
    let over_udp = async {
        let mut buffer = [0; 4096];
        loop {
            // An error here is a late ICMP answer to a datagram sent before; the socket itself is fine.
            let Ok((length, from)) = udp.recv_from(&mut buffer).await else {
                continue;
            };
            if let Some(reply) = answer(&buffer[..length], &table, Transport::Udp) {
                drop(udp.send_to(&reply, from).await);
            }
        }
    };
    tokio::join!(over_tcp, over_udp);
}

/// RFC 1035 section 4.2.2: two bytes of length before each message.
async fn serve_stream(mut stream: TcpStream, table: &Mutex<Table>) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = answer(&query, table, Transport::Tcp) {
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            stream.write_all(&[length.to_be_bytes().as_slice(), &reply].concat()).await?;
        }
    }
}

fn answer(query: &[u8], table: &Mutex<Table>, transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?.clone();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    match fill(&mut reply, &question, &mut lock(table), transport) {
        Filled::Reply => reply.to_vec().ok(),
        Filled::Silence => None,
        Filled::Garbage => Some(b"not a DNS message".to_vec()),
    }
}

enum Filled {
    Reply,
    Silence,
    Garbage,
}

fn fill(reply: &mut Message, question: &Query, table: &mut Table, transport: Transport) -> Filled {
    let mut name = question.name().clone();
    // Eight aliases is what resolvers follow at most; a loop in the table ends here too.
    for _ in 0..8 {
        match table.next(&name, question.query_type()) {
            Answer::Addresses { ips, ttl } => {
                add_addresses(reply, &name, question.query_type(), &ips, ttl);
                return Filled::Reply;
            }
            Answer::OnlyOverTcp(ips) => {
                match transport {
                    Transport::Udp => reply.metadata.truncation = true,
                    Transport::Tcp => add_addresses(reply, &name, question.query_type(), &ips, 60),
                }
                return Filled::Reply;
            }
            Answer::Alias { to, ttl } => {
                let Ok(to) = Name::from_str(&format!("{}.", canonical(&to))) else {
                    break;
                };
                reply.add_answer(Record::from_rdata(name, ttl, RData::CNAME(CNAME(to.clone()))));
                name = to;
            }
            Answer::NxDomain { ttl } => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                add_authority(reply, &name, ttl);
                return Filled::Reply;
            }
            Answer::ServFail => {
                reply.metadata.response_code = ResponseCode::ServFail;
                return Filled::Reply;
            }
            Answer::Refused => {
                reply.metadata.response_code = ResponseCode::Refused;
                return Filled::Reply;
            }
            Answer::Silence => return Filled::Silence,
            Answer::Garbage => return Filled::Garbage,
        }
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    Filled::Reply
}

fn add_addresses(reply: &mut Message, name: &Name, asked: RecordType, ips: &[IpAddr], ttl: u32) {
    let before = reply.answers.len();
    for ip in ips {
        let data = match (ip, asked) {
            (IpAddr::V4(ip), RecordType::A) => RData::A(A(*ip)),
            (IpAddr::V6(ip), RecordType::AAAA) => RData::AAAA(AAAA(*ip)),
            _ => continue,
        };
        reply.add_answer(Record::from_rdata(name.clone(), ttl, data));
    }
    if reply.answers.len() == before {
        add_authority(reply, name, ttl);
    }
}

/// RFC 2308: a negative answer is remembered for the lesser of the SOA's own TTL and its MINIMUM.
fn add_authority(reply: &mut Message, name: &Name, ttl: u32) {
    let soa = SOA::new(name.clone(), name.clone(), 1, 3600, 600, 86_400, ttl);
    reply.add_authority(Record::from_rdata(name.clone(), ttl, RData::SOA(soa)));
}
