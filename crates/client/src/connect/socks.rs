//! The client's part of SOCKS5 (RFC 1928) with user name and password (RFC 1929).

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use super::reach::look_up;
use super::stream::Stream;
use super::upstream::{Credentials, Scheme, Target};
use super::{SocksRefusal, Why};
use crate::classify::{Breakage, Phase};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

impl fmt::Display for SocksRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("no way to log in that both sides know"),
            Self::Login(status) => write!(f, "the login was refused (status {status})"),
            Self::Reply(byte) => write!(f, "{} (reply {byte})", reply_text(*byte)),
            Self::TooLong => f.write_str("a user name or password of more than 255 bytes does not fit SOCKS5"),
        }
    }
}

/// What RFC 1928, section 6, says of a reply byte.
fn reply_text(byte: u8) -> &'static str {
    match byte {
        1 => "general SOCKS server failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "a reply that RFC 1928 does not know",
    }
}

/// Logs in if there is something to log in with, and asks for a tunnel.
pub(super) async fn connect(
    stream: &mut Stream,
    scheme: Scheme,
    target: &Target,
    credentials: Option<&Credentials>,
    deadline: Instant,
) -> Result<(), (Why, String)> {
    let address = match scheme {
        Scheme::Socks5 => Some(
            look_up(target.host(), target.port(), deadline)
                .await
                .map_err(|broken| (Why::TargetName(broken.breakage), broken.detail))?[0]
                .ip(),
        ),
        _ => target.host().parse().ok(),
    };
    let login = credentials.map(login).transpose().map_err(refused)?;
    let request = request(target, address);
    let begun = Instant::now();
    match timeout_at(deadline.into(), exchange(stream, login.as_deref(), &request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(broken(Breakage::timed_out(Phase::Ask, begun.elapsed()), "no answer to SOCKS5 before the deadline")),
    }
}

async fn exchange(stream: &mut Stream, login: Option<&[u8]>, request: &[u8]) -> Result<(), (Why, String)> {
    let greeting: &[u8] =
        if login.is_some() { &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD] } else { &[VERSION, 1, NO_AUTHENTICATION] };
    say(stream, greeting).await?;
    let chosen: [u8; 2] = hear(stream).await?;
    match (chosen[0], chosen[1], login) {
        (VERSION, NO_AUTHENTICATION, _) => {}
        (VERSION, USER_AND_PASSWORD, Some(login)) => {
            say(stream, login).await?;
            let verdict: [u8; 2] = hear(stream).await?;
            if verdict[1] != 0 {
                return Err(refused(SocksRefusal::Login(verdict[1])));
            }
        }
        // A server that chooses what was not offered wants it; there is nothing to say.
        (VERSION, NO_METHOD | USER_AND_PASSWORD, _) => return Err(refused(SocksRefusal::Method)),
        _ => return Err(not_socks(stream, &chosen).await),
    }
    say(stream, request).await?;
    let head: [u8; 4] = hear(stream).await?;
    if head[0] != VERSION {
        return Err(not_socks(stream, &head).await);
    }
    if head[1] != 0 {
        return Err(refused(SocksRefusal::Reply(head[1])));
    }
    // The bound address says nothing that anybody needs, but it stands in front of the target's bytes.
    let left = match head[3] {
        IPV4 => 4 + 2,
        IPV6 => 16 + 2,
        NAME => usize::from(hear::<1>(stream).await?[0]) + 2,
        _ => return Err(not_socks(stream, &head).await),
    };
    let mut bound = [0; 255 + 2];
    stream.read_exact(&mut bound[..left]).await.map_err(failed)?;
    Ok(())
}

async fn say(stream: &mut Stream, bytes: &[u8]) -> Result<(), (Why, String)> {
    stream.write_all(bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)
}

async fn hear<const N: usize>(stream: &mut Stream) -> Result<[u8; N], (Why, String)> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(failed)?;
    Ok(bytes)
}

fn failed(error: std::io::Error) -> (Why, String) {
    broken(Breakage::of(Phase::Ask, &error), &error.to_string())
}

fn broken(breakage: Breakage, detail: &str) -> (Why, String) {
    (Why::Broken(breakage), detail.to_owned())
}

fn refused(refusal: SocksRefusal) -> (Why, String) {
    (Why::Socks(refusal), refusal.to_string())
}

/// Looks a little further, so that it can be said what is spoken instead.
async fn not_socks(stream: &mut Stream, begun: &[u8]) -> (Why, String) {
    let mut seen = begun.to_vec();
    let mut more = [0; 16];
    if let Ok(Ok(read)) = tokio::time::timeout(std::time::Duration::from_millis(200), stream.read(&mut more)).await {
        seen.extend_from_slice(&more[..read]);
    }
    broken(Breakage::foreign(Phase::Ask, &seen), &format!("the answer is not SOCKS5: {}", seen.escape_ascii()))
}

fn login(credentials: &Credentials) -> Result<Vec<u8>, SocksRefusal> {
    let mut message = vec![1];
    for field in [credentials.expose_user(), credentials.expose_password()] {
        message.push(u8::try_from(field.len()).map_err(|_| SocksRefusal::TooLong)?);
        message.extend_from_slice(field.as_bytes());
    }
    Ok(message)
}

fn request(target: &Target, address: Option<IpAddr>) -> Vec<u8> {
    let mut message = vec![VERSION, CONNECT, 0];
    match address {
        Some(IpAddr::V4(ip)) => {
            message.push(IPV4);
            message.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            message.push(IPV6);
            message.extend_from_slice(&ip.octets());
        }
        None => {
            // A target's host is at most 253 bytes where it is read; a longer one is cut and fails at the proxy.
            let name = &target.host().as_bytes()[..target.host().len().min(255)];
            message.extend_from_slice(&[NAME, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
            message.extend_from_slice(name);
        }
    }
    message.extend_from_slice(&target.port().to_be_bytes());
    message
}
