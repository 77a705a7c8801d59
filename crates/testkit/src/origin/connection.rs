//! One connection of the origin: its requests read, one after the other.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Received, Shared, lock};
use crate::payload::Checksum;
use crate::stream::Stream;

/// How much of a request's body is kept; the rest is only counted and summed.
const KEPT_BODY: usize = 1 << 20;

pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) pending: Vec<u8>,
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
}

/// Whether the connection takes another request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    KeepAlive,
    Close,
}

impl Connection {
    pub(super) async fn serve(mut self) -> std::io::Result<()> {
        for number in 0.. {
            let Some(mut request) = self.head().await? else {
                break;
            };
            request.connection = self.number;
            request.request = number;
            let wants_100 = request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
            let path = request.target.split('?').next().unwrap_or_default().to_owned();
            if path == "/reject-expect" && wants_100 {
                lock(&self.shared.received).push(request);
                self.write(b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await?;
                break;
            }
            if wants_100 {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            self.body(&mut request).await?;
            lock(&self.shared.received).push(request.clone());
            if path == "/upgrade" && request.header("upgrade").is_some() {
                return self.upgrade(&request).await;
            }
            let next = self.answer(&path, &request).await?;
            let asked_to_close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            if next == Next::Close || asked_to_close || request.version == "HTTP/1.0" {
                break;
            }
        }
        self.stream.shutdown().await?;
        // Reading on until the peer's FIN: closing with unread bytes would send an RST after a good answer.
        while self.fill().await? {
            self.pending.clear();
        }
        Ok(())
    }

    async fn head(&mut self) -> std::io::Result<Option<Received>> {
        let end = loop {
            if let Some(start) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break start + 4;
            }
            if !self.fill().await? {
                return Ok(None);
            }
        };
        let head = self.take(end);
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        Ok(Some(Received {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            version: words.next().unwrap_or_default(),
            headers: lines.map(field).collect(),
            head,
            ..Received::default()
        }))
    }

    async fn body(&mut self, request: &mut Received) -> std::io::Result<()> {
        let mut sum = Checksum::new();
        if request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.line().await?;
                let digits = line.split(';').next().unwrap_or_default();
                let length = u64::from_str_radix(digits.trim(), 16).map_err(std::io::Error::other)?;
                if length == 0 {
                    break;
                }
                self.swallow(length, &mut sum, &mut request.body).await?;
                self.line().await?;
            }
            loop {
                let line = self.line().await?;
                if line.is_empty() {
                    break;
                }
                request.trailers.push(field(&line));
            }
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(std::io::Error::other)?;
            self.swallow(length, &mut sum, &mut request.body).await?;
        }
        request.body_length = sum.length();
        request.body_checksum = sum.hex();
        Ok(())
    }

    async fn swallow(&mut self, mut length: u64, sum: &mut Checksum, kept: &mut Vec<u8>) -> std::io::Result<()> {
        while length > 0 {
            if self.pending.is_empty() && !self.fill().await? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let here = self.pending.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let block = self.take(here);
            sum.add(&block);
            kept.extend_from_slice(&block[..block.len().min(KEPT_BODY.saturating_sub(kept.len()))]);
            length -= here as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|window| window == b"\r\n") {
                let line = self.take(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// False at the peer's FIN.
    pub(super) async fn fill(&mut self) -> std::io::Result<bool> {
        self.pending.reserve(65_536);
        Ok(self.stream.read_buf(&mut self.pending).await? > 0)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.pending.split_off(length);
        std::mem::replace(&mut self.pending, rest)
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}
