//! The endless byte sequence of bulk transfers: cheap to send, and wrong at the first byte lost, repeated or swapped.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::Errno;

use crate::wire;

/// Byte `i` of the sequence is `i % 251`: a prime, so no power-of-two slip goes unseen.
const PERIOD: u64 = 251;
/// 251 pages: the file repeats seamlessly and page by page.
const FILE: u64 = PERIOD * 4096;
/// Bytes per system call. Well above a socket buffer's usual fill, so calls stay rare.
pub(crate) const CHUNK: usize = 256 * 1024;
/// One read in this many is copied out and compared; the others are dropped by the kernel, because a generator that
/// copies 25 Gbit/s twice would be slower than what it measures. Positions go on counting, so a loss in a dropped
/// part shows in the next one compared.
const COMPARE_EVERY: u32 = 16;

/// Sends the sequence without copying it, out of a file in memory.
pub(crate) struct Source {
    file: OwnedFd,
}

impl Source {
    pub(crate) fn new() -> io::Result<Self> {
        let file = memfd_create("outgate-bench-pattern", MemfdFlags::CLOEXEC)?;
        let bytes: Vec<u8> = (0..FILE).map(|at| (at % PERIOD) as u8).collect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = &rest[written..];
        }
        Ok(Self { file })
    }

    /// Sends some of what follows position `at`; `None` when the socket takes nothing now.
    pub(crate) fn send(&self, to: &OwnedFd, at: u64) -> io::Result<Option<usize>> {
        let mut offset = at % FILE;
        let count = CHUNK.min((FILE - offset) as usize);
        match sendfile(to, &self.file, Some(&mut offset), count) {
            Ok(sent) => Ok(Some(sent)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a [`Checker`] read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    Nothing,
    Bytes(usize),
    /// A byte that isn't the sequence's, at this position or after it.
    Wrong,
    End,
}

/// Follows one received sequence.
#[derive(Clone, Default)]
pub(crate) struct Checker {
    at: u64,
    reads: u32,
}

impl Checker {
    /// Reads once. `buffer` is scratch, [`CHUNK`] long, shared by all checkers of a thread.
    pub(crate) fn read(&mut self, from: &OwnedFd, buffer: &mut [u8]) -> io::Result<Read> {
        let compare = self.reads.is_multiple_of(COMPARE_EVERY);
        let read = if compare { wire::recv(from, buffer)? } else { wire::discard(from, buffer)? };
        let Some(read) = read else {
            return Ok(Read::Nothing);
        };
        if read == 0 {
            return Ok(Read::End);
        }
        self.reads = self.reads.wrapping_add(1);
        if compare && !self.follows(&buffer[..read]) {
            return Ok(Read::Wrong);
        }
        self.at += read as u64;
        Ok(Read::Bytes(read))
    }

    fn follows(&self, bytes: &[u8]) -> bool {
        let mut expected = (self.at % PERIOD) as u8;
        bytes.iter().all(|byte| {
            let right = *byte == expected;
            expected = if u64::from(expected) + 1 == PERIOD { 0 } else { expected + 1 };
            right
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slip_is_seen() {
        let sequence: Vec<u8> = (0..2048_u64).map(|at| (at % PERIOD) as u8).collect();
        let cases: &[(&str, u64, &[u8], bool)] = &[
            ("from the start", 0, &sequence, true),
            ("after a period", PERIOD, &sequence, true),
            ("from the middle", 300, &sequence[300..], true),
            ("one byte lost", 300, &sequence[301..], false),
            ("a page lost", 4096, &sequence, false),
            ("64 KiB repeated", 65536, &sequence, false),
            ("zeroes", 0, &[0; 16], false),
        ];
        for (name, at, bytes, right) in cases {
            let checker = Checker { at: *at, reads: 0 };
            assert_eq!(checker.follows(bytes), *right, "{name}");
        }
    }
}
