//! The door for clients: what lies between accepting a connection and its first request: PROXY protocol, TLS, ALPN.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use outgate_egress::Host;
use outgate_faults::fact::Seconds;
use outgate_faults::raise;
use outgate_meter::Step;
use outgate_records::Times;
use ppp::{HeaderResult, PartialResult};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::Client;
use crate::core::Core;
use crate::h2_door;
use crate::places::Place;
use crate::record::Record;
use crate::session::{converse, refuse};
use crate::settings::ListenerSettings;
use crate::stream::Stream;
use crate::visit::Visit;

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// The longest PROXY protocol header read; the ones that say an address are 108 bytes (v1) and 52 and some (v2).
const LONGEST_HEADER: usize = 1024;

/// The life of one client connection, from where it was accepted. `place` is its place among the connections.
pub(crate) async fn enter(core: Rc<Core>, mut io: TcpStream, peer: SocketAddr, listener: Rc<ListenerSettings>, mut place: Place) {
    let settings = core.settings();
    let timeouts = &settings.timeouts;
    let mut peer = peer;
    if listener.is_behind(peer.ip()) {
        match who_is_behind(&core, &mut io, peer).await {
            Some(source) => peer = source,
            None => return,
        }
        if let Err(fault) = place.belongs_to(peer.ip()) {
            let client = Client::new(Stream::Plain(io), peer, timeouts);
            return refuse(core, client, listener, fault).await;
        }
    }
    let Some(tls) = &listener.tls else {
        return converse(core.clone(), Client::new(Stream::Plain(io), peer, timeouts), listener).await;
    };
    let mut first = [0];
    match timeout_at(Instant::now() + timeouts.keep_alive, io.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == HANDSHAKE_RECORD => {}
        Ok(Ok(1)) => {
            // Told as it can be read: in clear.
            let client = Client::new(Stream::Plain(io), peer, timeouts);
            let spoken = match first[0] {
                4 | 5 => "SOCKS in clear",
                _ => "HTTP in clear",
            };
            return refuse(core, client, listener, raise::wrong_protocol(spoken, "TLS (https:// in the proxy's URL)")).await;
        }
        Ok(_) => return,
        Err(_) => {
            let record = Record { ended_by: Some("silent"), ..tls_record(None) };
            return Visit::unasked(&core, peer, record, &raise::request_timeout(Seconds(timeouts.keep_alive)));
        }
    }
    let in_hand = core.activity.begin();
    let begun = Instant::now();
    let shaken = timeout_at(Instant::now() + timeouts.head, TlsAcceptor::from(tls.clone()).accept(io)).await;
    drop(in_hand);
    let handshake = begun.elapsed();
    if let (Ok(Ok(_)), Some(meter)) = (&shaken, &core.meter) {
        meter.time(Step::Tls, handshake);
    }
    let tls_record = || tls_record(Some(handshake));
    match shaken {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(h2_door::ALPN) => {
            let called = called(&stream);
            h2_door::attend(core.clone(), stream, peer, &called, handshake, listener).await;
        }
        Ok(Ok(stream)) => {
            let mut client = Client::new(Stream::Tls(Box::new(stream)), peer, timeouts);
            client.handshake = Some(handshake);
            converse(core.clone(), client, listener).await;
        }
        // What went wrong was told in an alert, as far as it can be.
        Ok(Err(error)) => {
            let fault = raise::client_tls_failed(tls_trouble(&error)).with_detail(error);
            Visit::unasked(&core, peer, tls_record(), &fault);
        }
        Err(_) => Visit::unasked(&core, peer, tls_record(), &raise::request_timeout(Seconds(timeouts.head))),
    }
    drop(place);
}

/// The host that a client connected to, as it stands in an authority: what it said in its handshake, or the address.
fn called(stream: &TlsStream<TcpStream>) -> String {
    let (io, tls) = stream.get_ref();
    let address = || io.local_addr().map(|address| Host::Ip(address.ip().to_canonical()).to_string());
    tls.server_name().map_or_else(|| address().unwrap_or_default(), str::to_owned)
}

