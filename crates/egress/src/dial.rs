//! Connects to a target: resolve once, judge every address, race the judged ones (RFC 8305).

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, raise};
use tokio::net::{TcpSocket, TcpStream};

use crate::guard::{self, Guard, Verdict};
use crate::host::Host;
use crate::resolve::{DnsError, DnsSettings, Resolver};
use crate::sys;

/// RFC 8305, section 5: the Connection Attempt Delay it recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How to get out.
#[derive(Clone, Debug)]
pub struct EgressSettings {
    /// DNS.
    pub dns: DnsSettings,
    /// Which addresses may be reached.
    pub guard: Guard,
    /// The longest one set-up may spend on connecting, DNS excluded.
    pub connect_timeout: Duration,
    /// Source addresses to leave from, used in turn; none lets the system choose.
    pub sources: Vec<IpAddr>,
    /// Addresses this process listens on: dialling one of them would be a loop.
    pub own: Vec<SocketAddr>,
}

/// The way out of one event loop.
pub struct Egress {
    settings: EgressSettings,
    resolver: Resolver,
    turn: std::sync::atomic::AtomicUsize,
}

/// A connected target.
#[derive(Debug)]
pub struct Dialed {
    /// The connection, TCP_NODELAY set.
    pub stream: TcpStream,
    /// The address that answered first.
    pub address: SocketAddr,
    /// Time spent on DNS; zero for a literal and for a name that was known.
    pub dns: Duration,
    /// Time spent on connecting.
    pub connect: Duration,
}

/// Why there is no connection, with what the client may know of it.
#[derive(Debug)]
pub struct DialError {
    kind: DialErrorKind,
    host: String,
    port: u16,
    detail: Option<String>,
    /// Time spent on DNS before it failed.
    pub dns: Duration,
    /// Time spent on connecting before it failed.
    pub connect: Duration,
}

#[derive(Debug)]
enum DialErrorKind {
    Private(&'static str),
    Metadata,
    Rule(String),
    Loop,
    Dns(DnsError),
    Refused,
    Unreachable,
    Reset,
    Timeout(Duration),
    NoResources,
}

impl DialError {
    /// The catalogue's fault for this error.
    pub fn fault(&self) -> Fault {
        let (host, port) = (&self.host, self.port);
        let fault = match &self.kind {
            DialErrorKind::Private(class) => raise::target_private(host, class),
            DialErrorKind::Metadata => raise::target_metadata(host),
            DialErrorKind::Rule(rule) => raise::target_denied(host, rule),
            DialErrorKind::Loop => raise::loop_detected(format_args!("{host}:{port} is this gateway itself")),
            DialErrorKind::Dns(DnsError::NotFound) => raise::dns_not_found(host, "NXDOMAIN"),
            DialErrorKind::Dns(DnsError::NoAddress) => raise::dns_not_found(host, "NOERROR"),
            DialErrorKind::Dns(DnsError::Failed(rcode)) => raise::dns_failed(host, rcode),
            DialErrorKind::Dns(DnsError::Timeout) => raise::dns_timeout(host),
            DialErrorKind::Refused => raise::target_refused(host, port),
            DialErrorKind::Unreachable => raise::target_unreachable(host, port),
            DialErrorKind::Reset => raise::target_reset(host, port),
            DialErrorKind::Timeout(after) => raise::connect_timeout(host, port, Seconds(*after)),
            DialErrorKind::NoResources => raise::overloaded("sockets"),
        };
        match &self.detail {
            Some(detail) => fault.with_detail(detail),
            None => fault,
        }
    }
}

impl Egress {
    /// A way out; fails when DNS can't be set up.
    pub fn new(settings: EgressSettings) -> Result<Self, String> {
        let resolver = Resolver::new(&settings.dns)?;
        Ok(Self { settings, resolver, turn: Default::default() })
    }

    /// Connects to a target before the deadline.
    pub async fn dial(&self, host: &Host, port: u16, deadline: Instant) -> Result<Dialed, DialError> {
        self.dial_unless(host, port, deadline, &|_| None).await
    }

    /// Connects to a target before the deadline, to no address for which `denied` names a rule.
    pub async fn dial_unless(
        &self,
        host: &Host,
        port: u16,
        deadline: Instant,
        denied: &dyn Fn(IpAddr) -> Option<String>,
    ) -> Result<Dialed, DialError> {
        let fail = |kind, detail, dns, connect| DialError { kind, host: host.to_string(), port, detail, dns, connect };
        let zero = Duration::ZERO;
        let started = Instant::now();
        let literal;
        let resolved;
        let (addresses, dns): (&[IpAddr], Duration) = match host {
            Host::Ip(ip) => {
                literal = [*ip];
                (&literal, Duration::ZERO)
            }
            Host::Name(name) => {
                if guard::judge_name(name) == Verdict::Metadata {
                    return Err(fail(DialErrorKind::Metadata, None, zero, zero));
                }
                // What is known already is no lookup, and takes no time as one.
                let known = self.resolver.known(name);
                let asked = known.is_none();
                resolved = match known {
                    Some(known) => known,
                    None => tokio::time::timeout_at(deadline.into(), self.resolver.lookup(name))
                        .await
                        .unwrap_or(Err(DnsError::Timeout))
                        .map_err(|e| fail(DialErrorKind::Dns(e), None, started.elapsed(), zero))?,
                };
                (&resolved, if asked { started.elapsed() } else { zero })
            }
        };
        let checked = self.judge(addresses, port, denied).map_err(|kind| fail(kind, None, dns, zero))?;
        let connecting = Instant::now();
        let until = deadline.min(connecting + self.settings.connect_timeout);
        let outcome = match checked.as_slice() {
            // The common case pays for no race.
            [only] => tokio::time::timeout_at(until.into(), self.connect(*only)).await,
            several => tokio::time::timeout_at(until.into(), self.race(several)).await,
        };
        match outcome {
            Ok(Ok((stream, address))) => Ok(Dialed { stream, address, dns, connect: connecting.elapsed() }),
            Ok(Err((error, address))) => Err(fail(
                classify(&error, connecting.elapsed()),
                Some(format!("connect to {address}: {error}")),
                dns,
                connecting.elapsed(),
            )),
            Err(_) => {
                let waited = until.saturating_duration_since(connecting);
                let detail = format!("no answer from {checked:?} within {waited:?}");
                Err(fail(DialErrorKind::Timeout(waited), Some(detail), dns, connecting.elapsed()))
            }
        }
    }

