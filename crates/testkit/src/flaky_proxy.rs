//! An upstream proxy that serves some connections and fails others, as its schedule says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::listener::{LOOPBACK, accept_each, listen};
use crate::server_thread::ServerThread;

/// What becomes of one connection, once its request was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is served: a CONNECT or a plain request to an address of this machine.
    Serves,
    /// It is answered with these bytes and closed.
    Answers(Vec<u8>),
    /// It is reset.
    Resets,
    /// It is closed without an answer.
    Closes,
    /// It is never answered, until the client goes away.
    Hangs,
    /// It is served, but the answer to a plain request is cut by a reset after so many bytes.
    CutsAfter(usize),
}

impl Fate {
    /// An answer of a proxy with this status and one header line.
    #[must_use]
    pub fn answer(status: u16, reason: &str, field: &str) -> Self {
        Self::Answers(format!("HTTP/1.1 {status} {reason}\r\n{field}\r\nContent-Length: 0\r\n\r\n").into_bytes())
    }

    /// Three in ten fail, each in another way, in a fixed order: what `of` says of the connection with this number.
    #[must_use]
    pub fn three_in_ten(number: usize) -> Self {
        match number % 10 {
            0 => Self::Resets,
            4 => Self::answer(502, "Bad Gateway", "X-Why: exit"),
            7 => Self::Closes,
            _ => Self::Serves,
        }
    }
}

/// A running one.
#[derive(Debug)]
pub struct FlakyProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _thread: ServerThread,
}

impl FlakyProxy {
    /// Starts one; `fate` is asked for each connection with its number, from 0, and the head of its request.
    pub fn start(fate: impl Fn(usize, &str) -> Fate + Send + Sync + 'static) -> Self {
        let (listener, address) = listen(LOOPBACK);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, fate) = (heads.clone(), Arc::new(fate));
        let thread = ServerThread::run("flaky proxy", move || {
            accept_each(listener, move |tcp| {
                let (seen, fate) = (seen.clone(), fate.clone());
                tokio::spawn(async move {
                    // A peer that goes away is that peer's choice.
                    let _ended = serve(tcp, &seen, &*fate).await;
                });
            })
        });
        Self { address, heads, _thread: thread }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    mut client: TcpStream,
    seen: &Mutex<Vec<String>>,
    fate: &(dyn Fn(usize, &str) -> Fate + Send + Sync),
) -> std::io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let number = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(head.clone());
        seen.len() - 1
    };
    match fate(number, &head) {
        Fate::Serves => carry(client, &head, &read[end..], usize::MAX).await,
        Fate::CutsAfter(bytes) => carry(client, &head, &read[end..], bytes).await,
        Fate::Answers(bytes) => {
            client.write_all(&bytes).await?;
            client.shutdown().await
        }
        Fate::Resets => client.set_zero_linger(),
        Fate::Closes => Ok(()),
        Fate::Hangs => {
            while client.read_buf(&mut read).await? > 0 {
                read.clear();
            }
            Ok(())
        }
    }
}

async fn carry(mut client: TcpStream, head: &str, behind: &[u8], most: usize) -> std::io::Result<()> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == "CONNECT" {
        let mut target = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        target.write_all(behind).await?;
        copy_bidirectional(&mut client, &mut target).await?;
        return Ok(());
    }
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut target =
        TcpStream::connect(if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") }).await?;
    let (_, fields) = head.split_once("\r\n").unwrap_or_default();
    target.write_all(format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n{fields}").as_bytes()).await?;
    target.write_all(behind).await?;
    if most == usize::MAX {
        copy_bidirectional(&mut client, &mut target).await?;
        return Ok(());
    }
    let mut answer = vec![0; most];
    let mut given = 0;
    while given < most {
        let read = target.read(&mut answer[given..]).await?;
        if read == 0 {
            break;
        }
        given += read;
    }
    client.write_all(&answer[..given]).await?;
    // What was written is to arrive before the reset does: the peer reads it while this waits for its next byte, or its end.
    let mut next = [0];
    let _read = tokio::time::timeout(std::time::Duration::from_millis(200), client.read(&mut next)).await;
    client.set_zero_linger()
}
