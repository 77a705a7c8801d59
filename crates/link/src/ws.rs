//! WebSocket framing (RFC 6455 §5) after the handshake: whole binary messages in and out.
//!
//! Written out here because the data path wants what general libraries do not give: no zeroing of read buffers, one
//! pass for masking in the buffer that is written, no buffer while a link is idle. Its tests talk to a general library.

use bytes::{Buf, Bytes, BytesMut};
use ring::rand::SecureRandom;

/// Longest message accepted, fragments together, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1024 * 1024;
/// Room to leave before a payload for [`write_header`].
pub(crate) const HEADROOM: usize = 14;
/// Longest control payload (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// Which end this is: clients mask, servers do not (§5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Dialed.
    Client,
    /// Accepted.
    Server,
}

/// What arrived.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// A whole binary message.
    Message(Bytes),
    /// Answer with a pong of the same payload (§5.5.2).
    Ping(Bytes),
    /// The peer closes (§5.5.1).
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opcode {
    Binary = 2,
    Close = 8,
    Pong = 10,
}

/// Cuts messages from the bytes of a connection.
pub(crate) struct Decoder {
    role: Role,
    /// Fragments of an unfinished message.
    partial: Option<BytesMut>,
}

/// A breach of RFC 6455, in a few words.
pub(crate) type Breach = &'static str;

struct Header {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Of the header itself.
    length: usize,
    payload: usize,
}

impl Decoder {
    pub(crate) fn new(role: Role) -> Decoder {
        Decoder { role, partial: None }
    }

    /// The next item of `input`; `None` when more bytes are needed. Pongs are swallowed.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Item>, Breach> {
        loop {
            let Some(header) = parse(input)? else {
                return Ok(None);
            };
            if header.mask.is_some() != (self.role == Role::Server) {
                return Err("masked and unmasked mixed up");
            }
            if input.len() < header.length + header.payload {
                return Ok(None);
            }
            input.advance(header.length);
            let mut payload = input.split_to(header.payload);
            if let Some(key) = header.mask {
                mask(&mut payload, key, 0);
            }
            if let Some(item) = self.on_frame(&header, payload)? {
                return Ok(Some(item));
            }
        }
    }

    /// Bytes still missing of the frame at the head of `input`; 0 when even its header is incomplete.
    pub(crate) fn missing(input: &[u8]) -> usize {
        match parse(input) {
            Ok(Some(header)) => (header.length + header.payload).saturating_sub(input.len()),
            _ => 0,
        }
    }

    fn on_frame(&mut self, header: &Header, payload: BytesMut) -> Result<Option<Item>, Breach> {
        match (header.opcode, header.fin, &mut self.partial) {
            (0x2, true, None) => Ok(Some(Item::Message(payload.freeze()))),
            (0x2, false, partial @ None) => {
                *partial = Some(payload);
                Ok(None)
            }
            (0x0, fin, Some(partial)) => {
                if partial.len() + payload.len() > MAX_MESSAGE {
                    return Err("message too long");
                }
                partial.extend_from_slice(&payload);
                Ok(if fin { self.partial.take().map(|whole| Item::Message(whole.freeze())) } else { None })
            }
            (0x0, _, None) => Err("continuation of nothing"),
            (0x1, ..) => Err("text message"),
            (0x2, _, Some(_)) => Err("message inside a message"),
            (0x8, true, _) => Ok(Some(Item::Close)),
            (0x9, true, _) => Ok(Some(Item::Ping(payload.freeze()))),
            (0xA, true, _) => Ok(None),
            (0x8..=0xA, false, _) => Err("fragmented control frame"),
            _ => Err("reserved opcode"),
        }
    }
}

