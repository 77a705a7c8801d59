//! Frames: the 8-byte header, the kinds, and what makes a peer's bytes a violation.
//!
//! A WebSocket message holds one or more whole frames:
//!
//! ```text
//!  0        1                 4                        8
//! +--------+-----------------+------------------------+-----------
//! | kind   | length (u24 BE) | tunnel (u32 BE)        | payload …
//! +--------+-----------------+------------------------+-----------
//! ```
//!
//! Tunnel 0 is the link itself. `Data` is raw, `Window` and `Return` are a u32, `Ping` and `Pong` are fixed binary,
//! the rest is compact JSON (the shapes live in [`crate::words`]).

use std::fmt;

use bytes::{Buf, Bytes};

/// Bytes of a frame header.
pub const HEADER: usize = 8;
/// Longest payload of one `Data` frame: a turn of one tunnel, and what one handed-out chunk can weigh.
pub const MAX_DATA: usize = 64 * 1024;
/// Longest payload of any other frame.
pub const MAX_CONTROL: usize = 8 * 1024;

/// What a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Exit → gateway, first frame: who it is.
    Hello = 1,
    /// Gateway → exit, answer to `Hello`: accepted.
    Welcome = 2,
    /// Either way: this link ends now, and why.
    Goodbye = 3,
    /// Gateway → exit: open a tunnel to a target.
    Connect = 4,
    /// Exit → gateway: the target accepted.
    Connected = 5,
    /// Exit → gateway: no tunnel, and why.
    Refused = 6,
    /// Payload of a tunnel.
    Data = 7,
    /// More credit for the other side's `Data`, in bytes.
    Window = 8,
    /// No more `Data` from this side (half-close).
    End = 9,
    /// The tunnel is broken off, both ways.
    Reset = 10,
    /// Exit → gateway: clock and last round trip.
    Ping = 11,
    /// Gateway → exit: the clock of the `Ping` again.
    Pong = 12,
    /// No new tunnels on this link, please.
    Drain = 13,
    /// Unused credit given back by an idle sender, in bytes.
    Return = 14,
    /// The sender has more and no credit for it: a larger window would be used.
    Blocked = 15,
    /// Gateway → exit: change the address you leave from, please. Only to exits whose `Hello` says that they can.
    Rotate = 16,
    /// Exit → gateway: what became of a `Rotate`.
    Rotated = 17,
    /// Gateway that holds exits → gateway it is linked to: an exit of its own, or what has changed of it.
    Offer = 18,
    /// The same way: an exit that is no longer there.
    Withdraw = 19,
}

impl Kind {
    fn parse(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Goodbye,
            4 => Kind::Connect,
            5 => Kind::Connected,
            6 => Kind::Refused,
            7 => Kind::Data,
            8 => Kind::Window,
            9 => Kind::End,
            10 => Kind::Reset,
            11 => Kind::Ping,
            12 => Kind::Pong,
            13 => Kind::Drain,
            14 => Kind::Return,
            15 => Kind::Blocked,
            16 => Kind::Rotate,
            17 => Kind::Rotated,
            18 => Kind::Offer,
            19 => Kind::Withdraw,
            _ => return None,
        })
    }

    /// Does a frame of this kind belong to the link itself (tunnel 0)?
    fn of_link(self) -> bool {
        match self {
            Kind::Hello
            | Kind::Welcome
            | Kind::Goodbye
            | Kind::Ping
            | Kind::Pong
            | Kind::Drain
            | Kind::Rotate
            | Kind::Rotated
            | Kind::Offer
            | Kind::Withdraw => true,
            Kind::Connect
            | Kind::Connected
            | Kind::Refused
            | Kind::Data
            | Kind::Window
            | Kind::End
            | Kind::Reset
            | Kind::Return
            | Kind::Blocked => false,
        }
    }

    fn length_fits(self, length: usize) -> bool {
        match self {
            Kind::Data => length <= MAX_DATA,
            Kind::Window | Kind::Return => length == 4,
            Kind::End | Kind::Drain | Kind::Blocked => length == 0,
            Kind::Ping => length == PING,
            Kind::Pong => length == PONG,
            Kind::Hello
            | Kind::Welcome
            | Kind::Goodbye
            | Kind::Connect
            | Kind::Connected
            | Kind::Refused
            | Kind::Reset
            | Kind::Rotate
            | Kind::Rotated
            | Kind::Offer
            | Kind::Withdraw => length <= MAX_CONTROL,
        }
    }
}

/// `Ping`: sender's clock in µs (u64), its last round trip in µs (u32, 0 = unknown).
pub(crate) const PING: usize = 12;
/// `Pong`: the clock of the `Ping` it answers.
pub(crate) const PONG: usize = 8;

/// One frame as received. The payload is a slice of the message it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// Whom it concerns; 0 is the link.
    pub tunnel: u32,
    /// What follows the header.
    pub payload: Bytes,
}

/// Takes the next frame off a message; `None` at its end.
///
/// # Errors
/// Whatever a well-built peer never sends; the link must end.
pub fn decode(message: &mut Bytes) -> Result<Option<Frame>, Violation> {
    if message.is_empty() {
        return Ok(None);
    }
    if message.len() < HEADER {
        return Err(Violation::Truncated);
    }
    let first = message.get_u32();
    let tunnel = message.get_u32();
    let [byte, ..] = first.to_be_bytes();
    let length = (first & 0x00ff_ffff) as usize;
    let kind = Kind::parse(byte).ok_or(Violation::UnknownKind(byte))?;
    if !kind.length_fits(length) {
        return Err(Violation::Length { kind, length });
    }
    if kind.of_link() != (tunnel == 0) {
        return Err(Violation::WrongTunnel { kind, tunnel });
    }
    if message.len() < length {
        return Err(Violation::Truncated);
    }
    Ok(Some(Frame { kind, tunnel, payload: message.split_to(length) }))
}

