//! Passes one request on and its answer back, bodies streaming both ways at the same time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use outgate_faults::fact::Seconds;
use outgate_faults::{Fault, raise};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep};

use crate::accounts::Direction;
use crate::client::{Client, Vigil};
use crate::framing::Framing;
use crate::head::{Forward, Target, Version};
use crate::pump::{Broken, Flow, Pump};
use crate::response::{Answered, Context, end_of_head};
use crate::sessions::Enlisted;
use crate::settings::{Limits, Timeouts};
use crate::upstream::Upstream;

/// The most interim answers (1xx) to one request; a target that sends more never means to answer.
const MAX_INTERIM: usize = 64;

/// One exchange: a request on its way and everything it goes by.
pub(crate) struct Exchange<'a> {
    pub(crate) target: &'a Target,
    pub(crate) request: &'a Forward,
    pub(crate) version: Version,
    /// Whether the client keeps its connection after this.
    pub(crate) keep_alive: bool,
    /// The fields this gateway adds to the answer, by its status and its Proxy-Status so far: Via, Proxy-Status, the request id.
    pub(crate) own_fields: &'a dyn Fn(u16, Option<&str>) -> String,
    pub(crate) exit: Option<&'a str>,
    pub(crate) flow: Flow<'a>,
    pub(crate) enlisted: &'a Enlisted,
    pub(crate) limits: &'a Limits,
    pub(crate) timeouts: &'a Timeouts,
}

/// How an exchange went.
pub(crate) enum Exchanged {
    /// The answer went back whole.
    Answered(Done),
    /// The target agreed to switch protocols: what follows is a tunnel. Bytes it sent behind its head.
    Switched(u16, Vec<u8>),
    /// No byte of an answer has reached the client: it can be told.
    Failed(Fault),
    /// The connection was a kept one and had ended meanwhile; the request may be sent again.
    Stale,
    /// The answer broke off midway: only a reset can tell the client.
    BrokenOff(u16, Fault),
    /// The client went away.
    ClientGone(Option<u16>),
}

/// A complete exchange.
pub(crate) struct Done {
    pub(crate) status: u16,
    pub(crate) target_stays: bool,
    pub(crate) client_stays: bool,
    pub(crate) first_byte: Duration,
}

