//! The records of one event loop, until the writer takes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::writer::Writer;
use crate::entry::{Entry, Line};
use crate::stream::Stream;

/// Records of one event loop are handed over in blocks of this size, or when [`FLUSH`] has passed.
const BLOCK: usize = 32 * 1024;
/// The longest a record waits in its event loop.
const FLUSH: Duration = Duration::from_millis(200);

/// Hands the records of one event loop to the writer. Without a writer it does nothing.
pub struct Recorder {
    writer: Option<Arc<Writer>>,
    access: Vec<u8>,
    auth: Vec<u8>,
    handed_over: Instant,
    clock: Clock,
}

impl Recorder {
    /// One that has nothing yet.
    pub fn new(writer: Option<Arc<Writer>>) -> Self {
        Self { writer, access: Vec::new(), auth: Vec::new(), handed_over: Instant::now(), clock: Clock::default() }
    }

    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes the record of a request that ended. Never waits.
    pub fn write(&mut self, entry: &Entry<'_>) {
        if self.writer.is_none() {
            return;
        }
        let buffer = match Stream::of(entry.layer()) {
            Stream::Access => &mut self.access,
            Stream::Auth => &mut self.auth,
        };
        let before = buffer.len();
        match serde_json::to_writer(&mut *buffer, &Line::new(entry, self.clock.show(entry.time))) {
            Ok(()) => buffer.push(b'\n'),
            // Nothing of a line is left that did not become whole.
            Err(_) => buffer.truncate(before),
        }
        if buffer.len() >= BLOCK {
            self.hand_over();
        }
    }

    /// Hands over what waits, if it waited long enough. To be called several times a second.
    pub fn tick(&mut self) {
        if self.handed_over.elapsed() >= FLUSH {
            self.hand_over();
        }
    }

    /// Hands over what waits.
    pub fn hand_over(&mut self) {
        self.handed_over = Instant::now();
        let Some(writer) = &self.writer else { return };
        for (buffer, stream) in [(&mut self.access, Stream::Access), (&mut self.auth, Stream::Auth)] {
            if !buffer.is_empty() {
                writer.send(stream, std::mem::take(buffer));
            }
        }
    }
}
