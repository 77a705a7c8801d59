//! A resolver that answers, fails or stays silent by name, over UDP and TCP on one port.

mod message;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::rr::{Name, RecordType};

use crate::server_thread::ServerThread;

/// What is said when asked for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses (A or AAAA, as asked for; none of the asked family is NOERROR without records), for `ttl` seconds.
    Addresses {
        /// The addresses.
        ips: Vec<IpAddr>,
        /// Seconds.
        ttl: u32,
    },
    /// An alias, followed within this server's own table.
    Alias {
        /// The canonical name.
        to: String,
        /// Seconds.
        ttl: u32,
    },
    /// No such name, with an SOA that lets it be remembered for `ttl` seconds.
    NxDomain {
        /// Seconds.
        ttl: u32,
    },
    /// RCODE 2.
    ServFail,
    /// RCODE 5.
    Refused,
    /// No answer at all.
    Silence,
    /// Over UDP only the truncation bit, which sends the resolver to TCP; over TCP these addresses, for 60 seconds.
    OnlyOverTcp(Vec<IpAddr>),
    /// Bytes that are no DNS message.
    Garbage,
}

impl Answer {
    /// One address, for a minute.
    ///
    /// # Panics
    /// If `ip` is not an address.
    #[must_use]
    pub fn ip(ip: &str) -> Self {
        Self::ips(&[ip])
    }

    /// Several addresses, for a minute.
    ///
    /// # Panics
    /// If one is not an address.
    #[must_use]
    pub fn ips(ips: &[&str]) -> Self {
        let ips = ips.iter().map(|ip| ip.parse().expect("the test names an IP address")).collect();
        Self::Addresses { ips, ttl: 60 }
    }

    /// The same with another time to live, where there is one.
    #[must_use]
    pub fn for_seconds(mut self, seconds: u32) -> Self {
        match &mut self {
            Self::Addresses { ttl, .. } | Self::Alias { ttl, .. } | Self::NxDomain { ttl } => *ttl = seconds,
            Self::ServFail | Self::Refused | Self::Silence | Self::OnlyOverTcp(_) | Self::Garbage => {}
        }
        self
    }
}

/// A running scripted resolver. A name it was not told of does not exist.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    table: Arc<Mutex<Table>>,
    _thread: ServerThread,
}

#[derive(Debug, Default)]
struct Table {
    names: HashMap<String, Vec<Answer>>,
    asked: HashMap<(String, RecordType), usize>,
}

impl DnsServer {
    /// Starts with these names; more can be told later with [`DnsServer::set`].
    ///
    /// # Panics
    /// If the machine has no loopback.
    #[must_use]
    pub fn start(names: &[(&str, Answer)]) -> Self {
        let (udp, tcp, address) = one_port_for_both();
        let table = Arc::new(Mutex::new(Table::default()));
        let shared = Arc::clone(&table);
        let thread = ServerThread::run("dns", move || message::serve(udp, tcp, shared));
        let server = Self { address, table, _thread: thread };
        for (name, answer) in names {
            server.set(name, vec![answer.clone()]);
        }
        server
    }

    /// Where it listens, UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for `name` from now on: the first question of each type (A, AAAA) gets the first answer and so on,
    /// the last one repeats. Two answers make a rebinding name.
    pub fn set(&self, name: &str, answers: Vec<Answer>) {
        let mut table = lock(&self.table);
        let name = canonical(name);
        table.asked.retain(|(asked, _), _| *asked != name);
        table.names.insert(name, answers);
    }

    /// How often `name` was asked for, A and AAAA together.
    #[must_use]
    pub fn queries(&self, name: &str) -> usize {
        let name = canonical(name);
        lock(&self.table).asked.iter().filter(|((asked, _), _)| *asked == name).map(|(_, times)| times).sum()
    }

    /// How often it was asked anything.
    #[must_use]
    pub fn total_queries(&self) -> usize {
        lock(&self.table).asked.values().sum()
    }
}

/// UDP and TCP share a port number; the one UDP is given may be taken in TCP by someone else, so try again.
fn one_port_for_both() -> (std::net::UdpSocket, std::net::TcpListener, SocketAddr) {
    for _ in 0..100 {
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = std::net::TcpListener::bind(address) {
            udp.set_nonblocking(true).expect("a socket can be made non-blocking");
            tcp.set_nonblocking(true).expect("a socket can be made non-blocking");
            return (udp, tcp, address);
        }
    }
    panic!("no port of loopback is free in both UDP and TCP");
}

impl Table {
    fn next(&mut self, name: &Name, asked: RecordType) -> Answer {
        let name = canonical(&name.to_ascii());
        let times = self.asked.entry((name.clone(), asked)).or_default();
        let turn = *times;
        *times += 1;
        let answers = self.names.get(&name).map(Vec::as_slice).unwrap_or_default();
        answers.get(turn).or(answers.last()).cloned().unwrap_or(Answer::NxDomain { ttl: 60 })
    }
}

/// Lower case without the final dot: resolvers ask in mixed case (0x20) and fully qualified.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
