//! Records as they are written: lines in blocks, from event loops that never wait to one thread.

mod clock;
mod live;
mod recorder;
mod seal;
mod writer;

pub use recorder::Recorder;
pub use writer::{Failing, Health, Keep, Sealed, Writer};
