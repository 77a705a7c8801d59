//! Forwarded requests per second: 1 KiB answers over keep-alive connections, one request at a time on each.
//!
//! A proxy that announces `Connection: close`, or closes a used connection without a word (as HTTP allows between messages),
//! gets a new connection, as a client would make one; the reading's `reconnect_share` tells how many requests took that.

use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use crate::failure::{During, Failure, Outcome};
use crate::load::{Clock, PATIENCE, Tick, add_rate};
use crate::measure::Reading;
use crate::origin::{BODY, head_end};
use crate::route::Route;
use crate::wire::{self, Interest, Poll};

pub(super) fn run(route: &Route, concurrency: usize, mut clock: Clock) -> Outcome<Reading> {
    let request = route.request();
    let mut poll = Poll::new().during("epoll")?;
    let mut clients = Vec::with_capacity(concurrency);
    for token in 0..concurrency {
        clients.push(Client::connect(route.entry(token), &request, &poll, token)?);
    }
    let (mut done, mut reconnects, mut before) = (0_u64, 0_u64, (0_u64, 0_u64));
    loop {
        let ready = poll.wait(PATIENCE).during("epoll")?;
        for index in 0..ready {
            let token = poll.token(index);
            match clients[token].step(&request, &poll, token)? {
                Answered::NotYet => {}
                Answered::Kept => {
                    done += 1;
                    clients[token].ask_again(&request)?;
                }
                last @ (Answered::Closing | Answered::Gone) => {
                    done += u64::from(last == Answered::Closing);
                    reconnects += 1;
                    clients[token] = Client::connect(route.entry(token), &request, &poll, token)?;
                }
            }
        }
        match clock.tick(done)? {
            Tick::Steady => {}
            Tick::Begin => before = (done, reconnects),
            Tick::End => break,
        }
    }
    let mut reading = clock.reading()?;
    add_rate(&mut reading, done - before.0);
    let share = (reconnects - before.1) as f64 / ((done - before.0) as f64).max(1.0);
    reading.insert("reconnect_share".into(), share);
    Ok(reading)
}

struct Client {
    fd: OwnedFd,
    asked: bool,
    /// An answer came over this connection before.
    used: bool,
    filled: usize,
    answer: Box<[u8; 4096]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    NotYet,
    Kept,
    /// Complete, and the proxy says that it closes.
    Closing,
    /// Not at all: the proxy had closed the used connection before.
    Gone,
}

impl Client {
    fn connect(to: SocketAddrV4, request: &[u8], poll: &Poll, token: usize) -> Outcome<Self> {
        let fd = wire::connect(to).during(format_args!("connecting to {to}"))?;
        let mut this = Self { fd, asked: false, used: false, filled: 0, answer: Box::new([0; 4096]) };
        this.ask(request)?;
        poll.add(&this.fd, token, if this.asked { Interest::Read } else { Interest::Write }).during("epoll")?;
        Ok(this)
    }

    fn ask(&mut self, request: &[u8]) -> Outcome<()> {
        self.filled = 0;
        match wire::send(&self.fd, request).during("sending a request")? {
            Some(sent) if sent == request.len() => self.asked = true,
            None if !self.asked => {}
            _ => {
                return Err(Failure::new("an idle connection took only a part of a request"));
            }
        }
        Ok(())
    }

