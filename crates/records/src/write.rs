//! Records as they are written: lines in blocks, from event loops that never wait to one thread.

mod clock;
mod recorder;
mod writer;

pub use recorder::Recorder;
pub use writer::{Keep, Sealed, Writer};
