//! Throttle: the exit's own speed cap: one bucket of bytes for all tunnels, both ways, fair between tunnels.
//!
//! A tunnel asks for its turn before it moves bytes and pays for what it has moved. While the bucket holds something and
//! nobody waits, the turn is at once; else tunnels queue up and get one quantum each, in their order. An idle tunnel
//! holds nothing: what a turn did not use was never taken. The bucket may fall below empty by what is moved at once, and
//! time pays it back.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// A turn moves this much of a second's bytes …
const TURNS_PER_SECOND: u64 = 50;
/// … but not less, or a turn costs more than it moves, …
const LEAST_TURN: u64 = 1024;
/// … and not more, or others wait too long for theirs.
const LONGEST_TURN: u64 = 32 * 1024;
/// The bucket holds what comes in during this much of a second.
const BURSTS_PER_SECOND: u64 = 20;
/// Between two rounds: the timer's own granularity, in which those whose turn it was have moved and paid.
const ROUND: Duration = Duration::from_millis(1);

/// The bucket and its queue.
pub(crate) struct Throttle {
    /// Bytes per second.
    rate: f64,
    turn: usize,
    burst: f64,
    state: RefCell<State>,
    queued: Notify,
}

struct State {
    tokens: f64,
    at: Instant,
    queue: VecDeque<Rc<Seat>>,
    /// Seats in the queue whose tunnels are gone.
    gone: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Neither waits nor may.
    None,
    Queued,
    /// May move so many bytes.
    Granted(usize),
    /// Its tunnel is gone.
    Gone,
}

struct Seat {
    turn: Cell<Turn>,
    waker: RefCell<Option<Waker>>,
}

impl Throttle {
    /// `rate` in bytes per second.
    pub(crate) fn new(rate: u64) -> Rc<Throttle> {
        let turn = (rate / TURNS_PER_SECOND).clamp(LEAST_TURN, LONGEST_TURN);
        let burst = (rate / BURSTS_PER_SECOND).max(turn) as f64;
        let state = State { tokens: burst, at: Instant::now(), queue: VecDeque::new(), gone: 0 };
        Rc::new(Throttle {
            rate: rate.max(1) as f64,
            turn: turn as usize,
            burst,
            state: RefCell::new(state),
            queued: Notify::new(),
        })
    }

    /// Gives out turns; to be run as long as tunnels do. It sleeps while nobody waits.
    pub(crate) async fn give_turns(&self) {
        loop {
            self.queued.notified().await;
            while let Some(wait) = self.next_round(Instant::now()) {
                sleep(wait).await;
                self.round(Instant::now());
            }
        }
    }

    /// Time until the bucket holds something again; `None` while nobody waits for it.
    fn next_round(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state.borrow_mut();
        self.refill(&mut state, now);
        if state.gone == state.queue.len() {
            state.queue.clear();
            state.gone = 0;
        }
        let lacking = (1.0 - state.tokens).max(0.0);
        (!state.queue.is_empty()).then(|| Duration::from_secs_f64(lacking / self.rate).max(ROUND))
    }

    fn round(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        self.refill(&mut state, now);
        let mut left = state.tokens;
        let mut due = Vec::new();
        while left > 0.0
            && let Some(seat) = state.queue.pop_front()
        {
            // One whose tunnel is gone costs nothing.
            if seat.turn.get() == Turn::Gone {
                state.gone -= 1;
            } else {
                seat.turn.set(Turn::Granted(self.turn));
                left -= self.turn as f64;
                due.extend(seat.waker.take());
            }
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
    }

    fn refill(&self, state: &mut State, now: Instant) {
        let gained = now.saturating_duration_since(state.at).as_secs_f64() * self.rate;
        state.at = now;
        state.tokens = (state.tokens + gained).min(self.burst);
    }
}

/// A tunnel's claim on the throttle; without one it may move anything.
pub(crate) struct Allowance(Option<(Rc<Throttle>, Rc<Seat>)>);

impl Allowance {
    pub(crate) fn new(throttle: Option<&Rc<Throttle>>) -> Allowance {
        let seat = || Rc::new(Seat { turn: Cell::new(Turn::None), waker: RefCell::default() });
        Allowance(throttle.map(|throttle| (Rc::clone(throttle), seat())))
    }

    /// Is there a cap at all?
    pub(crate) fn is_capped(&self) -> bool {
        self.0.is_some()
    }

    /// How much may be moved now; pending until it is this tunnel's turn.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<usize> {
        match &self.0 {
            Some((throttle, seat)) => poll_turn(throttle, seat, cx, Instant::now()),
            None => Poll::Ready(usize::MAX),
        }
    }