    /// A used connection may have been closed meanwhile: then this fails quietly and [`Client::step`] finds it gone.
    fn ask_again(&mut self, request: &[u8]) -> Outcome<()> {
        (self.used, self.filled) = (true, 0);
        match wire::send(&self.fd, request) {
            Ok(Some(sent)) if sent == request.len() => Ok(()),
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) => Err(error).during("sending a request"),
            Ok(_) => Err(Failure::new("an idle connection took only a part of a request")),
        }
    }

    fn step(&mut self, request: &[u8], poll: &Poll, token: usize) -> Outcome<Answered> {
        if !self.asked {
            self.ask(request)?;
            if self.asked {
                poll.change(&self.fd, token, Interest::Read).during("epoll")?;
            }
            return Ok(Answered::NotYet);
        }
        let unanswered = self.used && self.filled == 0;
        let read = match wire::recv(&self.fd, &mut self.answer[self.filled..]) {
            Err(error) if unanswered && is_closed(&error) => return Ok(Answered::Gone),
            read => read.during("reading an answer")?,
        };
        match read {
            None => return Ok(Answered::NotYet),
            Some(0) if unanswered => return Ok(Answered::Gone),
            Some(0) => {
                return Err(wrong("the connection ended before the answer did", &self.answer[..self.filled]));
            }
            Some(read) => self.filled += read,
        }
        let answered = judge(&self.answer[..self.filled])?;
        if matches!(answered, Answered::NotYet) && self.filled == self.answer.len() {
            return Err(wrong("the answer is longer than 4 KiB", &self.answer[..self.filled]));
        }
        Ok(answered)
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Exactly one 200 with exactly the origin's body, or it is wrong.
fn judge(answer: &[u8]) -> Outcome<Answered> {
    let Some(length) = head_end(answer) else {
        return Ok(Answered::NotYet);
    };
    let (head, body) = answer.split_at(length);
    if !head.starts_with(b"HTTP/1.1 200 ") && !head.starts_with(b"HTTP/1.0 200 ") {
        return Err(wrong("a request was not answered with 200", answer));
    }
    let mut announced = None;
    let mut closing = head.starts_with(b"HTTP/1.0");
    for line in head.split(|byte| *byte == b'\n') {
        if let Some(value) = header(line, b"content-length:") {
            announced = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
        } else if let Some(value) = header(line, b"connection:") {
            closing = value.eq_ignore_ascii_case(b"close") || (closing && !value.eq_ignore_ascii_case(b"keep-alive"));
        }
    }
    // A proxy that closes may leave the length out: then all the body is known to be there by its own length.
    if announced != Some(BODY.len()) && !(announced.is_none() && closing) {
        return Err(wrong("an answer has the wrong Content-Length", answer));
    }
    if body.len() < BODY.len() {
        return Ok(Answered::NotYet);
    }
    if body != BODY {
        return Err(wrong("an answer has the wrong body", answer));
    }
    Ok(if closing { Answered::Closing } else { Answered::Kept })
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (first, value) = line.split_at_checked(name.len())?;
    first.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn wrong(why: &str, answer: &[u8]) -> Failure {
    Failure::new(format!("{why}: {:?}", String::from_utf8_lossy(&answer[..answer.len().min(300)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judging() {
        let body = String::from_utf8_lossy(&BODY).into_owned();
        let cases: &[(&str, String, &str)] = &[
            ("no head yet", "HTTP/1.1 200 OK\r\nContent-Le".into(), "not yet"),
            ("no body yet", "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\noo".into(), "not yet"),
            ("kept", format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{body}"), "kept"),
            ("closing", format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:1024\r\n\r\n{body}"), "closing"),
            ("old", format!("HTTP/1.0 200 OK\r\n\r\n{body}"), "closing"),
            ("old, kept", format!("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1024\r\n\r\n{body}"), "kept"),
            ("refused", "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n".into(), "wrong"),
            ("another length", format!("HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n{body}"), "wrong"),
            ("a byte too many", format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{body}o"), "wrong"),
            ("another body", format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n{}x", &body[1..]), "wrong"),
        ];
        for (name, answer, expected) in cases {
            let judged = match judge(answer.as_bytes()) {
                Ok(Answered::NotYet) => "not yet",
                Ok(Answered::Kept) => "kept",
                Ok(Answered::Closing) => "closing",
                Ok(Answered::Gone) => "gone",
                Err(_) => "wrong",
            };
            assert_eq!(judged, *expected, "{name}");
        }
    }
}
