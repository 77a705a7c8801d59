//! The target everything is measured against: one thread, one port; a connection's first byte says what it wants.
//!
//! | first byte | behaviour |
//! |---|---|
//! | `G` | HTTP/1.1 keep-alive: every request is answered with 1 KiB |
//! | `E` | echo |
//! | `D` | echo the byte, then send the pattern for ever |
//! | `U` | echo the byte, then take the pattern and count it |
//! | `T` | echo the byte, then tell the sinks' count and how many reads were wrong |
//!
//! It never closes first, except after an HTTP request that asks for it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::cli::OriginLine;
use crate::failure::{During, Outcome};
use crate::pattern::{CHUNK, Checker, Read, Source};
use crate::process;
use crate::setup::Mode;
use crate::wire::{self, Interest, Poll};

const LISTENER: usize = usize::MAX;
/// The body of every HTTP answer.
pub(crate) const BODY: [u8; 1024] = [b'o'; 1024];
/// A request head longer than this closes the connection.
const HEAD_LIMIT: usize = 16 * 1024;

/// Serves until killed. Prints `{"port":N}` once it listens.
pub(crate) fn serve(line: &OriginLine) -> Outcome<()> {
    process::end_with_parent().during("asking to end with the parent")?;
    process::pin(line.core)?;
    let mut origin = Origin::new(line.port).during("starting the origin")?;
    let ready = serde_json::json!({ "port": origin.port });
    writeln!(io::stdout(), "{ready}").during("telling the port")?;
    loop {
        origin.turn().during("serving")?;
    }
}

struct Origin {
    listener: OwnedFd,
    port: u16,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    shared: Shared,
}

/// What all connections use.
struct Shared {
    source: Source,
    scratch: Vec<u8>,
    answer: Vec<u8>,
    sunk: u64,
    wrong: u64,
}

struct Connection {
    fd: OwnedFd,
    role: Role,
}

enum Role {
    Unknown,
    Http {
        /// The beginning of a head whose rest hasn't come.
        partial: Vec<u8>,
    },
    Echo,
    Source {
        at: u64,
    },
    Sink(Checker),
}

/// What becomes of a connection after it was served once.
#[derive(PartialEq, Eq)]
enum Next {
    Keep,
    /// Watch it for room to write instead.
    Pour,
    Close,
}

