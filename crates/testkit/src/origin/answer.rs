//! What the origin answers, by path: the table is in the parent's documentation.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::Received;
use super::connection::{Connection, Next};
use crate::payload::{self, Checksum};

impl Connection {
    pub(super) async fn answer(&mut self, path: &str, request: &Received) -> std::io::Result<Next> {
        let argument = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(length) = argument("/bytes/") {
            let sum = Checksum::of_payload(length).hex();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Checksum: {sum}\r\n\r\n");
            self.write(head.as_bytes()).await?;
            return self.payload(request, length, Framing::Plain).await.map(|()| Next::KeepAlive);
        }
        if let Some(length) = argument("/chunked/") {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n";
            self.write(head.as_bytes()).await?;
            return self.payload(request, length, Framing::Chunks).await.map(|()| Next::KeepAlive);
        }
        if let Some(length) = argument("/until-close/") {
            self.write(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            return self.payload(request, length, Framing::Plain).await.map(|()| Next::Close);
        }
        if let Some(status) = argument("/status/") {
            let body = format!("status {status}\n");
            return self.simple(request, &format!("HTTP/1.1 {status} Test"), &[], &body).await;
        }
        let ok = "HTTP/1.1 200 OK";
        match path {
            "/ok" => self.simple(request, ok, &[], "ok\n").await,
            "/with" => self.simple(request, ok, &query_pairs(&request.target), "ok\n").await,
            "/slow" => {
                if let Ok(permit) = self.shared.gate.acquire().await {
                    permit.forget();
                }
                self.simple(request, ok, &[], "ok\n").await
            }
            "/1xx" => {
                self.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n").await?;
                self.simple(request, ok, &[], "ok\n").await
            }
            "/close" => {
                let close = [("Connection".to_owned(), "close".to_owned())];
                self.simple(request, ok, &close, "ok\n").await.map(|_| Next::Close)
            }
            "/http10" => self.simple(request, "HTTP/1.0 200 OK", &[], "ok\n").await.map(|_| Next::Close),
            "/upgrade" => {
                let upgrade = [("Upgrade".to_owned(), "echo".to_owned())];
                self.simple(request, "HTTP/1.1 426 Upgrade Required", &upgrade, "upgrade to echo\n").await
            }
            "/upload" => {
                let body = json!({ "length": request.body_length, "checksum": request.body_checksum });
                self.simple(request, ok, &[], &body.to_string()).await
            }
            "/keepalive" => {
                let body = json!({ "connection": request.connection, "request": request.request });
                self.simple(request, ok, &[], &body.to_string()).await
            }
            "/echo" => {
                let body = json!({
                    "method": request.method,
                    "target": request.target,
                    "headers": request.headers,
                    "trailers": request.trailers,
                    "body": String::from_utf8_lossy(&request.body),
                });
                self.simple(request, ok, &[], &body.to_string()).await
            }
            _ => self.simple(request, "HTTP/1.1 404 Not Found", &[], "no such path\n").await,
        }
    }

    async fn simple(
        &mut self,
        request: &Received,
        status_line: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> std::io::Result<Next> {
        let bodiless = status_line.contains(" 204 ") || status_line.contains(" 304 ");
        let mut answer = format!("{status_line}\r\n");
        for (name, value) in headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        if !bodiless {
            answer.push_str(&format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len()));
        }
        answer.push_str("\r\n");
        if !bodiless && request.method != "HEAD" {
            answer.push_str(body);
        }
        self.write(answer.as_bytes()).await?;
        Ok(Next::KeepAlive)
    }

    async fn payload(&mut self, request: &Received, length: u64, framing: Framing) -> std::io::Result<()> {
        if request.method == "HEAD" {
            return Ok(());
        }
        let mut offset = 0;
        while offset < length {
            let block = payload::slice(offset, (length - offset).min(65_536) as usize);
            offset += block.len() as u64;
            match framing {
                Framing::Plain => self.stream.write_all(&block).await?,
                Framing::Chunks => {
                    let chunk = [format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat();
                    self.stream.write_all(&chunk).await?;
                }
            }
        }
        if framing == Framing::Chunks {
            let sum = Checksum::of_payload(length).hex();
            self.stream.write_all(format!("0\r\nX-Checksum: {sum}\r\n\r\n").as_bytes()).await?;
        }
        self.stream.flush().await
    }

    pub(super) async fn upgrade(mut self, request: &Received) -> std::io::Result<()> {
        let protocol = request.header("upgrade").unwrap_or_default();
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        self.write(head.as_bytes()).await?;
        loop {
            let echo = std::mem::take(&mut self.pending);
            self.write(&echo).await?;
            if !self.fill().await? {
                return self.stream.shutdown().await;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Plain,
    Chunks,
}

fn query_pairs(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (percent_decoded(name), percent_decoded(value)))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = if byte == b'%' { [bytes.next(), bytes.next()] } else { [None, None] };
        match digits.map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16))) {
            [Some(high), Some(low)] => decoded.push((high * 16 + low) as u8),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
