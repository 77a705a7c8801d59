//! An HTTP/2 client that writes its frames by hand (RFC 9113, section 4), right or wrong, and reads each that comes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::patience::{HANG, within};
use crate::stream::Stream;
use crate::wire::Wire;

/// What a client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub mod kind {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames; ACK and END_STREAM are the same bit.
pub mod flag {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PRIORITY: u8 = 0x20;
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
///
/// # Panics
/// If the payload is beyond what 24 bits can say.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length < 1 << 24).expect("24 bits of length");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A SETTINGS frame with these values.
#[must_use]
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, flag::NONE, 0, &payload)
}

/// A WINDOW_UPDATE frame.
#[must_use]
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &increment.to_be_bytes())
}

/// A RST_STREAM frame that says CANCEL.
#[must_use]
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &8u32.to_be_bytes())
}

/// A header block: every field a literal that enters no table (RFC 7541, section 6.2.2), in the order given.
#[must_use]
pub fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

/// A string as HPACK writes it without Huffman's code (RFC 7541, section 5.2).
#[must_use]
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(rest as u8 | 128);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A connection whose frames are written by hand. A task of its own reads, so that nobody waits for it.
#[derive(Debug)]
pub struct Frames {
    writer: WriteHalf<Stream>,
    frames: UnboundedReceiver<Frame>,
    reader: JoinHandle<()>,
}

/// What came of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A frame.
    Frame(Frame),
    /// Its end.
    End,
}

impl Frames {
    /// Over a connection, without a word.
    #[must_use]
    pub fn over(wire: Wire) -> Self {
        let (stream, pending) = wire.into_parts();
        let (reader, writer) = tokio::io::split(stream);
        let (told, frames) = unbounded_channel();
        let reader = tokio::spawn(read(reader, pending, told));
        Self { writer, frames, reader }
    }

    /// Over a connection, as one begins: the preface and these settings.
    ///
    /// # Panics
    /// If the peer is gone.
    pub async fn begin(wire: Wire, values: &[(u16, u32)]) -> Self {
        let mut frames = Self::over(wire);
        assert!(frames.send(&[PREFACE, &settings(values)].concat()).await, "the peer is gone");
        frames
    }

    /// Reads nothing from here on: what comes fills the buffers in between.
    pub fn fall_deaf(&mut self) {
        self.reader.abort();
    }

    /// Writes bytes; whether the peer still takes them.
    ///
    /// # Panics
    /// If it neither takes nor refuses them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let write = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        tokio::time::timeout(HANG, write).await.expect("the peer takes bytes, or ends the connection").is_ok()
    }

    /// The next frame, or the end.
    pub async fn next(&mut self) -> Came {
        within("a frame", self.frames.recv()).await.map_or(Came::End, Came::Frame)
    }

    /// The next frame that is of interest, or the end; the frames before it are thrown away.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Came {
        loop {
            match self.next().await {
                Came::Frame(frame) if !wanted(&frame) => {}
                came => return came,
            }
        }
    }

    /// Whether the connection still works: a PING is answered. Frames that come before are thrown away.
    pub async fn is_alive(&mut self, payload: [u8; 8]) -> bool {
        let sent = self.send(&frame(kind::PING, flag::NONE, 0, &payload)).await;
        let answered = |frame: &Frame| frame.kind == kind::PING && frame.flags == flag::ACK && frame.payload == payload;
        sent && self.until(answered).await != Came::End
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut reader: ReadHalf<Stream>, mut bytes: Vec<u8>, told: UnboundedSender<Frame>) {
    loop {
        while let Some(frame) = take(&mut bytes) {
            if told.send(frame).is_err() {
                return;
            }
        }
        match reader.read_buf(&mut bytes).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}

fn take(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [a, b, c, kind, flags, d, e, f, g, ..] = bytes[..] else { return None };
    let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
    if bytes.len() < end {
        return None;
    }
    let rest = bytes.split_off(end);
    let payload = std::mem::replace(bytes, rest).split_off(9);
    Some(Frame { kind, flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]), payload })
}