impl Origin {
    fn new(port: u16) -> io::Result<Self> {
        let (listener, port) = wire::listen(port)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER, Interest::Read)?;
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", BODY.len()).into_bytes();
        answer.extend_from_slice(&BODY);
        let shared = Shared { source: Source::new()?, scratch: vec![0; CHUNK], answer, sunk: 0, wrong: 0 };
        Ok(Self { listener, port, poll, connections: Vec::new(), free: Vec::new(), shared })
    }

    fn turn(&mut self) -> io::Result<()> {
        let ready = self.poll.wait(Duration::from_secs(60))?;
        for index in 0..ready {
            let token = self.poll.token(index);
            if token == LISTENER {
                self.accept()?;
                continue;
            }
            let Some(connection) = self.connections[token].as_mut() else {
                continue;
            };
            // A connection's own error (mostly a reset) ends that connection, not the origin.
            match connection.serve(&mut self.shared).unwrap_or(Next::Close) {
                Next::Keep => {}
                Next::Pour => self.poll.change(&connection.fd, token, Interest::Write)?,
                Next::Close => {
                    self.connections[token] = None;
                    self.free.push(token);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(fd) = wire::accept(&self.listener)? {
            let token = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.add(&fd, token, Interest::Read)?;
            self.connections[token] = Some(Connection { fd, role: Role::Unknown });
        }
        Ok(())
    }
}

impl Connection {
    fn serve(&mut self, shared: &mut Shared) -> io::Result<Next> {
        match &mut self.role {
            Role::Unknown => self.begin(shared),
            Role::Http { partial } => {
                let Some(read) = wire::recv(&self.fd, &mut shared.scratch)? else {
                    return Ok(Next::Keep);
                };
                if read == 0 {
                    return Ok(Next::Close);
                }
                answer_requests(&self.fd, &shared.scratch[..read], partial, &shared.answer)
            }
            Role::Echo => {
                let Some(read) = wire::recv(&self.fd, &mut shared.scratch[..4096])? else {
                    return Ok(Next::Keep);
                };
                if read == 0 {
                    return Ok(Next::Close);
                }
                write_all(&self.fd, &shared.scratch[..read])
            }
            Role::Source { at } => {
                if let Some(sent) = shared.source.send(&self.fd, *at)? {
                    *at += sent as u64;
                }
                Ok(Next::Keep)
            }
            Role::Sink(checker) => match checker.read(&self.fd, &mut shared.scratch)? {
                Read::Nothing => Ok(Next::Keep),
                Read::Bytes(read) => {
                    shared.sunk += read as u64;
                    Ok(Next::Keep)
                }
                Read::Wrong => {
                    shared.wrong += 1;
                    Ok(Next::Close)
                }
                Read::End => Ok(Next::Close),
            },
        }
    }

    /// Reads the first byte (and no more, unless it is HTTP) and takes on its role.
    fn begin(&mut self, shared: &mut Shared) -> io::Result<Next> {
        let mut first = [0];
        match wire::recv(&self.fd, &mut first)? {
            None => return Ok(Next::Keep),
            Some(0) => return Ok(Next::Close),
            Some(_) => {}
        }
        let first = first[0];
        if first == b'G' {
            self.role = Role::Http { partial: vec![b'G'] };
            return self.serve(shared);
        }
        let (role, next) = match first {
            first if first == Mode::Echo as u8 => (Role::Echo, Next::Keep),
            first if first == Mode::Source as u8 => (Role::Source { at: 0 }, Next::Pour),
            first if first == Mode::Sink as u8 => (Role::Sink(Checker::default()), Next::Keep),
            first if first == Mode::Tally as u8 => {
                let mut tally = vec![first];
                tally.extend_from_slice(&shared.sunk.to_be_bytes());
                tally.extend_from_slice(&shared.wrong.to_be_bytes());
                self.role = Role::Echo;
                return write_all(&self.fd, &tally);
            }
            _ => return Ok(Next::Close),
        };
        self.role = role;
        match write_all(&self.fd, &[first])? {
            Next::Close => Ok(Next::Close),
            _ => Ok(next),
        }
    }
}

/// Answers every complete head in `partial` + `bytes` and keeps the rest. Requests have no bodies here.
fn answer_requests(to: &OwnedFd, bytes: &[u8], partial: &mut Vec<u8>, answer: &[u8]) -> io::Result<Next> {
    partial.extend_from_slice(bytes);
    let mut begin = 0;
    while let Some(length) = head_end(&partial[begin..]) {
        let closes = asks_to_close(&partial[begin..begin + length]);
        begin += length;
        if write_all(to, answer)? == Next::Close || closes {
            return Ok(Next::Close);
        }
    }
    partial.drain(..begin);
    Ok(if partial.len() > HEAD_LIMIT { Next::Close } else { Next::Keep })
}

/// Length of a message head including its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    // The empty line's second LF is looked for first: it is rare in a head, so this is close to a plain memchr.
    bytes.windows(4).position(|window| window[3] == b'\n' && window == b"\r\n\r\n").map(|at| at + 4)
}

fn asks_to_close(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n');
    let old = lines.next().is_some_and(|line| line.ends_with(b" HTTP/1.0\r"));
    const NAME: &[u8] = b"connection:";
    let value = lines.find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    match value.map(|line| line[NAME.len()..].trim_ascii()) {
        Some(value) => value.eq_ignore_ascii_case(b"close") || (old && !value.eq_ignore_ascii_case(b"keep-alive")),
        None => old,
    }
}

/// Answers are far smaller than a socket buffer, and the other side reads one before it asks for the next: a short write
/// means that it doesn't, and then it is let go.
fn write_all(to: &OwnedFd, bytes: &[u8]) -> io::Result<Next> {
    let sent = wire::send(to, bytes)?;
    Ok(if sent == Some(bytes.len()) { Next::Keep } else { Next::Close })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let cases: &[(&str, &[u8], Option<usize>)] = &[
            ("empty", b"", None),
            ("unfinished", b"GET / HTTP/1.1\r\nHost: a\r\n", None),
            ("just finished", b"GET / HTTP/1.1\r\n\r\n", Some(18)),
            ("with more behind", b"GET / HTTP/1.1\r\n\r\nGET /", Some(18)),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(head_end(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn closing() {
        let cases: &[(&[u8], bool)] = &[
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", true),
            (b"GET / HTTP/1.0\r\n\r\n", true),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ];
        for (head, expected) in cases {
            assert_eq!(asks_to_close(head), *expected, "{}", String::from_utf8_lossy(head));
        }
    }
}
