//! The door for clients: what lies between accepting a connection and its first request: PROXY protocol, TLS, ALPN.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use outgate_faults::raise;
use ppp::{HeaderResult, PartialResult};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::core::Core;
use crate::h2_door;
use crate::listen::Place;
use crate::session::{converse, refuse};
use crate::settings::ListenerSettings;
use crate::stream::Stream;

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// The longest PROXY protocol header read; the ones that say an address are 108 bytes (v1) and 52 and some (v2).
const LONGEST_HEADER: usize = 1024;

/// The life of one client connection, from where it was accepted. `place` is its place among the connections.
pub(crate) async fn enter(core: Rc<Core>, io: TcpStream, peer: SocketAddr, listener: Rc<ListenerSettings>, mut place: Place) {
    let settings = core.settings();
    let timeouts = &settings.timeouts;
    let mut peer = peer;
    let mut io = io;
    if listener.is_behind(peer.ip()) {
        let deadline = Instant::now() + timeouts.head;
        match timeout_at(deadline, read_proxy_header(&mut io)).await {
            Ok(Ok(Some(source))) => peer = source,
            // The proxy's own health checks speak for nobody else.
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return tracing::warn!(%peer, why, "a configured proxy sent no PROXY protocol header"),
            Err(_) => return tracing::warn!(%peer, "a configured proxy's PROXY protocol header took too long"),
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
        _ => return,
    }
    let in_hand = core.activity.begin();
    let shaken = timeout_at(Instant::now() + timeouts.head, TlsAcceptor::from(tls.clone()).accept(io)).await;
    drop(in_hand);
    match shaken {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(h2_door::ALPN) => {
            h2_door::attend(core.clone(), stream, peer, listener).await;
        }
        Ok(Ok(stream)) => {
            let client = Client::new(Stream::Tls(Box::new(stream)), peer, timeouts);
            converse(core.clone(), client, listener).await;
        }
        // What went wrong was told in an alert, as far as it can be.
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a client's TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a client's TLS handshake took too long"),
    }
    drop(place);
}

/// Reads a PROXY protocol header, version 1 or 2, and not a byte more; `None` when it says no address.
async fn read_proxy_header(io: &mut TcpStream) -> Result<Option<SocketAddr>, String> {
    let fail = |e: io::Error| e.to_string();
    let mut buffer = [0; LONGEST_HEADER];
    let mut taken = 0;
    loop {
        // Looked at before it is taken: what follows the header belongs to the client.
        let there = taken + io.peek(&mut buffer[taken..]).await.map_err(fail)?;
        if there == taken {
            return Err("the connection ended before it".to_owned());
        }
        let header = HeaderResult::parse(&buffer[..there]);
        if header.is_incomplete() {
            if there == LONGEST_HEADER {
                return Err(format!("it is longer than {LONGEST_HEADER} bytes"));
            }
            io.read_exact(&mut buffer[taken..there]).await.map_err(fail)?;
            taken = there;
            continue;
        }
        let (length, source) = match &header {
            HeaderResult::V1(Ok(header)) => (header.header.len(), source_v1(&header.addresses)),
            HeaderResult::V2(Ok(header)) => (header.len(), source_v2(header)),
            HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => {
                return Err("the connection begins with something else: is PROXY protocol on at that proxy?".to_owned());
            }
        };
        io.read_exact(&mut buffer[taken..length]).await.map_err(fail)?;
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
