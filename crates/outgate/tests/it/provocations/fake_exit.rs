//! An exit that is linked up and then does not do what it is asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use outgate_link::{Asked, Connected, Goodbye, Hello, Limits, Link, Refusal, Tunnel, shell, upgrade};
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::patience::{until, within};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// What it does when asked for a tunnel.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Never answers, although its link is alive.
    Silent,
    /// Refuses in these words.
    Refuses(Refusal),
    /// Ends its link.
    Leaves,
    /// Opens the tunnel and keeps it open, without a byte.
    Opens,
    /// Opens the tunnel and gives this for every chunk that comes.
    Answers(&'static [u8]),
    /// Opens the tunnel, sends this, and ends its link.
    LeavesAfter(&'static [u8]),
}

/// One that is linked up; it leaves when this drops.
pub(crate) struct FakeExit {
    pub(crate) id: String,
    link: Link,
    manner: Arc<Mutex<Manner>>,
}

impl Drop for FakeExit {
    fn drop(&mut self) {
        self.link.close(Goodbye::new("done", "the test is over"));
    }
}

impl FakeExit {
    /// Enrolls for `pool` (one without other exits), links up and waits until the gateway counts on it.
    pub(crate) async fn link_up(gateway: &GatewayProcess, pool: &str, manner: Manner) -> Self {
        Self::enroll(gateway, &["--pool", pool], manner).await
    }

    /// The same with more to say at its enrolment.
    pub(crate) async fn enroll(gateway: &GatewayProcess, arguments: &[&str], manner: Manner) -> Self {
        let enroll = [&["exits", "enroll", "--json"], arguments].concat();
        let enrolled: Value = serde_json::from_str(&gateway.admin(&enroll)).expect("--json prints JSON");
        let text = |field: &str| enrolled[field].as_str().expect("an enrolled exit has an id and a token").to_owned();
        let (id, token) = (text("id"), text("token"));
        let authority = gateway.told("exit_gateway_url").trim_start_matches("ws://").to_owned();
        let joined = within("the link", async {
            let mut io = TcpStream::connect(&authority).await.expect("the gateway listens for exits");
            let behind: Bytes = upgrade::ask_link(&mut io, &authority, "/v1/link", &token).await.expect("the token is good");
            let hello =
                Hello { version: 1, agent: "fake".into(), country: Some("de".into()), max_tunnels: 16, ..Hello::default() };
            shell::join(io, behind, &hello, Limits::default()).await.expect("the gateway welcomes it")
        })
        .await;
        let (link, mut incoming) = (joined.link, joined.incoming);
        tokio::spawn(joined.driver.run());
        let own = link.clone();
        let manner = Arc::new(Mutex::new(manner));
        let now = manner.clone();
        tokio::spawn(async move {
            while let Some(asked) = incoming.next().await {
                let manner = now.lock().expect("not poisoned").clone();
                tokio::spawn(behave(asked, manner, own.clone()));
            }
        });
        until("the exit to be online", || online(gateway, &id).filter(|online| !online.is_null()).map(drop)).await;
        Self { id, link, manner }
    }

    /// What it does from now on.
    pub(crate) fn becomes(&self, manner: Manner) {
        *self.manner.lock().expect("not poisoned") = manner;
    }

    /// Ends its link and waits until the gateway has noticed. Returns its id.
    pub(crate) async fn leave(self, gateway: &GatewayProcess) -> String {
        self.link.close(Goodbye::new("done", "as the test wants it"));
        until("the exit to be offline", || online(gateway, &self.id).filter(Value::is_null).map(drop)).await;
        self.id.clone()
    }
}

/// What the gateway shows of an exit while it is connected; null when it isn't.
pub(crate) fn online(gateway: &GatewayProcess, id: &str) -> Option<Value> {
    let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).ok()?;
    exits.as_array()?.iter().find(|exit| exit["id"] == id).map(|exit| exit["online"].clone())
}

fn accept(asked: Asked) -> Tunnel {
    let address = SocketAddr::from(([127, 0, 0, 1], asked.connect.port));
    asked.accept(&Connected { address, dns: Duration::ZERO, connect: Duration::ZERO })
}

async fn hold(asked: Asked) {
    let mut tunnel = accept(asked);
    while let Ok(Some(_)) = tunnel.chunk().await {}
}

async fn behave(asked: Asked, manner: Manner, link: Link) {
    let gone = || link.close(Goodbye::new("gone", "as the test wants it"));
    match manner {
        Manner::Silent => asked.cancelled().await,
        Manner::Refuses(refusal) => asked.refuse(refusal),
        Manner::Leaves => {
            gone();
            asked.cancelled().await;
        }
        Manner::Opens => hold(asked).await,
        Manner::Answers(bytes) => {
            let mut tunnel = accept(asked);
            while let Ok(Some(_)) = tunnel.chunk().await {
                tunnel.write_all(bytes).await.expect("the link is open");
            }
        }
        Manner::LeavesAfter(bytes) => {
            let mut tunnel = accept(asked);
            tunnel.write_all(bytes).await.expect("the link is open");
            // The client's first byte says that it has read what was sent.
            let _first = tunnel.chunk().await;
            gone();
        }
    }
}