/// Bytes of an exchange, kept apart so that they are known however it ends.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Exchange<'_> {
    /// Runs the exchange. `reused` says that the connection to the target was kept from an earlier one.
    pub(crate) async fn run(&self, client: &mut Client, target: &mut Upstream, reused: bool, moved: &mut Moved) -> Exchanged {
        let mut up = Pump::new(Direction::Up, self.request.body.clone());
        let read = std::mem::take(&mut client.buffer);
        let exchanged = match up.preload(&read, &self.flow) {
            Ok(()) => self.converse(client, target, reused, moved, &mut up).await,
            Err(broken) => self.body_failed(broken, target),
        };
        // Whatever became of this request, what the client sent behind it is still to be read.
        let mut unread = up.into_excess();
        unread.append(&mut client.buffer);
        client.buffer = unread;
        exchanged
    }

    async fn converse(
        &self,
        client: &mut Client,
        target: &mut Upstream,
        reused: bool,
        moved: &mut Moved,
        up: &mut Pump,
    ) -> Exchanged {
        let mut head = Outgoing::new(&self.request.head);
        let mut interim = 0;
        let started = Instant::now();
        let mut answer = Vec::new();
        let answered = loop {
            let got = self.answer_head(client, target, &mut head, up, &mut answer, started).await;
            moved.up = head.written as u64 + up.moved();
            let length = match got {
                Ok(length) => length,
                Err(NoAnswer::Told(exchanged)) => return exchanged,
                Err(NoAnswer::Ended(why)) => {
                    // RFC 9110, section 9.2.2: only what is safe to repeat, and only if nothing came back.
                    return if reused && self.request.idempotent && answer.is_empty() {
                        Exchanged::Stale
                    } else {
                        Exchanged::Failed(why)
                    };
                }
            };
            moved.down += length as u64;
            self.flow.meter.count(Direction::Down, length as u64, self.flow.nanos());
            let context = Context { is_head: self.request.is_head, client: self.version };
            let answered = match Answered::parse(&answer[..length], context) {
                Ok(answered) => answered,
                Err(why) => return Exchanged::Failed(self.found(raise::response_malformed(&self.target.host, why.0))),
            };
            answer.drain(..length);
            match answered.status {
                101 => {
                    // RFC 9110, section 7.8: only to a protocol that was asked for.
                    if !answered.upgrade.as_ref().is_some_and(|protocol| self.request.upgrade.contains(protocol)) {
                        return Exchanged::Failed(self.found(raise::upgrade_failed(&self.target.host)));
                    }
                    let mut head = answered.head;
                    head.extend_from_slice((self.own_fields)(101, answered.proxy_status.as_deref()).as_bytes());
                    head.extend_from_slice(b"\r\n");
                    return match client.write(&head).await {
                        Ok(()) => Exchanged::Switched(101, answer),
                        Err(_) => Exchanged::ClientGone(None),
                    };
                }
                // RFC 9110, section 15.2: interim answers go through, but HTTP/1.0 knows none.
                100..=199 => {
                    interim += 1;
                    if interim > MAX_INTERIM {
                        let fault = raise::response_malformed(&self.target.host, "too many interim answers");
                        return Exchanged::Failed(self.found(fault));
                    }
                    if let Err(fault) = self.flow.meter.allowance(self.flow.nanos()) {
                        return Exchanged::Failed(fault);
                    }
                    if self.version == Version::Http11 {
                        let mut head = answered.head;
                        head.extend_from_slice(b"\r\n");
                        if client.write(&head).await.is_err() {
                            return Exchanged::ClientGone(None);
                        }
                    }
                }
                _ => break answered,
            }
        };
        let first_byte = started.elapsed();
        if !head.is_out() {
            // Answered before it was asked: what is left of the request stays here, and neither side is used again.
            up.abandon();
        }
        self.answer_body(client, target, answered, answer, up, first_byte, moved).await
    }

    /// Sends the request and reads up to the end of an answer's head; returns its length.
    async fn answer_head(
        &self,
        client: &mut Client,
        target: &mut Upstream,
        head: &mut Outgoing<'_>,
        up: &mut Pump,
        answer: &mut Vec<u8>,
        started: Instant,
    ) -> Result<usize, NoAnswer> {
        let mut searched = 0;
        let mut unsendable = false;
        let mut sent = (0, started);
        let mut timer = pin!(sleep(self.timeouts.response));
        let mut vigil = Vigil::default();
        poll_fn(|cx| {
            if let Poll::Ready(fault) = self.enlisted.poll_cut(cx) {
                return Poll::Ready(Err(NoAnswer::Told(Exchanged::Failed(fault))));
            }
            // A target that answers early may stop reading: what it says matters, not that it stopped.
            if !unsendable {
                match head.poll(cx, target, &self.flow) {
                    Poll::Ready(Ok(())) if !up.is_done() => match up.poll(cx, &mut client.io, target, &self.flow) {
                        Poll::Ready(Err(Broken::Write(_))) => unsendable = true,
                        Poll::Ready(Err(broken)) => return Poll::Ready(Err(NoAnswer::Told(self.body_failed(broken, target)))),
                        Poll::Ready(Ok(())) | Poll::Pending => {}
                    },
                    Poll::Ready(Err(_)) => unsendable = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if up.is_done() && vigil.poll(cx, client, self.flow.scratch).is_ready() {
                return Poll::Ready(Err(NoAnswer::Told(Exchanged::ClientGone(None))));
            }
            loop {
                // The end may lie beyond the limit: one read takes more than a head may have.
                if let Some(length) = end_of_head(answer, searched).filter(|length| *length <= self.limits.response_head) {
                    return Poll::Ready(Ok(length));
                }
                searched = answer.len();
                if answer.len() > self.limits.response_head {
                    let fault =
                        raise::response_header_too_large(&self.target.host, format_args!("{} bytes", self.limits.response_head));
                    return Poll::Ready(Err(NoAnswer::Told(Exchanged::Failed(self.found(fault)))));
                }
                match self.flow.scratch.poll_append(cx, target, answer, usize::MAX) {
                    Poll::Ready(Ok(0)) if searched == 0 => {
                        let why = raise::response_incomplete(&self.target.host).with_detail("closed without an answer");
                        return Poll::Ready(Err(NoAnswer::Ended(self.found(why))));
                    }
                    Poll::Ready(Ok(0)) => {
                        let why = raise::response_incomplete(&self.target.host).with_detail("closed inside the answer's head");
                        return Poll::Ready(Err(NoAnswer::Ended(self.found(why))));
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(NoAnswer::Ended(target.fault(&error, self.target, self.exit))));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                }
            }
            // The wait for an answer counts from the last byte of the request that went out.
            let out = head.written as u64 + up.moved();
            if out != sent.0 {
                sent = (out, Instant::now());
            }
            while timer.as_mut().poll(cx).is_ready() {
                let until = sent.1 + self.timeouts.response;
                if Instant::now() >= until {
                    let seconds = Seconds(self.timeouts.response);
                    // A client that stopped inside its own body is not the target's fault, unless it waits for a 100.
                    let told_to_send = !self.request.expects_continue || up.moved() > 0;
                    if head.is_out() && up.waits_for_source() && told_to_send {
                        return Poll::Ready(Err(NoAnswer::Told(Exchanged::Failed(raise::request_timeout(seconds)))));
                    }
                    let fault = raise::response_timeout(&self.target.host, seconds);
                    return Poll::Ready(Err(NoAnswer::Told(Exchanged::Failed(self.found(fault)))));
                }
                timer.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    }

    /// Writes the final head and streams the body; the rest of the request's body goes on meanwhile.
    #[expect(clippy::too_many_arguments, reason = "the state of the exchange at the one place where it passes from head to body")]
    async fn answer_body(
        &self,
        client: &mut Client,
        target: &mut Upstream,
        answered: Answered,
        rest: Vec<u8>,
        up: &mut Pump,
        first_byte: Duration,
        moved: &mut Moved,
    ) -> Exchanged {
        let status = answered.status;
        let old = self.version == Version::Http10;
        let delimited = match answered.framing {
            Framing::Length(_) => true,
            Framing::Chunked(_) => !old,
            Framing::UntilClose => false,
        };
        let mut client_stays = self.keep_alive && delimited;
        let mut head = answered.head;
        head.extend_from_slice((self.own_fields)(status, answered.proxy_status.as_deref()).as_bytes());
        // A request whose body has not been read to its end leaves a connection nobody can use again.
        client_stays &= !up.is_abandoned() && (up.is_done() || self.request.body.ended());
        match (client_stays, old) {
            (false, _) => head.extend_from_slice(b"Connection: close\r\n"),
            (true, true) => head.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        head.extend_from_slice(b"\r\n");
        let mut down = Pump::new(Direction::Down, answered.framing);
        if old {
            down = down.unwrapping();
        }
        down.prefix(head);
        let before = (moved.up - up.moved(), moved.down);
        let framing_fault = |bad: crate::framing::BadFraming| self.found(raise::response_malformed(&self.target.host, bad.0));
        if let Err(Broken::Framing(bad)) = down.preload(&rest, &self.flow) {
            return Exchanged::Failed(framing_fault(bad));
        }
        drop(rest);
        let mut timer = pin!(sleep(self.timeouts.idle));
        let (mut last, mut seen) = (Instant::now(), 0);
        let mut up_failed = up.is_abandoned();
        let mut vigil = Vigil::default();
        let ended = poll_fn(|cx| {
            if let Poll::Ready(fault) = self.enlisted.poll_cut(cx) {
                return Poll::Ready(Err(Exchanged::BrokenOff(status, fault)));
            }
            if !up.is_done() && !up_failed {
                match up.poll(cx, &mut client.io, target, &self.flow) {
                    Poll::Ready(Err(Broken::Spent(fault))) => return Poll::Ready(Err(Exchanged::BrokenOff(status, fault))),
                    Poll::Ready(Err(_)) => up_failed = true,
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            match down.poll(cx, target, &mut client.io, &self.flow) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Write(_))) => return Poll::Ready(Err(Exchanged::ClientGone(Some(status)))),
                Poll::Ready(Err(Broken::Spent(fault))) => return Poll::Ready(Err(Exchanged::BrokenOff(status, fault))),
                Poll::Ready(Err(Broken::Truncated)) => {
                    let fault = self.found(raise::response_incomplete(&self.target.host));
                    return Poll::Ready(Err(Exchanged::BrokenOff(status, fault)));
                }
                Poll::Ready(Err(Broken::Framing(bad))) => {
                    return Poll::Ready(Err(Exchanged::BrokenOff(status, framing_fault(bad))));
                }
                Poll::Ready(Err(Broken::Read(error))) => {
                    let fault = target.fault(&error, self.target, self.exit);
                    return Poll::Ready(Err(Exchanged::BrokenOff(status, fault)));
                }
                Poll::Pending => {}
            }
            // After the answer's bytes: a client that has them all and leaves was served.
            if up.is_done() && vigil.poll(cx, client, self.flow.scratch).is_ready() {
                return Poll::Ready(Err(Exchanged::ClientGone(Some(status))));
            }
            if down.moved() + up.moved() != seen {
                (seen, last) = (down.moved() + up.moved(), Instant::now());
            }
            while timer.as_mut().poll(cx).is_ready() {
                if last.elapsed() >= self.timeouts.idle && !down.waits_for_source() {
                    // It is the client that stopped reading.
                    return Poll::Ready(Err(Exchanged::ClientGone(Some(status))));
                }
                if last.elapsed() >= self.timeouts.idle {
                    let fault = raise::response_timeout(&self.target.host, Seconds(self.timeouts.idle));
                    return Poll::Ready(Err(Exchanged::BrokenOff(status, self.found(fault))));
                }
                timer.as_mut().reset(last + self.timeouts.idle);
            }
            Poll::Pending
        })
        .await;
        (moved.up, moved.down) = (before.0 + up.moved(), before.1 + down.moved());
        if let Err(exchanged) = ended {
            return exchanged;
        }
        let request_whole = up.is_done() && !up.is_abandoned();
        let target_stays = answered.keep_alive && request_whole && down.into_excess().is_empty();
        Exchanged::Answered(Done { status, target_stays, client_stays: client_stays && request_whole, first_byte })
    }

    /// What a broken request body means before the answer began.
    fn body_failed(&self, broken: Broken, target: &Upstream) -> Exchanged {
        match broken {
            Broken::Read(_) | Broken::Truncated => Exchanged::ClientGone(None),
            Broken::Write(error) => Exchanged::Failed(target.fault(&error, self.target, self.exit)),
            Broken::Framing(bad) => Exchanged::Failed(raise::malformed_request(bad.0)),
            Broken::Spent(fault) => Exchanged::Failed(fault),
        }
    }

    fn found(&self, fault: Fault) -> Fault {
        match self.exit {
            Some(exit) => fault.with_found_at(exit),
            None => fault,
        }
    }
}

/// Why there is no answer's head.
enum NoAnswer {
    Told(Exchanged),
    /// The connection ended or failed.
    Ended(Fault),
}

/// The request's head on its way out.
struct Outgoing<'a> {
    bytes: &'a [u8],
    written: usize,
}

impl<'a> Outgoing<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, written: 0 }
    }

    fn is_out(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>, to: &mut Upstream, flow: &Flow<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.bytes.len() {
            match Pin::new(&mut *to).poll_write(cx, &self.bytes[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    flow.meter.count(Direction::Up, n as u64, flow.nanos());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}
