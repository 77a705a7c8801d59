//! Wire: a connection as WebSocket messages, and what their failures mean to a link.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{ClientBuilder, CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream};

use super::HandshakeError;
use crate::{
    frame::{self, Kind},
    mux::Side,
    words::{LinkEnd, decode_json, encode_json},
};

/// Longest message accepted, fragments together, in bytes; ours stay below (`mux/send.rs`).
const MAX_MESSAGE: usize = 512 * 1024;
/// More than this waiting is written before the next message is taken, in bytes.
const GATHER: usize = 64 * 1024;

/// Pings whose pongs may wait to be written: the WebSocket queues one for each, whether or not the peer reads.
pub(super) const PINGS: usize = 64;
/// What more of them are.
pub(super) const FLOOD: &str = "a flood of pings";

/// A connection and its WebSocket framing.
pub(super) struct Wire<IO>(WebSocketStream<IO>);

/// What arrived.
pub(super) enum Item {
    /// A whole message.
    Message(Bytes),
    /// The WebSocket has queued the pong.
    Ping,
    /// Nobody asked for it, nothing comes of it.
    Pong,
    /// The peer closes.
    Close,
    /// What this protocol never sends.
    Text,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn new(io: IO, side: Side) -> Wire<IO> {
        let config = Config::default().frame_size(MAX_MESSAGE).flush_threshold(GATHER);
        let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
        Wire(match side {
            Side::Gateway => ServerBuilder::new().config(config).limits(limits).serve(io),
            Side::Exit => ClientBuilder::new().config(config).limits(limits).take_over(io),
        })
    }

    /// The next message; `None` at the connection's end. Also tries to write what is queued.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>, LinkEnd>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| next.transpose().map(|next| next.map(Item::from)).map_err(failed))
    }

    /// Ready once little enough is queued for another message.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(failed)
    }

    /// Queues a message, without a copy.
    pub(super) fn queue(&mut self, message: Vec<u8>) -> Result<(), LinkEnd> {
        Pin::new(&mut self.0).start_send(Message::binary(message)).map_err(failed)
    }

    /// Writes and flushes what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(failed)
    }

    /// Closes, and reads until the peer has closed too: bytes still unread would turn the close into a reset that
    /// destroys the last message on its way.
    pub(super) async fn close(&mut self, code: Option<CloseCode>) -> Result<(), LinkEnd> {
        if let Some(code) = code {
            // Refused after the peer's own close or breach, which is answered already.
            let _ = self.0.send(Message::close(Some(code), "")).await;
        }
        self.0.close().await.map_err(failed)
    }

    /// Sends one control frame as a message of its own (handshake only).
    pub(super) async fn say(&mut self, kind: Kind, word: &impl serde::Serialize) -> Result<(), HandshakeError> {
        let mut out = Vec::new();
        if !encode_json(&mut out, kind, 0, word) {
            return Err(HandshakeError::Protocol(format!("{kind:?} too long to be said")));
        }
        Ok(self.0.send(Message::binary(out)).await.map_err(failed)?)
    }

    /// Waits for one control frame of this kind (handshake only).
    pub(super) async fn expect<T: serde::de::DeserializeOwned>(&mut self, kind: Kind) -> Result<T, HandshakeError> {
        let protocol = |what: &dyn fmt::Display| HandshakeError::Protocol(what.to_string());
        let mut pings = 0;
        let mut message = loop {
            match self.0.next().await.transpose().map_err(failed)?.map(Item::from) {
                Some(Item::Message(message)) => break message,
                Some(Item::Ping | Item::Pong) if pings < PINGS => pings += 1,
                Some(Item::Ping | Item::Pong) => return Err(protocol(&FLOOD)),
                Some(Item::Text) => return Err(protocol(&"a text message")),
                Some(Item::Close) | None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        };
        let frame = frame::decode(&mut message)
            .map_err(|violation| protocol(&violation))?
            .filter(|_| message.is_empty())
            .ok_or_else(|| protocol(&"an empty or crowded first message"))?;
        if frame.kind == Kind::Goodbye {
            let why = decode_json(frame.kind, &frame.payload).map_err(|violation| protocol(&violation))?;
            return Err(HandshakeError::Goodbye(why));
        }
        if frame.kind != kind {
            return Err(protocol(&format_args!("{:?} where {kind:?} belongs", frame.kind)));
        }
        decode_json(kind, &frame.payload).map_err(|violation| protocol(&violation))
    }
}

impl From<Message> for Item {
    fn from(message: Message) -> Item {
        if message.is_binary() {
            Item::Message(message.into_payload().into())
        } else if message.is_close() {
            Item::Close
        } else if message.is_text() {
            Item::Text
        } else if message.is_ping() {
            Item::Ping
        } else {
            Item::Pong
        }
    }
}

/// The WebSocket's errors as the end of a link.
fn failed(error: Error) -> LinkEnd {
    match error {
        Error::AlreadyClosed => LinkEnd::PeerClosed,
        Error::Io(error) => LinkEnd::Io(error.kind()),
        other => LinkEnd::Protocol(other.to_string()),
    }
}
