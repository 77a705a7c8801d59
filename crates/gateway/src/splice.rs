//! Moves bytes from one TCP connection to another inside the kernel: splice(2) through a pipe held only while they flow.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes a pipe is asked to hold; the kernel may grant less (pipe(7), pipe-max-size).
const CAPACITY: usize = 256 * 1024;
/// The most pipes of one event loop: each is two descriptors, and a full one is kernel memory. Beyond them bytes are copied.
const MOST: usize = 128;
/// The most pipes kept for the next tunnel when nothing flows.
const MOST_SPARE: usize = 16;

/// A stream that may be a plain TCP connection.
pub(crate) trait Socket {
    /// The connection, if nothing lies between its bytes and the stream's.
    fn tcp(&self) -> Option<&TcpStream>;
}

impl Socket for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// The pipes of one event loop.
#[derive(Default)]
pub(crate) struct Pipes {
    spare: RefCell<Vec<Pipe>>,
    made: Rc<Cell<usize>>,
}

/// A pipe, and how many bytes are in it.
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
    made: Rc<Cell<usize>>,
}

impl Pipes {
    /// An empty pipe; none when there are too many, or the system has no more to give.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.made.get() >= MOST {
            return None;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Refused to a user who holds many pipes already: a small pipe moves bytes too.
        let capacity = fcntl_setpipe_size(&writer, CAPACITY).or_else(|_| fcntl_getpipe_size(&writer)).ok()?;
        self.made.set(self.made.get() + 1);
        Some(Pipe { reader, writer, capacity, held: 0, made: self.made.clone() })
    }

    /// Takes a pipe back. One that is not empty is nobody's any more and closes.
    pub(crate) fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < MOST_SPARE {
            spare.push(pipe);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.made.set(self.made.get() - 1);
    }
}

impl Pipe {
    /// Whether everything that came in went out.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// The most bytes that one fill can take.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes up to `most` bytes from the source into the empty pipe. Zero is the source's end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, source: &TcpStream, most: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(source.poll_read_ready(cx))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match source.try_io(Interest::READABLE, || Ok(splice(source, None, &self.writer, None, most, flags)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(filled) => {
                    self.held += filled;
                    return Poll::Ready(Ok(filled));
                }
            }
        }
    }

    /// Hands all that is in the pipe to the sink.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>, sink: &TcpStream) -> Poll<io::Result<()>> {
        while self.held > 0 {
            ready!(sink.poll_write_ready(cx))?;
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match sink.try_io(Interest::WRITABLE, || Ok(splice(&self.reader, None, sink, None, self.held, flags)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(drained) => self.held -= drained.min(self.held),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialed, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (dialed.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_pass_unchanged_and_counted_and_the_end_is_seen() {
        let ((mut near, source), (sink, mut far)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let writer = async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let moved = async {
            let pipes = Pipes::default();
            let mut pipe = pipes.take().unwrap();
            let mut moved = 0;
            loop {
                match poll_fn(|cx| pipe.poll_fill(cx, &source, 100_000)).await.unwrap() {
                    0 => break,
                    filled => moved += filled,
                }
                poll_fn(|cx| pipe.poll_drain(cx, &sink)).await.unwrap();
                assert!(pipe.is_empty());
            }
            pipes.give_back(pipe);
            drop(sink);
            moved
        };
        let mut received = Vec::new();
        let ((), moved, read) = tokio::join!(writer, moved, far.read_to_end(&mut received));
        assert_eq!((moved, read.unwrap()), (expected.len(), expected.len()));
        assert!(received == expected);
    }

    #[tokio::test]
    async fn pipes_are_bounded_and_a_used_one_is_not_taken_back() {
        let pipes = Pipes::default();
        let mut taken: Vec<Pipe> = (0..MOST).map_while(|_| pipes.take()).collect();
        assert_eq!(taken.len(), MOST);
        assert!(pipes.take().is_none());
        let mut used = taken.pop().unwrap();
        used.held = 1;
        pipes.give_back(used);
        assert!(pipes.spare.borrow().is_empty());
        pipes.give_back(taken.pop().unwrap());
        assert_eq!((pipes.spare.borrow().len(), pipes.made.get()), (1, MOST - 1));
        assert!(pipes.take().is_some());
    }
}
