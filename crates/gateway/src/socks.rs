//! SOCKS5 from clients (RFC 1928, RFC 1929): the same way through, said in one byte.
//!
//! Only CONNECT; names are resolved at the hop that connects. The final reply waits until the outcome is known. What the
//! reply byte cannot say is in the record, and among the key's own last faults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use outgate_egress::Host;
use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, raise, socks5_reply};
use tokio::time::Instant;

use crate::client::{Client, Unread};
use crate::core::Core;
use crate::credentials::Claim;
use crate::head::Target;
use crate::record::Stage;
use crate::session::{After, Served};
use crate::tunnel;
use crate::visit::Visit;

/// The protocol version (RFC 1928, section 3).
const VERSION: u8 = 5;
/// Methods (RFC 1928, section 3).
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
/// The version of the sub-negotiation (RFC 1929, section 2).
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Address types (RFC 1928, section 5).
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Where the client is in the protocol: what a fault can be told with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It offers its methods.
    Methods,
    /// It says who it is.
    Login,
    /// It says where it wants to go.
    Request,
}

/// A conversation's next message could not be read, or what it says is refused.
enum Stopped {
    Gone,
    Refused(Fault),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// One SOCKS5 connection: one request. The greeting is in the client's buffer, or on its way.
pub(crate) async fn attend(core: &Rc<Core>, client: &mut Client, visit: &mut Visit) -> Option<Served> {
    visit.record.method.push_str("CONNECT");
    visit.record.protocol = "socks5";
    let mut turn = Turn::Methods;
    match serve(core, client, visit, &mut turn).await {
        Ok(served) => Some(served),
        Err(Stopped::Gone) => None,
        Err(Stopped::Refused(fault)) => {
            visit.answers();
            visit.count_refusal(core);
            visit.refused(&fault);
            let reply: &[u8] = match turn {
                Turn::Methods => &[VERSION, NO_ACCEPTABLE_METHOD],
                Turn::Login => &[LOGIN_VERSION, 1],
                Turn::Request => &reply(socks5_reply(fault.slug()), None),
            };
            let after = if client.write(reply).await.is_ok() { After::Close } else { After::Gone };
            Some(Served::badly(after, fault))
        }
    }
}

async fn serve(core: &Rc<Core>, client: &mut Client, visit: &mut Visit, turn: &mut Turn) -> Result<Served, Stopped> {
    let patience = visit.settings.timeouts.head;
    let mut wire = Wire { core, client, patience, deadline: Instant::now() + patience };

    let [_, count] = wire.take().await?;
    let methods = wire.some(usize::from(count)).await?;
    let method = [USER_AND_PASSWORD, NO_AUTHENTICATION].into_iter().find(|method| methods.contains(method));
    let method = method.ok_or_else(|| raise::credentials_malformed("SOCKS5 logs in with user name and password (method 02)"))?;
    wire.say(&[VERSION, method]).await?;

    visit.record.stage = Stage::Identify;
    let claim = match method {
        USER_AND_PASSWORD => {
            *turn = Turn::Login;
            let [version, length] = wire.take().await?;
            if version != LOGIN_VERSION {
                return Err(raise::credentials_malformed("the login is not RFC 1929's").into());
            }
            let user = wire.some(usize::from(length)).await?;
            let [length] = wire.take().await?;
            let password = wire.some(usize::from(length)).await?;
            Some(Claim::of(&user, password)?)
        }
        _ => {
            *turn = Turn::Request;
            None
        }
    };
    // Without a login a refusal is told where there is room for it: as the reply to the request.
    let identified = visit.identify_claim(core, wire.client, claim);
    if *turn == Turn::Login {
        if let Err(fault) = identified {
            return Err(fault.into());
        }
        wire.say(&[LOGIN_VERSION, 0]).await?;
        *turn = Turn::Request;
    }

    visit.record.stage = Stage::Read;
    let [_, command, _, kind] = wire.take().await?;
    let host = match kind {
        IPV4 => Ok(Host::Ip(Ipv4Addr::from(wire.take::<4>().await?).into())),
        IPV6 => Ok(Host::Ip(Ipv6Addr::from(wire.take::<16>().await?).into())),
        NAME => {
            let [length] = wire.take().await?;
            let name = wire.some(usize::from(length)).await?;
            let name = String::from_utf8(name).map_err(|_| raise::malformed_target("the host is not ASCII"))?;
            // In brackets an IPv6 address is what it is in a URL.
            Target::parse_host(&name)
        }
        _ => Err(raise::malformed_target("the address type is none of RFC 1928's")),
    };
    let port = u16::from_be_bytes(wire.take().await?);
    if command != CONNECT {
        return Err(raise::method_unsupported(if command == 2 { "BIND" } else { "UDP ASSOCIATE" }).into());
    }
    let target = Target::new(host?, port);
    visit.record.target = target.to_string();
    // Not before: the method's byte has no room for a reason, and "no acceptable method" would send people after their login.
    visit.takes_work(&core.gateway)?;
    visit.record.stage = Stage::Identify;
    let caller = identified?;

    let Some((permit, mut upstream)) = tunnel::open(core, client, visit, caller, &target).await? else {
        return Ok(Served::well(After::Gone));
    };
    visit.record.stage = Stage::Accept;
    visit.answers();
    visit.count_answer(core);
    // From the next line on nothing can be told in-band: the tunnel belongs to the two ends.
    if client.write(&reply(0, upstream.local_address())).await.is_err() {
        visit.record.ended_by = Some("client_lost");
        return Ok(Served::well(After::Gone));
    }
    visit.record.stage = Stage::Relay;
    Ok(tunnel::carry(core, client, visit, &permit, &mut upstream, &target).await)
}

/// The reply to a request (RFC 1928, section 6); all zeroes is no address.
fn reply(code: u8, bound: Option<SocketAddr>) -> Vec<u8> {
    let mut reply = vec![VERSION, code, 0];
    match bound.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))) {
        SocketAddr::V4(address) => {
            reply.push(IPV4);
            reply.extend(address.ip().octets());
            reply.extend(address.port().to_be_bytes());
        }
        SocketAddr::V6(address) => {
            reply.push(IPV6);
            reply.extend(address.ip().octets());
            reply.extend(address.port().to_be_bytes());
        }
    }
    reply
}

/// The handshake's messages, within its deadline.
struct Wire<'a> {
    core: &'a Core,
    client: &'a mut Client,
    patience: Duration,
    deadline: Instant,
}

impl Wire<'_> {
    async fn take<const N: usize>(&mut self) -> Result<[u8; N], Stopped> {
        let bytes = self.some(N).await?;
        bytes.try_into().map_err(|_| Stopped::Gone)
    }

    async fn some(&mut self, length: usize) -> Result<Vec<u8>, Stopped> {
        match self.client.read_exactly(&self.core.scratch, length, self.deadline).await {
            Ok(bytes) => Ok(bytes),
            Err(Unread::Gone) => Err(Stopped::Gone),
            Err(Unread::TooLate) => Err(Stopped::Refused(raise::request_timeout(Seconds(self.patience)))),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.client.write(bytes).await.map_err(|_| Stopped::Gone)
    }
}
