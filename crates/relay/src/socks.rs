//! The server's part of SOCKS5 (RFC 1928, RFC 1929): tunnels for programs that speak nothing else.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use outgate_client::connect::Target;
use outgate_faults::{Fault, raise, socks5_reply};
use outgate_meter::Kind;
use outgate_records::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::carry;
use crate::client_io::ClientIo;
use crate::door::wishes_of;
use crate::relay::Relay;
use crate::tunnel::{self, Wishes};
use crate::visit::Visit;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const SUCCEEDED: u8 = 0;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_NOT_SUPPORTED: u8 = 8;

/// What ends a conversation before its request was understood.
enum Ended {
    /// The client is gone, or speaks something else.
    Gone,
    /// It is told this reply byte.
    Told(u8, Fault),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// The life of a connection that begins with SOCKS5.
pub(crate) async fn serve(relay: Rc<Relay>, mut io: ClientIo, client: Rc<str>) {
    let mut visit = Visit::begin(&relay, &client, "socks5");
    visit.method = "SOCKS5".to_owned();
    let asked = tokio::time::timeout(relay.settings.head, ask(&mut io, &mut visit)).await;
    let (target, wishes) = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(Ended::Told(byte, fault))) => return refuse(visit, io, byte, fault).await,
        Ok(Err(Ended::Gone)) | Err(_) => return,
    };
    visit.kind = Kind::Tunnel;
    visit.target = target.to_string();
    if relay.is_own(&target) {
        let fault = raise::loop_detected("the target is this relay itself");
        return refuse(visit, io, socks5_reply(fault.slug()), fault).await;
    }
    match tunnel::open(&mut visit, &target, &wishes).await {
        Ok(opened) => {
            visit.stage = Stage::Accept;
            visit.answered();
            if io.write_all(&reply(SUCCEEDED)).await.and(io.flush().await).is_err() {
                return;
            }
            visit.stage = Stage::Relay;
            carry::carry(&mut visit, io, opened.stream, relay.settings.idle).await;
        }
        Err(trouble) => {
            let byte = socks5_reply(trouble.fault.slug());
            refuse(visit, io, byte, trouble.fault).await;
        }
    }
}

/// Greeting, login, request.
async fn ask(io: &mut ClientIo, visit: &mut Visit) -> Result<(Target, Wishes), Ended> {
    let [_version, count] = hear::<2>(io).await?;
    let mut methods = [0; 255];
    let methods = &mut methods[..usize::from(count)];
    io.read_exact(methods).await?;
    // Who offers a login has something to say in it.
    let method = [USER_AND_PASSWORD, NO_AUTHENTICATION].into_iter().find(|method| methods.contains(method));
    let Some(method) = method else {
        io.write_all(&[VERSION, NO_METHOD]).await?;
        visit.failed(raise::credentials_malformed("SOCKS5 with neither method 0 nor 2"), None);
        return Err(Ended::Gone);
    };
    io.write_all(&[VERSION, method]).await?;
    io.flush().await?;
    let mut wishes = Wishes::default();
    if method == USER_AND_PASSWORD {
        let [_version] = hear::<1>(io).await?;
        let user = field(io).await?;
        let password = field(io).await?;
        wishes = wishes_of(&String::from_utf8_lossy(&user), &String::from_utf8_lossy(&password));
        io.write_all(&[1, 0]).await?;
        io.flush().await?;
    }
    let [version, command, _, kind] = hear::<4>(io).await?;
    if version != VERSION {
        return Err(Ended::Gone);
    }
    let host = match kind {
        1 => Ipv4Addr::from(hear::<4>(io).await?).to_string(),
        4 => Ipv6Addr::from(hear::<16>(io).await?).to_string(),
        3 => String::from_utf8_lossy(&field(io).await?).into_owned(),
        _ => {
            return Err(Ended::Told(ADDRESS_NOT_SUPPORTED, raise::malformed_target("an address type that SOCKS5 does not have")));
        }
    };
    let port = u16::from_be_bytes(hear::<2>(io).await?);
    if command != CONNECT {
        return Err(Ended::Told(COMMAND_NOT_SUPPORTED, raise::method_unsupported("SOCKS5 commands but CONNECT")));
    }
    // The same reading as of an authority: no host that is none gets as far as an upstream.
    let target = Target::new(&host, port);
    match Target::parse(&target.to_string()) {
        Some(target) => Ok((target, wishes)),
        None => Err(Ended::Told(socks5_reply(outgate_faults::Slug::MalformedTarget), raise::malformed_target("no host or port"))),
    }
}

async fn hear<const N: usize>(io: &mut ClientIo) -> Result<[u8; N], Ended> {
    let mut bytes = [0; N];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn field(io: &mut ClientIo) -> Result<Vec<u8>, Ended> {
    let [length] = hear::<1>(io).await?;
    let mut bytes = vec![0; usize::from(length)];
    io.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A reply that names no address: nobody needs it.
fn reply(byte: u8) -> [u8; 10] {
    [VERSION, byte, 0, 1, 0, 0, 0, 0, 0, 0]
}

async fn refuse(mut visit: Visit, mut io: ClientIo, byte: u8, fault: Fault) {
    visit.failed(fault, None);
    // If it is gone, there is nobody to be told.
    let _gone = io.write_all(&reply(byte)).await;
    let _gone = io.shutdown().await;
}
