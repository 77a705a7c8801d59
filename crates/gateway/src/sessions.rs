//! The requests in flight on one event loop, so that they can be counted and listed, and cut when their key may no longer.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use outgate_faults::Fault;
use outgate_store::live::{InFlight, Listing};
use outgate_store::{KeyId, PoolName};
use slab::Slab;

/// Every request in flight here.
#[derive(Default)]
pub(crate) struct Sessions(RefCell<Slab<Entry>>);

struct Entry {
    key: KeyId,
    cut: Option<Fault>,
    waker: Option<Waker>,
    about: Option<Box<About>>,
}

/// What a list says of a request, noted once; nothing of it changes while bytes go by.
pub(crate) struct About {
    pub(crate) request_id: Box<str>,
    pub(crate) since: Timestamp,
    pub(crate) client: IpAddr,
    pub(crate) protocol: &'static str,
    pub(crate) method: Box<str>,
    pub(crate) target: Box<str>,
    pub(crate) pool: PoolName,
    pub(crate) exit: Option<Box<str>>,
    /// Whether the far side was reached.
    pub(crate) connected: bool,
}

/// A request's place among them; it leaves when this drops.
pub(crate) struct Enlisted {
    sessions: Rc<Sessions>,
    index: usize,
}

impl Sessions {
    /// Enters a request of a key.
    pub(crate) fn enlist(self: &Rc<Self>, key: KeyId) -> Enlisted {
        let index = self.0.borrow_mut().insert(Entry { key, cut: None, waker: None, about: None });
        Enlisted { sessions: self.clone(), index }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The newest of them that are asked for, at most so many, and how many there are of those. One look at each: a question of
    /// the console, far from the way of a byte.
    pub(crate) fn list(&self, key: Option<&KeyId>, most: usize) -> Listing {
        let sessions = self.0.borrow();
        let asked = sessions.iter().filter(|(_, entry)| key.is_none_or(|key| entry.key == *key));
        let mut newest: Vec<(Timestamp, &KeyId, &About)> =
            asked.filter_map(|(_, entry)| entry.about.as_deref().map(|about| (about.since, &entry.key, about))).collect();
        let all = newest.len();
        if most < all {
            newest.select_nth_unstable_by_key(most, |(since, ..)| Reverse(*since));
            newest.truncate(most);
        }
        let mut requests: Vec<InFlight> = newest.into_iter().map(|(_, key, about)| about.of(key)).collect();
        requests.sort_by_key(|request| Reverse(request.since));
        Listing { all, requests }
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

impl About {
    fn of(&self, key: &KeyId) -> InFlight {
        InFlight {
            request_id: self.request_id.to_string(),
            since: self.since,
            key: key.clone(),
            client: self.client,
            protocol: self.protocol,
            method: self.method.to_string(),
            target: self.target.to_string(),
            pool: self.pool.clone(),
            exit: self.exit.as_deref().map(str::to_owned),
            connected: self.connected,
        }
    }
}

impl Enlisted {
    /// Says what it is, for a list.
    pub(crate) fn describe(&self, about: About) {
        self.sessions.0.borrow_mut()[self.index].about = Some(Box::new(about));
    }

    /// Says that its far side was reached, and through which exit.
    pub(crate) fn connected(&self, exit: Option<&str>) {
        if let Some(about) = &mut self.sessions.0.borrow_mut()[self.index].about {
            about.exit = exit.map(Into::into);
            about.connected = true;
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn about(second: i64) -> About {
        About {
            request_id: format!("r{second}").into(),
            since: Timestamp::from_second(second).unwrap(),
            client: IpAddr::from([192, 0, 2, 1]),
            protocol: "http",
            method: "CONNECT".into(),
            target: "example.com:443".into(),
            pool: PoolName::parse("direct").unwrap(),
            exit: None,
            connected: false,
        }
    }

    #[test]
    fn a_list_has_the_newest_and_counts_the_rest() {
        let sessions = Rc::new(Sessions::default());
        let (one, other) = (KeyId::parse("aaaa").unwrap(), KeyId::parse("bbbb").unwrap());
        let seconds = [5, 1, 4, 2, 3];
        let enlisted: Vec<Enlisted> = seconds.iter().map(|_| sessions.enlist(one.clone())).collect();
        enlisted.iter().zip(seconds).for_each(|(entry, second)| entry.describe(about(second)));
        let stranger = sessions.enlist(other.clone());
        stranger.describe(about(9));
        stranger.connected(Some("e1234567"));
        let unsaid = sessions.enlist(other.clone());
        let listed = |key: Option<&KeyId>, most| {
            let Listing { all, requests } = sessions.list(key, most);
            (all, requests.into_iter().map(|request| request.request_id).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(listed(None, 3), (6, "r9 r5 r4".to_owned()));
        assert_eq!(listed(Some(&one), 10), (5, "r5 r4 r3 r2 r1".to_owned()));
        assert_eq!(listed(Some(&other), 0), (1, String::new()));
        assert!(sessions.list(Some(&other), 1).requests[0].connected);
        drop((enlisted, stranger, unsaid));
        assert_eq!(listed(None, 3), (0, String::new()));
    }
}
