//! CONNECT over HTTP/1.1.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use super::Broken;
use super::reply::{self, ConnectReply};
use super::stream::Stream;
use super::upstream::{Credentials, Target};
use crate::classify::{Breakage, Phase};

/// The value of `Proxy-Authorization` that says these credentials (RFC 7617, in UTF-8). Secret.
pub fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.expose_user(), credentials.expose_password())))
}

/// Asks for a tunnel and reads the answer, whatever it is.
pub(super) async fn connect(
    stream: &mut Stream,
    target: &Target,
    credentials: Option<&Credentials>,
    headers: &[(&str, &str)],
    deadline: Instant,
) -> Result<ConnectReply, Broken> {
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = credentials {
        head += &format!("Proxy-Authorization: {}\r\n", basic(credentials));
    }
    for (name, value) in headers.iter().filter(|(name, value)| fits_a_line(name, value)) {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let begun = Instant::now();
    let sent = timeout_at(deadline.into(), async {
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await
    });
    match sent.await {
        Ok(Ok(())) => {}
        // Whoever cuts while it is told may have answered before: what it said is worth more than that it cut.
        Ok(Err(error)) => {
            return reply::read(stream, deadline.into()).await.map_err(|_| Broken::new(Breakage::of(Phase::Ask, &error), error));
        }
        Err(_) => {
            return Err(Broken::new(
                Breakage::timed_out(Phase::Ask, begun.elapsed()),
                "CONNECT was not taken before the deadline",
            ));
        }
    }
    reply::read(stream, deadline.into()).await
}

/// A value with a line end would be another header, or another request.
fn fits_a_line(name: &str, value: &str) -> bool {
    name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok()
}
