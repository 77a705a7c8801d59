//! An answer, with what led to it.

use http::{HeaderMap, StatusCode, response};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

use super::error::Error;
use crate::classify::{Provenance, Verdict};
use crate::connect::ConnectReply;
use crate::engine::Attempt;

/// The target's answer, whatever its status: what went wrong on the way to it is an [`Error`] instead.
#[derive(Debug)]
pub struct Answer {
    pub(super) parts: response::Parts,
    pub(super) begun: Bytes,
    pub(super) rest: Option<Incoming>,
    pub(super) verdict: Verdict,
    pub(super) connect: Option<ConnectReply>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) exit: Option<String>,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The target's header fields. The proxy's own, from the answer to CONNECT, are kept apart: see [`Answer::connect_reply`].
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// What the answer means if it is one that the engine would try to get past, and could not: a ban, a limit, an outage.
    pub fn verdict(&self) -> Option<&Verdict> {
        (!self.verdict.is_fine()).then_some(&self.verdict)
    }

    /// The proxy's answer to CONNECT: its fields name the exit, the country and the request's id.
    pub fn connect_reply(&self) -> Option<&ConnectReply> {
        self.connect.as_ref()
    }

    /// The exit that it came through, if the proxy names it.
    pub fn exit(&self) -> Option<&str> {
        self.exit.as_deref()
    }

    /// Every attempt, the last of which got this answer.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The next part of the body; none at its end.
    ///
    /// # Errors
    /// When the body breaks off: it is not whole, however much of it came.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.begun.is_empty() {
            return Ok(Some(std::mem::take(&mut self.begun)));
        }
        while let Some(rest) = &mut self.rest {
            match rest.frame().await {
                None => self.rest = None,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Error::in_body(&error, self.attempts.clone())),
            }
        }
        Ok(None)
    }

    /// The whole body, up to `most` bytes.
    ///
    /// # Errors
    /// When it breaks off or is longer.
    pub async fn bytes(mut self, most: usize) -> Result<Bytes, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > most {
                return Err(Error::too_long(most, self.attempts));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// Whether it was the target that answered.
    pub(super) fn is_the_targets(&self) -> bool {
        self.verdict.is_fine() || self.verdict.provenance == Provenance::Origin
    }
}
