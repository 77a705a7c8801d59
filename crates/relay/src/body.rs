//! Bodies on their way through: counted, given back from their beginning, ended by a deadline.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::visit::Visit;

/// What can be sent either way.
pub(crate) struct Body {
    /// What was read of it already, or all there is.
    begun: Option<Bytes>,
    rest: Option<Incoming>,
    watch: Option<Watch>,
    /// Where a request's bytes are counted.
    sent: Option<Rc<Cell<u64>>>,
}

/// Who hears of what moves, and when it is too long that nothing does.
struct Watch {
    visit: Visit,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    open: OpenEnd,
}

/// What tells a client that a body without a length is cut short: only a reset can.
#[derive(Clone, Default)]
pub(crate) struct OpenEnd(Arc<AtomicBool>);

impl OpenEnd {
    /// Whether the connection must end with a reset.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that it must.
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Why a body ends early.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl Body {
    /// All of it.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { begun: Some(bytes).filter(|bytes| !bytes.is_empty()), rest: None, watch: None, sent: None }
    }

    /// What was read already, and what follows.
    pub(crate) fn streamed(begun: Bytes, rest: Option<Incoming>) -> Self {
        Self { rest, ..Self::whole(begun) }
    }

    /// The same, a request's: counted.
    pub(crate) fn counted(mut self, sent: Rc<Cell<u64>>) -> Self {
        self.sent = Some(sent);
        self
    }

    /// The same, an answer's: counted for `visit`, which ends with it.
    pub(crate) fn watched(mut self, visit: Visit, idle: Duration, open: OpenEnd) -> Self {
        let timer = Box::pin(tokio::time::sleep(idle));
        self.watch = Some(Watch { visit, idle, timer, open });
        if self.is_end_stream() {
            self.end();
        }
        self
    }

    fn end(&mut self) {
        if let Some(mut watch) = self.watch.take() {
            watch.visit.complete();
        }
    }

    /// The body breaks off: whoever it was for must not take it for complete.
    fn break_off(&mut self, why: &'static str) {
        if let Some(mut watch) = self.watch.take() {
            watch.open.cut();
            watch.visit.ended_by = Some(why);
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match (this.begun.take(), &mut this.rest) {
            (Some(begun), _) => Some(Ok(Frame::data(begun))),
            (None, None) => None,
            (None, Some(rest)) => match Pin::new(rest).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let Some(watch) = &mut this.watch else { return Poll::Pending };
                    ready!(watch.timer.as_mut().poll(cx));
                    this.break_off("idle");
                    return Poll::Ready(Some(Err("nothing came for too long".into())));
                }
            },
        };
        match frame {
            Some(Ok(frame)) => {
                if let (Some(sent), Some(data)) = (&this.sent, frame.data_ref()) {
                    sent.set(sent.get() + data.len() as u64);
                }
                if let (Some(watch), Some(data)) = (&mut this.watch, frame.data_ref()) {
                    watch.visit.moved(0, data.len() as u64);
                    watch.timer.as_mut().reset(Instant::now() + watch.idle);
                }
                if this.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.break_off("target_lost");
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_none() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let begun = self.begun.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun);
        }
        hint
    }
}

/// Reads the beginning of a body: at most `most` bytes, not after `until`. What was read, and the rest if it did not end.
pub(crate) async fn begin(mut body: Incoming, most: usize, until: Instant) -> Result<(Bytes, Option<Incoming>), hyper::Error> {
    let mut begun = Vec::new();
    while begun.len() < most && !body.is_end_stream() {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        match tokio::time::timeout_at(until, frame).await {
            Err(_) => return Ok((begun.into(), Some(body))),
            Ok(None) => return Ok((begun.into(), None)),
            Ok(Some(frame)) => {
                if let Ok(data) = frame?.into_data() {
                    begun.extend_from_slice(&data);
                }
            }
        }
    }
    let rest = (!body.is_end_stream()).then_some(body);
    Ok((begun.into(), rest))
}
