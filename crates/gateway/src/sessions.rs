//! The requests in flight on one event loop, so that they can be counted, and cut when their key may no longer.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use outgate_faults::Fault;
use outgate_store::KeyId;
use slab::Slab;

/// Every request in flight here.
#[derive(Default)]
pub(crate) struct Sessions(RefCell<Slab<Entry>>);

struct Entry {
    key: KeyId,
    cut: Option<Fault>,
    waker: Option<Waker>,
}

/// A request's place among them; it leaves when this drops.
pub(crate) struct Enlisted {
    sessions: Rc<Sessions>,
    index: usize,
}

impl Sessions {
    /// Enters a request of a key.
    pub(crate) fn enlist(self: &Rc<Self>, key: KeyId) -> Enlisted {
        let index = self.0.borrow_mut().insert(Entry { key, cut: None, waker: None });
        Enlisted { sessions: self.clone(), index }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Ends those of a key, or all; their clients are told `fault` if it can still be told. Returns how many.
    pub(crate) fn cut(&self, key: Option<&KeyId>, fault: &Fault) -> usize {
        let mut sessions = self.0.borrow_mut();
        let mut count = 0;
        for (_, entry) in sessions.iter_mut().filter(|(_, e)| key.is_none_or(|k| e.key == *k)) {
            count += 1;
            entry.cut.get_or_insert_with(|| fault.clone());
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
        count
    }
}

impl Enlisted {
    /// Ready with the fault once this request is cut.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Fault> {
        let mut sessions = self.sessions.0.borrow_mut();
        let entry = &mut sessions[self.index];
        if let Some(fault) = &entry.cut {
            return Poll::Ready(fault.clone());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => entry.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.sessions.0.borrow_mut().remove(self.index);
    }
}
