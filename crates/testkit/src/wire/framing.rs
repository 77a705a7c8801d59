//! The body of an answer, exactly as its head frames it (RFC 9112 section 6.3).

use super::reply::parse_field;
use super::{Ending, Expect, Reply, Wire, WireError, find};

impl Wire {
    pub(super) async fn body(&mut self, reply: &mut Reply, expect: Expect) -> Result<(), WireError> {
        let bodiless = matches!(reply.status, 101 | 204 | 304)
            || expect == Expect::NoBody
            || (expect == Expect::Tunnel && (200..300).contains(&reply.status));
        if bodiless {
            return Ok(());
        }
        let codings = reply.header("transfer-encoding").map(str::to_ascii_lowercase);
        match (codings.as_deref(), reply.header("content-length")) {
            (Some(_), Some(_)) => Err(WireError::Malformed("both Transfer-Encoding and Content-Length".to_owned())),
            (Some("chunked"), None) => self.chunks(reply).await,
            (Some(other), None) => Err(WireError::Malformed(format!("Transfer-Encoding: {other}"))),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| WireError::Malformed(format!("Content-Length: {length}")))?;
                let body = self.exactly(length).await.map_err(|error| error.with_prefix(&reply.raw))?;
                reply.raw.extend_from_slice(&body);
                reply.body = body;
                Ok(())
            }
            (None, None) => match self.ending().await? {
                (body, Ending::Fin) => {
                    reply.raw.extend_from_slice(&body);
                    reply.body = body;
                    Ok(())
                }
                (body, Ending::Reset) => Err(WireError::Reset(body).with_prefix(&reply.raw)),
            },
        }
    }

    async fn chunks(&mut self, reply: &mut Reply) -> Result<(), WireError> {
        loop {
            let line = self.line(reply).await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).map_err(|_| WireError::Malformed(format!("chunk size {line:?}")))?;
            if length == 0 {
                break;
            }
            let chunk = self.exactly(length + 2).await.map_err(|error| error.with_prefix(&reply.raw))?;
            reply.raw.extend_from_slice(&chunk);
            let Some(data) = chunk.strip_suffix(b"\r\n") else {
                return Err(WireError::Malformed("a chunk without its CRLF".to_owned()));
            };
            reply.body.extend_from_slice(data);
        }
        loop {
            let line = self.line(reply).await?;
            if line.is_empty() {
                return Ok(());
            }
            reply.trailers.push(parse_field(&line)?);
        }
    }

    async fn line(&mut self, reply: &mut Reply) -> Result<String, WireError> {
        let line = loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                break self.take(end + 2);
            }
            self.fill().await.map_err(|gone| gone.after(&self.pending).with_prefix(&reply.raw))?;
        };
        reply.raw.extend_from_slice(&line);
        Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }
}