/// Appends a frame. The caller keeps the payload within the kind's limit.
pub fn encode(out: &mut Vec<u8>, kind: Kind, tunnel: u32, payload: &[u8]) {
    encode_header(out, kind, tunnel, payload.len());
    out.extend_from_slice(payload);
}

/// Appends only the header; exactly `length` bytes of payload must follow.
pub(crate) fn encode_header(out: &mut Vec<u8>, kind: Kind, tunnel: u32, length: usize) {
    debug_assert!(kind.length_fits(length), "{kind:?} of {length} bytes");
    let mut header = [0u8; HEADER];
    header[..4].copy_from_slice(&(((kind as u32) << 24) | length as u32).to_be_bytes());
    header[4..].copy_from_slice(&tunnel.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Length of the whole frame that this side encoded at the start of `frames`.
pub(crate) fn length(frames: &[u8]) -> usize {
    HEADER + (usize::from(frames[1]) << 16 | usize::from(frames[2]) << 8 | usize::from(frames[3]))
}

/// A breach of the protocol by the peer. It ends the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A message ends inside a frame.
    Truncated,
    /// A kind this version does not know.
    UnknownKind(u8),
    /// A length the kind does not allow.
    Length {
        /// The kind.
        kind: Kind,
        /// What its header said.
        length: usize,
    },
    /// A link frame on a tunnel, or a tunnel frame on the link.
    WrongTunnel {
        /// The kind.
        kind: Kind,
        /// The tunnel it named.
        tunnel: u32,
    },
    /// A payload that is not what the kind promises.
    Malformed(Kind),
    /// A frame this side never receives, or not in this state of the tunnel.
    OutOfPlace {
        /// The kind.
        kind: Kind,
        /// The tunnel it named.
        tunnel: u32,
    },
    /// A tunnel nobody ever opened.
    UnknownTunnel {
        /// The kind.
        kind: Kind,
        /// The tunnel it named.
        tunnel: u32,
    },
    /// More `Data` than the credit given.
    OverCredit {
        /// The tunnel.
        tunnel: u32,
    },
    /// Credit beyond any window, or more given back than was left.
    CreditOverflow {
        /// The tunnel.
        tunnel: u32,
    },
    /// It makes us answer but does not read the answers.
    Flood,
    /// More exits offered than are taken in over this link: over an exit's own, any.
    TooManyOffers,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Truncated => write!(f, "a message ends inside a frame"),
            Violation::UnknownKind(byte) => write!(f, "unknown frame kind {byte}"),
            Violation::Length { kind, length } => write!(f, "{kind:?} frame of {length} bytes"),
            Violation::WrongTunnel { kind, tunnel } => {
                write!(f, "{kind:?} frame on tunnel {tunnel}")
            }
            Violation::Malformed(kind) => write!(f, "malformed {kind:?} frame"),
            Violation::OutOfPlace { kind, tunnel } => {
                write!(f, "{kind:?} frame out of place on tunnel {tunnel}")
            }
            Violation::UnknownTunnel { kind, tunnel } => {
                write!(f, "{kind:?} frame for tunnel {tunnel}, never opened")
            }
            Violation::OverCredit { tunnel } => {
                write!(f, "more data than credit on tunnel {tunnel}")
            }
            Violation::CreditOverflow { tunnel } => {
                write!(f, "impossible credit on tunnel {tunnel}")
            }
            Violation::Flood => write!(f, "the peer asks but does not read the answers"),
            Violation::TooManyOffers => write!(f, "the peer offers more exits than are taken in here"),
        }
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            (Kind::Data, 7, vec![1u8; 300]),
            (Kind::Data, 8, vec![]),
            (Kind::Window, u32::MAX, vec![0, 1, 0, 0]),
            (Kind::End, 7, vec![]),
            (Kind::Goodbye, 0, b"{}".to_vec()),
        ];
        let mut wire = Vec::new();
        for (kind, tunnel, payload) in &frames {
            encode(&mut wire, *kind, *tunnel, payload);
        }
        let mut message = Bytes::from(wire);
        for (kind, tunnel, payload) in frames {
            let frame = Frame { kind, tunnel, payload: payload.into() };
            assert_eq!(decode(&mut message), Ok(Some(frame)));
        }
        assert_eq!(decode(&mut message), Ok(None));
    }

    #[test]
    fn breaches_are_named() {
        let cases: [(&str, &[u8], Violation); 7] = [
            ("half a header", &[7, 0, 0], Violation::Truncated),
            ("half a payload", &[7, 0, 0, 4, 0, 0, 0, 1, 9], Violation::Truncated),
            ("kind 0", &[0, 0, 0, 0, 0, 0, 0, 0], Violation::UnknownKind(0)),
            ("kind 99", &[99, 0, 0, 0, 0, 0, 0, 0], Violation::UnknownKind(99)),
            ("data of 64 KiB + 1", &[7, 1, 0, 1, 0, 0, 0, 1], Violation::Length { kind: Kind::Data, length: MAX_DATA + 1 }),
            ("data on the link", &[7, 0, 0, 0, 0, 0, 0, 0], Violation::WrongTunnel { kind: Kind::Data, tunnel: 0 }),
            ("drain on a tunnel", &[13, 0, 0, 0, 0, 0, 0, 5], Violation::WrongTunnel { kind: Kind::Drain, tunnel: 5 }),
        ];
        for (name, bytes, violation) in cases {
            assert_eq!(decode(&mut Bytes::copy_from_slice(bytes)), Err(violation), "{name}");
        }
    }
}