/// What is known of a connection that does not get beyond its TLS handshake, which took so long.
fn tls_record(handshake: Option<Duration>) -> Record {
    Record { protocol: "https", times: Times { tls: handshake, ..Times::default() }, ..Record::default() }
}

/// Why there is no TLS with a client, in words of this gateway's own.
pub(crate) fn tls_trouble(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => format!("the client sent the alert {alert:?}"),
        Some(rustls::Error::NoCertificatesPresented) => "the client showed no certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(_)) => "the client's certificate is not accepted".to_owned(),
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            "client and proxy have no version, cipher or protocol in common".to_owned()
        }
        Some(_) => "what the client sent is no TLS handshake".to_owned(),
        None => "the client left in the middle of the handshake".to_owned(),
    }
}

/// Reads whom a load balancer speaks for, itself where it says nobody; none ends the connection.
async fn who_is_behind(core: &Core, io: &mut TcpStream, balancer: SocketAddr) -> Option<SocketAddr> {
    let patience = core.settings().timeouts.head;
    let fault = match timeout_at(Instant::now() + patience, read_proxy_header(io)).await {
        // The proxy's own health checks speak for nobody else.
        Ok(Ok(source)) => return Some(source.unwrap_or(balancer)),
        // Some health checks only connect.
        Ok(Err(NoHeader::Gone)) => return None,
        Ok(Err(NoHeader::Wrong(why))) => raise::wrong_protocol(why, "a PROXY protocol header first"),
        Err(_) => raise::request_timeout(Seconds(patience)).with_detail("the PROXY protocol header did not come"),
    };
    tracing::warn!(%balancer, why = fault.sentence(), "a configured proxy sent no PROXY protocol header");
    Visit::unasked(core, balancer, Record { protocol: "proxy", ..Record::default() }, &fault);
    None
}

/// Why there is no PROXY protocol header.
enum NoHeader {
    /// The connection ended or failed before its end.
    Gone,
    /// Something else came.
    Wrong(&'static str),
}

/// Reads a PROXY protocol header, version 1 or 2, and not a byte more; `None` when it says no address.
async fn read_proxy_header(io: &mut TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let gone = |_: io::Error| NoHeader::Gone;
    let mut buffer = [0; LONGEST_HEADER];
    let mut taken = 0;
    loop {
        // Looked at before it is taken: what follows the header belongs to the client.
        let there = taken + io.peek(&mut buffer[taken..]).await.map_err(gone)?;
        if there == taken {
            return Err(NoHeader::Gone);
        }
        let header = HeaderResult::parse(&buffer[..there]);
        if header.is_incomplete() {
            if there == LONGEST_HEADER {
                return Err(NoHeader::Wrong("a header of more than 1024 bytes"));
            }
            io.read_exact(&mut buffer[taken..there]).await.map_err(gone)?;
            taken = there;
            continue;
        }
        let (length, source) = match &header {
            HeaderResult::V1(Ok(header)) => (header.header.len(), source_v1(&header.addresses)),
            HeaderResult::V2(Ok(header)) => (header.len(), source_v2(header)),
            HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(NoHeader::Wrong("something else")),
        };
        io.read_exact(&mut buffer[taken..length]).await.map_err(gone)?;
        return Ok(source);
    }
}

fn source_v1(addresses: &ppp::v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        ppp::v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
        ppp::v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
        ppp::v1::Addresses::Unknown => None,
    }
}

fn source_v2(header: &ppp::v2::Header<'_>) -> Option<SocketAddr> {
    match (&header.command, &header.addresses) {
        (ppp::v2::Command::Local, _) => None,
        (_, ppp::v2::Addresses::IPv4(a)) => Some((a.source_address, a.source_port).into()),
        (_, ppp::v2::Addresses::IPv6(a)) => Some((a.source_address, a.source_port).into()),
        (_, ppp::v2::Addresses::Unix(_) | ppp::v2::Addresses::Unspecified) => None,
    }
}
