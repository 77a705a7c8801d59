//! A connection to a host: look it up, race its addresses (RFC 8305), shake hands over TLS if it is spoken to so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::trust::Trust;
use super::{Broken, Failed, Timings, Why};
use crate::classify::{Breakage, Manner, Phase};

/// RFC 8305, section 5: the Connection Attempt Delay it recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// A connection, and what it took.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub stream: Stream,
    /// The address that answered.
    pub address: SocketAddr,
    /// How long each step took.
    pub timings: Timings,
}

/// Connects to `host` in clear, or over TLS where `trust` judges its certificate.
pub(super) async fn reach(host: &str, port: u16, trust: Option<&Trust>, deadline: Instant) -> Result<Reached, Failed> {
    let mut timings = Timings::default();
    let mut address = None;
    match steps(host, port, trust, deadline, &mut timings, &mut address).await {
        Ok((stream, address)) => Ok(Reached { stream, address, timings }),
        Err(Broken { breakage, detail }) => Err(Failed { why: Why::Broken(breakage), detail, timings, address }),
    }
}

async fn steps(
    host: &str,
    port: u16,
    trust: Option<&Trust>,
    deadline: Instant,
    timings: &mut Timings,
    reached: &mut Option<SocketAddr>,
) -> Result<(Stream, SocketAddr), Broken> {
    let begun = Instant::now();
    let addresses = look_up(host, port, deadline).await;
    if host.parse::<IpAddr>().is_err() {
        timings.dns = Some(begun.elapsed());
    }
    let addresses = addresses?;

    let begun = Instant::now();
    let connected = timeout_at(deadline.into(), race(&addresses)).await;
    let took = begun.elapsed();
    timings.tcp = Some(took);
    let (stream, address) = connected
        .map_err(|_| Broken::new(Breakage::timed_out(Phase::Tcp, took), format_args!("no answer from {}", shown(&addresses))))?
        .map_err(|(error, address)| {
            *reached = Some(address);
            Broken::new(Breakage::of(Phase::Tcp, &error), format_args!("connect to {address}: {error}"))
        })?;
    *reached = Some(address);

    let Some(trust) = trust else { return Ok((Stream::tcp(stream), address)) };
    let begun = Instant::now();
    let shaken = shake_hands(stream, host, trust, deadline).await;
    timings.tls = Some(begun.elapsed());
    shaken.map(|stream| (stream, address))
}

/// The addresses of a name, the families in turn, beginning with the one that the system puts first.
pub(super) async fn look_up(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Broken> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let begun = Instant::now();
    let found = timeout_at(deadline.into(), tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| Broken::new(Breakage::timed_out(Phase::Dns, begun.elapsed()), format_args!("no answer about {host}")))?
        .map_err(|error| Broken::new(Breakage::of(Phase::Dns, &error), format_args!("{host}: {error}")))?;
    let found: Vec<SocketAddr> = found.collect();
    let Some(leader) = found.first() else {
        return Err(Broken::new(Breakage::new(Phase::Dns, Manner::NotFound), format_args!("{host} has no address")));
    };
    let (first, second): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv4() == leader.is_ipv4());
    let mut second = second.into_iter();
    let mut all: Vec<SocketAddr> = first.into_iter().flat_map(|address| [Some(address), second.next()]).flatten().collect();
    all.extend(second);
    all.truncate(MOST_ADDRESSES);
    Ok(all)
}

/// A new attempt begins when the last one failed or took [`ATTEMPT_DELAY`]; the first connection wins. The error told is
/// the last one.
async fn race(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), (io::Error, SocketAddr)> {
    let mut waiting = addresses.iter().copied();
    let mut running = JoinSet::new();
    let mut failure = None;
    loop {
        let started = waiting.next();
        if let Some(address) = started {
            running.spawn(async move { (connect(address).await, address) });
        }
        let ended = if waiting.len() == 0 {
            running.join_next().await
        } else {
            match tokio::time::timeout(ATTEMPT_DELAY, running.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok((Ok(stream), address))) => return Ok((stream, address)),
            Some(Ok((Err(error), address))) => failure = Some((error, address)),
            // A task that did not end by itself: the runtime is going down.
            Some(Err(ended)) => failure = addresses.first().map(|address| (io::Error::other(ended), *address)),
            None => {
                let nothing = || (io::Error::other("there was no address"), SocketAddr::from(([0, 0, 0, 0], 0)));
                return Err(failure.unwrap_or_else(nothing));
            }
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn shake_hands(stream: TcpStream, host: &str, trust: &Trust, deadline: Instant) -> Result<Stream, Broken> {
    let begun = Instant::now();
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        let manner = Manner::Certificate("for another name".to_owned());
        Broken::new(Breakage::new(Phase::Tls, manner), format_args!("no certificate can be for {host}"))
    })?;
    match timeout_at(deadline.into(), TlsConnector::from(trust.config()).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Stream::tls(stream)),
        Ok(Err(error)) => Err(Broken::new(Breakage::of(Phase::Tls, &error), error)),
        Err(_) => Err(Broken::new(
            Breakage::timed_out(Phase::Tls, begun.elapsed()),
            "the TLS handshake did not end before the deadline",
        )),
    }
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