fn parse(input: &[u8]) -> Result<Option<Header>, Breach> {
    let [first, second, rest @ ..] = input else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err("reserved bits set");
    }
    let (payload, extended) = match second & 0x7f {
        126 => match rest {
            [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    // §5.2: the minimal number of bytes must be used.
    if (extended == 2 && payload < 126) || (extended == 8 && payload < 1 << 16) {
        return Err("length not minimal");
    }
    if payload > MAX_MESSAGE as u64 || (first & 0x08 != 0 && payload > MAX_CONTROL as u64) {
        return Err("message too long");
    }
    let mut length = 2 + extended;
    let mut mask = None;
    if second & 0x80 != 0 {
        let Some(key) = input[length..].first_chunk::<4>() else {
            return Ok(None);
        };
        mask = Some(*key);
        length += 4;
    }
    Ok(Some(Header { fin: first & 0x80 != 0, opcode: first & 0x0f, mask, length, payload: payload as usize }))
}

/// Writes the header of one unfragmented frame right-aligned into `room`; returns where it begins.
pub(crate) fn write_header(room: &mut [u8; HEADROOM], opcode: Opcode, payload: usize, mask: Option<[u8; 4]>) -> usize {
    let mut header = [0u8; HEADROOM];
    header[0] = 0x80 | opcode as u8;
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut length = match payload {
        0..126 => {
            header[1] = masked | payload as u8;
            2
        }
        126..0x1_0000 => {
            header[1] = masked | 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = masked | 127;
            header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = mask {
        header[length..length + 4].copy_from_slice(&key);
        length += 4;
    }
    room[HEADROOM - length..].copy_from_slice(&header[..length]);
    HEADROOM - length
}

/// Appends a whole control frame.
pub(crate) fn write_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mut room = [0; HEADROOM];
    let start = write_header(&mut room, opcode, payload.len(), key);
    out.extend_from_slice(&room[start..]);
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[at..], key, 0);
    }
}

/// Masks or unmasks in place (§5.3); `offset` is how far into the payload `data` begins.
pub(crate) fn mask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let mut turned = key;
    turned.rotate_left(offset % 4);
    let mut wide = [0u8; 32];
    for part in wide.chunks_exact_mut(4) {
        part.copy_from_slice(&turned);
    }
    // Fixed-size blocks, which the compiler turns into vector instructions.
    let (blocks, tail) = data.as_chunks_mut::<32>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(&wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in tail.iter_mut().zip(&wide) {
        *byte ^= key;
    }
}

/// Unpredictable masking keys (§5.3 wants strong entropy), fetched from the system by the hundred.
pub(crate) struct Masks {
    random: ring::rand::SystemRandom,
    keys: [u8; 512],
    used: usize,
}

impl Masks {
    pub(crate) fn new() -> Masks {
        Masks { random: ring::rand::SystemRandom::new(), keys: [0; 512], used: 512 }
    }

    /// # Errors
    /// The system has no randomness.
    pub(crate) fn next(&mut self) -> Result<[u8; 4], std::io::Error> {
        if self.used + 4 > self.keys.len() {
            self.random.fill(&mut self.keys).map_err(|_| std::io::Error::other("no randomness"))?;
            self.used = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&self.keys[self.used..self.used + 4]);
        self.used += 4;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first, payload.len() as u8];
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn masking_is_its_own_inverse_at_every_offset() {
        let key = [1, 2, 3, 4];
        for length in 0..100 {
            for offset in 0..5 {
                let plain: Vec<u8> = (0..length).collect();
                let mut data = plain.clone();
                mask(&mut data, key, offset);
                for (at, byte) in data.iter().enumerate() {
                    assert_eq!(*byte, plain[at] ^ key[(at + offset) % 4]);
                }
            }
        }
    }

    #[test]
    fn headers_come_back() {
        for payload in [0, 1, 125, 126, 0xffff, 0x1_0000, MAX_MESSAGE] {
            for key in [None, Some([9, 8, 7, 6])] {
                let mut room = [0; HEADROOM];
                let start = write_header(&mut room, Opcode::Binary, payload, key);
                let header = parse(&room[start..]).expect("sound").expect("whole");
                assert_eq!((header.payload, header.mask, header.length, header.fin), (payload, key, HEADROOM - start, true));
            }
        }
    }

    #[test]
    fn fragments_become_one_message_around_a_ping() {
        let mut input = BytesMut::new();
        for part in [frame(0x02, b"ab"), frame(0x89, b"?"), frame(0x00, b"c"), frame(0x8A, b""), frame(0x80, b"d")] {
            input.extend_from_slice(&part);
        }
        let mut decoder = Decoder::new(Role::Client);
        assert_eq!(decoder.next(&mut input), Ok(Some(Item::Ping(Bytes::from_static(b"?")))));
        assert_eq!(decoder.next(&mut input), Ok(Some(Item::Message(Bytes::from_static(b"abcd")))));
        assert_eq!(decoder.next(&mut input), Ok(None));
    }

    #[test]
    fn breaches_are_refused() {
        let huge = [&[0x82, 127], &(MAX_MESSAGE as u64 + 1).to_be_bytes()[..]].concat();
        let cases: [(&str, Vec<u8>, Role); 11] = [
            ("text", frame(0x81, b"x"), Role::Client),
            ("reserved bit", frame(0xC2, b"x"), Role::Client),
            ("reserved opcode", frame(0x83, b"x"), Role::Client),
            ("continuation of nothing", frame(0x80, b"x"), Role::Client),
            ("fragmented ping", frame(0x09, b"x"), Role::Client),
            ("long ping", vec![0x89, 126, 0, 126], Role::Client),
            ("16-bit length of 5", vec![0x82, 126, 0, 5], Role::Client),
            ("64-bit length of 5", vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0, 5], Role::Client),
            ("over 1 MiB", huge, Role::Client),
            ("unmasked to a server", frame(0x82, b"x"), Role::Server),
            ("masked to a client", vec![0x82, 0x81, 1, 2, 3, 4, 5], Role::Client),
        ];
        for (name, bytes, role) in cases {
            let mut input = BytesMut::from(&bytes[..]);
            assert!(Decoder::new(role).next(&mut input).is_err(), "{name}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut input = BytesMut::new();
            for _ in 0..24 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                input.extend_from_slice(&[(seed >> 56) as u8]);
            }
            let mut decoder = Decoder::new(if seed & 1 == 0 { Role::Client } else { Role::Server });
            while let Ok(Some(_)) = decoder.next(&mut input) {}
        }
    }
}