    /// The addresses that may be connected to, in the order to try them; or why there is none.
    fn judge(
        &self,
        addresses: &[IpAddr],
        port: u16,
        denied: &dyn Fn(IpAddr) -> Option<String>,
    ) -> Result<Vec<SocketAddr>, DialErrorKind> {
        let mut allowed = Vec::with_capacity(addresses.len());
        let mut refusal = DialErrorKind::Dns(DnsError::NoAddress);
        for ip in addresses.iter().copied().map(guard::canonical) {
            match self.settings.guard.judge(ip) {
                Verdict::Private(class) => refusal = DialErrorKind::Private(class),
                Verdict::Metadata => refusal = DialErrorKind::Metadata,
                Verdict::Allowed => match denied(ip) {
                    Some(rule) => refusal = DialErrorKind::Rule(rule),
                    None if self.is_own(ip, port) => refusal = DialErrorKind::Loop,
                    None => allowed.push(SocketAddr::new(ip, port)),
                },
            }
        }
        if allowed.is_empty() { Err(refusal) } else { Ok(interleave(allowed)) }
    }

    /// Whether connecting there would reach this process: the port is one of ours, and the address
    /// is the listener's or, for a wildcard listener, any address of this machine.
    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.settings
            .own
            .iter()
            .filter(|own| own.port() == port)
            .any(|own| own.ip() == ip || (own.ip().is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()))
    }

    async fn connect(&self, address: SocketAddr) -> Result<(TcpStream, SocketAddr), (io::Error, SocketAddr)> {
        let attempt = async {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(source) = self.source(address) {
                // Without it every bound socket would take a port of its own before connecting,
                // and a busy gateway would run out of them.
                sys::bind_address_no_port(&socket)?;
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        attempt.await.map(|stream| (stream, address)).map_err(|e| (e, address))
    }

    /// The next source address of the target's family.
    fn source(&self, address: SocketAddr) -> Option<IpAddr> {
        let fitting = || self.settings.sources.iter().filter(|s| s.is_ipv4() == address.is_ipv4());
        match fitting().count() {
            0 => None,
            n => fitting().nth(self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % n).copied(),
        }
    }

    /// Happy eyeballs: a new attempt starts when the last one failed or took [`ATTEMPT_DELAY`]; the
    /// first connection wins, the others are dropped. The error told is the last one.
    async fn race(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), (io::Error, SocketAddr)> {
        type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(TcpStream, SocketAddr), (io::Error, SocketAddr)>> + Send + 'a>>;
        let mut waiting = addresses.iter();
        let mut running: Vec<Attempt<'_>> = Vec::new();
        let mut last = None;
        loop {
            if let Some(address) = waiting.next() {
                running.push(Box::pin(self.connect(*address)));
            } else if running.is_empty() {
                let none = (io::Error::from(io::ErrorKind::AddrNotAvailable), SocketAddr::from(([0, 0, 0, 0], 0)));
                return Err(last.unwrap_or(none));
            }
            let more = !waiting.as_slice().is_empty();
            let mut delay = Box::pin(tokio::time::sleep(ATTEMPT_DELAY));
            let step = poll_fn(|cx| {
                let mut index = 0;
                while index < running.len() {
                    match running[index].as_mut().poll(cx) {
                        Poll::Ready(Ok(won)) => return Poll::Ready(Some(won)),
                        Poll::Ready(Err(lost)) => {
                            last = Some(lost);
                            drop(running.swap_remove(index));
                            if more || running.is_empty() {
                                return Poll::Ready(None);
                            }
                        }
                        Poll::Pending => index += 1,
                    }
                }
                if more { delay.as_mut().poll(cx).map(|()| None) } else { Poll::Pending }
            });
            if let Some(won) = step.await {
                return Ok(won);
            }
        }
    }
}

/// RFC 8305, section 4: families take turns, IPv6 first; the order inside a family is kept.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let (mut six, mut four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    six.reverse();
    four.reverse();
    loop {
        match (six.pop(), four.pop()) {
            (None, None) => return ordered,
            (a, b) => ordered.extend(a.into_iter().chain(b)),
        }
    }
}

/// What the system's error says of the target. Kinds that say nothing of it count as unreachable.
fn classify(error: &io::Error, after: Duration) -> DialErrorKind {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => DialErrorKind::Refused,
        Some(Errno::CONNRESET | Errno::CONNABORTED) => DialErrorKind::Reset,
        Some(Errno::TIMEDOUT) => DialErrorKind::Timeout(after),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => DialErrorKind::NoResources,
        _ => DialErrorKind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let a = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let mixed = vec![a("1.1.1.1"), a("1.1.1.2"), a("2::1"), a("1.1.1.3"), a("2::2")];
        let expected = vec![a("2::1"), a("1.1.1.1"), a("2::2"), a("1.1.1.2"), a("1.1.1.3")];
        assert_eq!(interleave(mixed), expected);
    }
}
