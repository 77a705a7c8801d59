//! An exit that speaks the real link protocol and does as it is told, well or badly.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outgate_link::{Asked, Connected, Hello, Limits, Refusal, shell, upgrade};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Between two attempts to link up.
const AGAIN: Duration = Duration::from_millis(200);

/// What it does when asked for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Connects to the target and carries it; the echo target too.
    Honest,
    /// The same, but answers only after this time.
    Slow(Duration),
    /// Says at once that it is connected, and carries nothing.
    Lying,
    /// Refuses with this slug.
    Refusing(&'static str),
    /// Never answers, although its link is alive.
    Silent,
}

/// Tells a running actor what to do from now on.
#[derive(Clone, Debug)]
pub struct Script(Arc<Mutex<Manner>>);

impl Script {
    pub(crate) fn new(manner: Manner) -> Self {
        Self(Arc::new(Mutex::new(manner)))
    }

    /// From the next tunnel on.
    pub fn set(&self, manner: Manner) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    fn now(&self) -> Manner {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Links up, again and again, and plays its part until dropped. Wants a `LocalSet`.
pub(crate) async fn play(door: SocketAddr, token: Arc<str>, script: Script) {
    loop {
        // Why a link ended is the gateway's to say; the test looks there.
        drop(act(door, &token, &script).await);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn act(door: SocketAddr, token: &Arc<str>, script: &Script) -> io::Result<()> {
    let authority = door.to_string();
    let mut io = TcpStream::connect(door).await?;
    io.set_nodelay(true)?;
    let behind = upgrade::ask_link(&mut io, &authority, "/v1/link", token).await.map_err(io::Error::other)?;
    let hello = Hello { version: 1, agent: "actor".into(), max_tunnels: 4096, ..Hello::default() };
    let joined = shell::join(io, behind, &hello, Limits::default()).await.map_err(io::Error::other)?;
    let mut incoming = joined.incoming;
    // A set, so that an actor who is dropped takes its link and tunnels along.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move { drop(joined.driver.run().await) });
    loop {
        tokio::select! {
            asked = incoming.next() => match asked {
                Some(asked) => drop(tasks.spawn_local(answer(asked, script.now(), door, Arc::clone(token)))),
                None => return Ok(()),
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn answer(asked: Asked, manner: Manner, door: SocketAddr, token: Arc<str>) {
    match manner {
        Manner::Honest => carry(asked, door, &token).await,
        Manner::Slow(pause) => {
            tokio::time::sleep(pause).await;
            carry(asked, door, &token).await;
        }
        Manner::Lying => {
            let address = SocketAddr::from(([127, 0, 0, 1], asked.connect.port));
            let mut tunnel = asked.accept(&connected_to(address));
            // Reads and forgets until the gateway ends it.
            while let Ok(Some(_)) = tunnel.chunk().await {}
        }
        Manner::Refusing(slug) => asked.refuse(Refusal::new(slug)),
        Manner::Silent => asked.cancelled().await,
    }
}

/// Like the agent, in few words.
async fn carry(asked: Asked, door: SocketAddr, token: &str) {
    let dialed = async {
        if !asked.connect.echo {
            let stream = TcpStream::connect((asked.connect.host.as_str(), asked.connect.port)).await?;
            return Ok::<_, io::Error>((stream, None));
        }
        let mut stream = TcpStream::connect(door).await?;
        let (authorization, port) = (format!("Bearer {token}"), asked.connect.port.to_string());
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Outgate-Request-Id", asked.connect.request_id.as_str()),
            ("X-Outgate-Target-Port", port.as_str()),
        ];
        let asked = upgrade::ask(&mut stream, &door.to_string(), "/v1/echo", "outgate-echo", &headers).await;
        let (_, behind) = asked.map_err(io::Error::other)?;
        Ok((stream, Some(behind)))
    };
    let Ok((mut stream, behind)) = dialed.await else {
        return asked.refuse(Refusal::new("target_unreachable"));
    };
    let address = stream.peer_addr().unwrap_or(door);
    let mut tunnel = asked.accept(&connected_to(address));
    if let Some(behind) = behind
        && tunnel.write_all(&behind).await.is_err()
    {
        return;
    }
    // What breaks midway breaks both sides by being dropped.
    drop(tokio::io::copy_bidirectional(&mut tunnel, &mut stream).await);
}

fn connected_to(address: SocketAddr) -> Connected {
    Connected { address, dns: Duration::ZERO, connect: Duration::ZERO }
}
