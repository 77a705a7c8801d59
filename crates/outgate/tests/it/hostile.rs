//! Hostile HTTP/2: floods, breaches of the rules and clients that stall. The connection that attacks ends as RFC 9113 wants it or
//! stays within its bounds; whoever asks beside it is served all the while, and memory and processor come to rest.

mod breaches;
mod floods;
mod stalls;

use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::h2_frames::{Came, Frames, flag, frame, header_block, kind};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Expect, Wire};

use crate::OUTGATE;

/// What a gateway may hold in memory while one connection attacks it; at rest it holds about 20 MiB in a debug build.
const MEMORY: u64 = 80 << 20;
/// Looks in a row, 5 ms and more apart, at which the processor's clock (10 ms) must stand still.
const RESTFUL_LOOKS: u32 = 40;

/// Error codes (RFC 9113, section 7).
mod code {
    pub(super) const PROTOCOL_ERROR: u32 = 1;
    pub(super) const INTERNAL_ERROR: u32 = 2;
    pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(super) const STREAM_CLOSED: u32 = 5;
    pub(super) const FRAME_SIZE_ERROR: u32 = 6;
    pub(super) const REFUSED_STREAM: u32 = 7;
    pub(super) const COMPRESSION_ERROR: u32 = 9;
    pub(super) const CONNECT_ERROR: u32 = 10;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What must become of a connection that attacks.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// GOAWAY with one of these codes, and the end.
    Ended(&'static [u32]),
    /// The stream is reset with one of these codes; the connection lives.
    Reset(&'static [u32]),
    /// A malformed request: its stream is reset, or the whole connection ended, as the server likes (RFC 9113, section 8.1.1).
    Malformed,
    /// Everything that came was allowed; the connection lives.
    Lives,
}

/// A gateway, an origin it may reach, and the first key's credentials as the value of a field.
struct Scene {
    gateway: Doors,
    origin: Origin,
    authorization: String,
}

impl Scene {
    fn set(variables: &[(&str, &str)]) -> Self {
        let quickstart = variables.iter().fold(Quickstart::new(OUTGATE), |start, (name, value)| start.env(name, value));
        let gateway = Doors::open(quickstart, "");
        let authorization = gateway.credentials(gateway.told("key_id")).field_value();
        Self { gateway, origin: Origin::start(), authorization }
    }

    /// A connection of hand-written frames, begun with these settings.
    async fn attacker(&self, settings: &[(u16, u32)]) -> Frames {
        Frames::begin(self.gateway.over_tls(&["h2"]).await, settings).await
    }

    /// The header block of a request to the origin.
    fn get(&self, path: &str) -> Vec<u8> {
        self.get_from(&self.origin.address().to_string(), path)
    }

    fn get_from(&self, authority: &str, path: &str) -> Vec<u8> {
        let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", path)];
        header_block(&[&pseudo[..], &[("proxy-authorization", &self.authorization)]].concat())
    }

    fn connect_to(&self, authority: &str) -> Vec<u8> {
        header_block(&[(":method", "CONNECT"), (":authority", authority), ("proxy-authorization", &self.authorization)])
    }

    /// Somebody else is served, over HTTP/1.1 and over HTTP/2.
    async fn serves_others(&self, during: &str) {
        let at = self.origin.address();
        let mut wire = Wire::connect(self.gateway.proxy()).await.unwrap_or_else(|error| panic!("{during}: {error}"));
        let get = format!("GET http://{at}/ok HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: {}\r\n\r\n", self.authorization);
        wire.send(get.as_bytes()).await.unwrap_or_else(|error| panic!("{during}: {error}"));
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{during}: {error}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"), "{during}");
        let request = http::Request::get(self.origin.url("/ok")).header("proxy-authorization", &self.authorization);
        let mut client = self.gateway.over_h2().await;
        let (reply, _) = client.ask(request.body(()).expect("a request")).await.unwrap_or_else(|why| panic!("{during}: {why:?}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"), "{during}");
    }

    /// Memory is bounded, and the processor comes to rest although the attacker is still there.
    async fn is_at_rest(&mut self, after: &str) {
        let memory = self.gateway.daemon().resident_bytes();
        assert!(memory < MEMORY, "{after}: {memory} bytes held");
        let (mut ticks, mut still) = (0, 0);
        until(&format!("the processor to rest after {after}"), || {
            let now = self.gateway.daemon().ticks();
            still = if now == ticks { still + 1 } else { 0 };
            ticks = now;
            (still >= RESTFUL_LOOKS).then_some(())
        })
        .await;
    }
}

/// HEADERS, whole.
fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, block)
}

/// Checks what became of the connection.
async fn check(attacker: &mut Frames, name: &str, fate: Fate) {
    let code_of = |payload: &[u8]| payload.last_chunk().map(|code| u32::from_be_bytes(*code));
    match fate {
        Fate::Ended(codes) => {
            let came = attacker.until(|frame| frame.kind == kind::GOAWAY).await;
            let Came::Frame(goaway) = came else { panic!("{name}: it ended without a word") };
            let code = goaway.payload.get(4..8).and_then(code_of).expect("GOAWAY has a code");
            assert!(codes.contains(&code), "{name}: GOAWAY says {code}, not one of {codes:?}");
            assert_eq!(attacker.until(|_| false).await, Came::End, "{name}");
        }
        Fate::Reset(codes) => {
            let came = attacker.until(|frame| matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY)).await;
            let Came::Frame(reset) = came else { panic!("{name}: it ended without a word") };
            assert_eq!(reset.kind, kind::RST_STREAM, "{name}: {reset:?}");
            let code = code_of(&reset.payload).expect("RST_STREAM has a code");
            assert!(codes.contains(&code), "{name}: RST_STREAM says {code}, not one of {codes:?}");
            assert!(attacker.is_alive(*b"still up").await, "{name}");
        }
        Fate::Malformed => {
            let came = attacker.until(|frame| matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY)).await;
            let Came::Frame(end) = came else { panic!("{name}: it ended without a word") };
            let code = if end.kind == kind::GOAWAY { end.payload.get(4..8).and_then(code_of) } else { code_of(&end.payload) };
            assert_eq!(code, Some(code::PROTOCOL_ERROR), "{name}: {end:?}");
        }
        Fate::Lives => assert!(attacker.is_alive(*b"still up").await, "{name}"),
    }
}
