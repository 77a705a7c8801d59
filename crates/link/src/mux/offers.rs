//! Offers: between gateways, what one tells the other of its exits.
//!
//! A fleet of thousands is told in as many frames; they wait for their turn here, so that they neither fill the memory nor
//! get in the way of answers for long.

use std::{
    mem,
    task::{Poll, Waker},
};

use super::{Mux, remember};
use crate::{
    frame::{Kind, Violation},
    words::{Fit, News, WithdrawWire, encode_json},
};

/// Control frames that may wait while more offers are taken, in bytes.
const WAITING: usize = 64 * 1024;

impl Mux {
    /// Exit: tells of an exit; pending while too much waits to be sent. `false`: the link is over.
    pub fn poll_tell(&mut self, news: &News, waker: &Waker) -> Poll<bool> {
        if self.end.is_some() {
            return Poll::Ready(false);
        }
        if self.control.len() >= WAITING {
            remember(&mut self.teller, waker);
            return Poll::Pending;
        }
        // Both are cut to fit.
        match news {
            News::Offer(offer) => encode_json(&mut self.control, Kind::Offer, 0, &offer.clone().fit()),
            News::Withdraw(exit) => encode_json(&mut self.control, Kind::Withdraw, 0, &WithdrawWire { exit: exit.clone() }),
        };
        self.wake_driver();
        Poll::Ready(true)
    }

    pub(super) fn wake_teller(&mut self) {
        if self.control.len() < WAITING {
            self.wakes.extend(self.teller.take());
        }
    }

    /// Gateway: everything that was told and not yet taken.
    pub fn take_news(&mut self) -> Vec<News> {
        mem::take(&mut self.news)
    }

    pub(super) fn on_news(&mut self, news: News) -> Result<(), Violation> {
        if self.news.len() >= self.limits.offers {
            return Err(Violation::TooManyOffers);
        }
        self.news.push(news);
        self.changed = true;
        Ok(())
    }
}
