//! Hostile input: every malformed or ambiguous request gets a clear answer or a close, nothing reaches the origin,
//! memory stays bounded, and the next good request works.

mod answers;
mod doors;
mod guesses;
mod leaving;
mod load;
mod patience;
mod requests;

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::within;
use outgate_testkit::wire::{Expect, Reply, Wire, WireError};

use crate::OUTGATE;

/// What a gateway may hold in memory while it is attacked: several times what it holds at rest (18 MiB in a debug build).
const MEMORY: u64 = 80 << 20;

/// A gateway, an origin it may reach, and the first key's credentials.
struct Scene {
    gateway: GatewayProcess,
    origin: Origin,
    authorization: String,
}

impl Scene {
    fn set() -> Self {
        Self::with(Quickstart::new(OUTGATE))
    }

    fn with(quickstart: Quickstart) -> Self {
        let gateway = quickstart.start();
        let authorization = gateway.credentials(gateway.told("key_id")).header_line();
        Self { gateway, origin: Origin::start(), authorization }
    }

    async fn client(&self) -> Wire {
        Wire::connect(self.gateway.proxy()).await.expect("the gateway listens")
    }

    /// `{origin}` becomes the origin's address, `{auth}` a Proxy-Authorization line.
    fn raw(&self, text: &[u8]) -> Vec<u8> {
        let text = replaced(text, b"{origin}", self.origin.address().to_string().as_bytes());
        replaced(&text, b"{auth}", self.authorization.as_bytes())
    }

    fn get(&self, path: &str) -> Vec<u8> {
        self.raw(format!("GET http://{{origin}}{path} HTTP/1.1\r\nHost: {{origin}}\r\n{{auth}}\r\n").as_bytes())
    }

    /// A good request on a fresh connection works.
    async fn still_works(&self, after: &str) {
        let mut wire = self.client().await;
        wire.send(&self.get("/ok")).await.unwrap_or_else(|error| panic!("after {after}: {error}"));
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"), "after {after}");
    }

    /// A good request on a fresh connection works before long.
    async fn works_again(&self, what: &str) {
        within(what, async {
            loop {
                let mut wire = self.client().await;
                let sent = wire.send(&self.get("/ok")).await.is_ok();
                if sent && outcome(&mut wire).await.is_some_and(|reply| reply.status == 200) {
                    break;
                }
            }
        })
        .await;
    }

    fn memory(&mut self) -> u64 {
        self.gateway.daemon().resident_bytes()
    }
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What came of an attack: an answer, or a close without one.
async fn outcome(wire: &mut Wire) -> Option<Reply> {
    match wire.reply(Expect::Body).await {
        Ok(reply) => Some(reply),
        Err(WireError::Closed | WireError::Reset(_)) => None,
        Err(error) => panic!("neither an answer nor a close: {error}"),
    }
}

const GET: &str = "GET http://{origin}/ok HTTP/1.1\r\nHost: {origin}\r\n{auth}";
const POST: &str = "POST http://{origin}/upload HTTP/1.1\r\nHost: {origin}\r\n{auth}";
/// What a smuggler would hide behind a body: it must never be seen by the origin as a request.
const HIDDEN: &str = "GET http://{origin}/hidden HTTP/1.1\r\nHost: {origin}\r\n{auth}\r\n";
