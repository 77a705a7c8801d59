//! Breaks whoever keeps what is shared on purpose: fails before, fails after the effect, hangs.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Answers, Asks, Shared};
use crate::contract::StoreFuture;
use crate::unreliable::Mishap;

/// Another one behind a script of mishaps.
pub struct Unreliable {
    inner: Arc<dyn Shared>,
    script: Mutex<Box<dyn FnMut() -> Mishap + Send>>,
}

impl Unreliable {
    /// `script` is asked once per call.
    pub fn new(inner: Arc<dyn Shared>, script: impl FnMut() -> Mishap + Send + 'static) -> Self {
        Self { inner, script: Mutex::new(Box::new(script)) }
    }
}

impl Shared for Unreliable {
    fn ask(&self, asks: Asks) -> StoreFuture<'_, Answers> {
        let mishap = (self.script.lock().unwrap_or_else(PoisonError::into_inner))();
        Box::pin(mishap.befall(async move { self.inner.ask(asks).await }))
    }
}
