//! A load that never pauses: new connections, requests on kept ones, tunnels that carry bytes. It notes everything that fails.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use outgate_testkit::echo::Echo;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire, WireError};
use tokio::task::JoinSet;

/// Clients of each kind at once.
const CLIENTS: usize = 3;
/// What each kind must have done for the load to have noticed a change.
const ENOUGH: usize = 20;
/// Exchanges of a tunnel before the next one.
const EXCHANGES: usize = 5;
const BLOCK: [u8; 1000] = [7; 1000];

/// What the clients do.
const KINDS: [&str; 3] = ["new connections", "kept connections", "tunnels"];

/// Whom they ask.
#[derive(Clone)]
struct Ask {
    proxy: SocketAddr,
    user: String,
    secret: String,
    target: SocketAddr,
}

#[derive(Default)]
struct Seen {
    done: [Cell<usize>; 3],
    failed: RefCell<Vec<String>>,
    over: Cell<bool>,
}

/// A load under way. It runs on the test's own event loop, in a `LocalSet`.
pub(super) struct Load {
    seen: Rc<Seen>,
    clients: JoinSet<()>,
    _echo: Echo,
}

impl Load {
    pub(super) fn start(proxy: SocketAddr, credentials: Credentials<'_>) -> Self {
        let echo = Echo::start();
        let ask =
            Ask { proxy, user: credentials.user.to_owned(), secret: credentials.password.to_owned(), target: echo.address() };
        let (seen, mut clients) = (Rc::new(Seen::default()), JoinSet::new());
        for kind in 0..KINDS.len() {
            for _ in 0..CLIENTS {
                clients.spawn_local(client(kind, ask.clone(), seen.clone()));
            }
        }
        Self { seen, clients, _echo: echo }
    }

    /// Waits until every kind of client has done more.
    pub(super) async fn goes_on(&self) {
        let counts = || [0, 1, 2].map(|kind| self.seen.done[kind].get());
        let before = counts();
        let more = || self.seen.failed.borrow().len() > 9 || counts().iter().zip(before).all(|(now, then)| *now >= then + ENOUGH);
        until("the load to go on", || more().then_some(())).await;
    }

    /// Ends it; what failed.
    pub(super) async fn end(mut self) -> Vec<String> {
        self.seen.over.set(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client that fails notes it");
        }
        self.seen.failed.take()
    }
}

/// A tunnel that stays open; it is asked to carry something now and then.
pub(super) struct LongTunnel {
    wire: Wire,
    _echo: Echo,
}

impl LongTunnel {
    pub(super) async fn open(proxy: SocketAddr, credentials: Credentials<'_>) -> Self {
        let echo = Echo::start();
        let connected = Wire::connect_through(proxy, Some(credentials), &echo.address().to_string()).await;
        let (wire, reply) = connected.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        Self { wire, _echo: echo }
    }

    pub(super) async fn ending(&mut self) -> Ending {
        self.wire.ending().await.expect("it ends").1
    }

    pub(super) async fn carries(&mut self) {
        exchange(&mut self.wire).await.expect("an open tunnel");
    }
}

async fn client(kind: usize, ask: Ask, seen: Rc<Seen>) {
    while !seen.over.get() {
        let outcome = match kind {
            0 => new_connection(&ask).await,
            1 => kept_connection(&ask, &seen).await,
            _ => tunnel(&ask).await,
        };
        match outcome {
            Ok(()) => seen.done[kind].set(seen.done[kind].get() + 1),
            Err(why) => {
                seen.failed.borrow_mut().push(format!("{}: {why}", KINDS[kind]));
                // Whatever is broken need not be asked a million times.
                if seen.failed.borrow().len() > 99 {
                    return;
                }
            }
        }
    }
}

impl Ask {
    fn credentials(&self) -> Credentials<'_> {
        Credentials { user: &self.user, password: &self.secret }
    }

    /// One request; whether the connection takes another.
    async fn get(&self, wire: &mut Wire) -> Result<bool, String> {
        let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: x\r\n{}\r\n", self.credentials().header_line());
        wire.send(request.as_bytes()).await.map_err(|error| format!("sending: {error}"))?;
        let reply = wire.reply(Expect::Body).await.map_err(|error| format!("answer: {error}"))?;
        let stays = reply.header("Connection").is_none_or(|connection| connection != "close");
        if reply.status == 200 { Ok(stays) } else { Err(format!("{} {}", reply.status, reply.text())) }
    }
}

async fn new_connection(ask: &Ask) -> Result<(), String> {
    let mut wire = Wire::connect(ask.proxy).await.map_err(|error| format!("connect: {error}"))?;
    ask.get(&mut wire).await.map(drop)
}

/// Requests on one connection, for as long as the gateway keeps it.
async fn kept_connection(ask: &Ask, seen: &Seen) -> Result<(), String> {
    let mut wire = Wire::connect(ask.proxy).await.map_err(|error| format!("connect: {error}"))?;
    while ask.get(&mut wire).await? {
        seen.done[1].set(seen.done[1].get() + 1);
        if seen.over.get() {
            break;
        }
    }
    Ok(())
}

async fn tunnel(ask: &Ask) -> Result<(), String> {
    let connected = Wire::connect_through(ask.proxy, Some(ask.credentials()), &ask.target.to_string()).await;
    let (mut wire, reply) = connected.map_err(|error| format!("connect: {error}"))?;
    if reply.status != 200 {
        return Err(format!("{} {}", reply.status, reply.text()));
    }
    for _ in 0..EXCHANGES {
        exchange(&mut wire).await.map_err(|error| format!("in the tunnel: {error}"))?;
    }
    Ok(())
}

async fn exchange(wire: &mut Wire) -> Result<(), WireError> {
    wire.send(&BLOCK).await?;
    wire.exactly(BLOCK.len()).await.map(|back| assert_eq!(back, BLOCK))
}