    /// What was moved after [`Allowance::poll_turn`].
    pub(crate) fn pay(&self, bytes: usize) {
        let Some((throttle, seat)) = &self.0 else {
            return;
        };
        throttle.state.borrow_mut().tokens -= bytes as f64;
        if let Turn::Granted(left) = seat.turn.get() {
            let left = left.saturating_sub(bytes);
            seat.turn.set(if left > 0 { Turn::Granted(left) } else { Turn::None });
        }
    }

    /// There is nothing more to move now: a turn that is not used up goes back.
    pub(crate) fn pass(&self) {
        if let Some((_, seat)) = &self.0
            && let Turn::Granted(_) = seat.turn.get()
        {
            seat.turn.set(Turn::None);
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if let Some((throttle, seat)) = &self.0
            && seat.turn.replace(Turn::Gone) == Turn::Queued
        {
            let mut state = throttle.state.borrow_mut();
            state.gone += 1;
            // Tunnels that come and go while others wait must not pile up in the queue.
            if state.gone > state.queue.len() / 2 {
                state.queue.retain(|seat| seat.turn.get() != Turn::Gone);
                state.gone = 0;
            }
        }
    }
}

fn poll_turn(throttle: &Throttle, seat: &Rc<Seat>, cx: &mut Context<'_>, now: Instant) -> Poll<usize> {
    match seat.turn.get() {
        Turn::Granted(left) => return Poll::Ready(left),
        // Nobody asks for what is gone.
        Turn::Queued | Turn::Gone => {}
        Turn::None => {
            let mut state = throttle.state.borrow_mut();
            throttle.refill(&mut state, now);
            if state.queue.is_empty() && state.tokens >= 1.0 {
                return Poll::Ready(throttle.turn.min(state.tokens as usize));
            }
            state.queue.push_back(Rc::clone(seat));
            seat.turn.set(Turn::Queued);
            throttle.queued.notify_one();
        }
    }
    *seat.waker.borrow_mut() = Some(cx.waker().clone());
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An allowance at a given time.
    fn turn(allowance: &Allowance, now: Instant) -> Poll<usize> {
        let (throttle, seat) = allowance.0.as_ref().expect("capped");
        poll_turn(throttle, seat, &mut Context::from_waker(Waker::noop()), now)
    }

    #[test]
    fn the_rate_is_kept_and_shared_fairly() {
        for (rate, movers) in [(10_000, 1), (100_000, 7), (50_000_000, 100)] {
            let throttle = Throttle::new(rate);
            let start = Instant::now();
            let until = start + Duration::from_secs(10);
            let mut now = start;
            let allowances: Vec<Allowance> = (0..movers).map(|_| Allowance::new(Some(&throttle))).collect();
            let mut moved = vec![0; movers];
            // They ask in every round, too, and have nothing to move.
            let idle: Vec<Allowance> = (0..50).map(|_| Allowance::new(Some(&throttle))).collect();
            while now < until {
                for (allowance, moved) in allowances.iter().zip(&mut moved) {
                    while let Poll::Ready(bytes) = turn(allowance, now) {
                        allowance.pay(bytes);
                        *moved += bytes;
                    }
                }
                for allowance in &idle {
                    let _maybe = turn(allowance, now);
                    allowance.pass();
                }
                now += throttle.next_round(now).expect("somebody always waits");
                throttle.round(now);
            }
            let (sum, fair) = (moved.iter().sum::<usize>() as f64, 10.0 * rate as f64);
            assert!((0.97..1.05).contains(&(sum / fair)), "{rate}: {sum} of {fair}");
            let (least, most) = (moved.iter().min().expect("some"), moved.iter().max().expect("some"));
            // Whoever comes first may have all the bucket holds.
            assert!(most - least <= throttle.burst as usize + 2 * throttle.turn, "{rate}: {least} to {most}");
        }
    }

    #[test]
    fn whoever_waits_and_leaves_holds_nobody_up() {
        let throttle = Throttle::new(10_000);
        let (first, gone, waiting) =
            (Allowance::new(Some(&throttle)), Allowance::new(Some(&throttle)), Allowance::new(Some(&throttle)));
        let now = Instant::now();
        first.pay(20_000);
        assert!(turn(&gone, now).is_pending() && turn(&waiting, now).is_pending());
        drop(gone);
        assert_eq!(throttle.state.borrow().queue.len(), 2, "half of it and not more may be gone");
        for _ in 0..1000 {
            let brief = Allowance::new(Some(&throttle));
            assert!(turn(&brief, now).is_pending());
        }
        assert!(throttle.state.borrow().queue.len() <= 4, "those that came and went are not kept");
        let wait = throttle.next_round(now).expect("one waits");
        assert!(wait > Duration::from_secs(1), "what was moved too much is paid back first");
        throttle.round(now + wait);
        assert_eq!(turn(&waiting, now + wait), Poll::Ready(LEAST_TURN as usize));
        assert_eq!(throttle.next_round(now + wait), None, "nobody waits any more: nothing wakes up");
    }
}
