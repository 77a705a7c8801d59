//! Three members that believe only what they were clearly told: together they never believe more than there is.

use std::sync::Arc;
use std::time::Duration;

use super::{Asks, BytesAsk, BytesGrant, Known, RateAsk, Shared, ThreadsAsk, here, key, period};
use crate::shared::unreliable::Unreliable;
use crate::unreliable::Mishap;

/// How the calls go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    Bad,
}

const THREADS: u32 = 30;
const BYTES: u64 = 10_000;
const BURST: u32 = 50;
/// Slow enough that the suite's time brings no token.
const RATE: u32 = 1;
const ROUNDS: usize = 300;
/// Far above what a healthy one takes.
const PATIENCE: Duration = Duration::from_millis(60);

/// A member: what it uses, and up to where it believes that it may go.
struct Believer {
    name: &'static str,
    turn: u64,
    threads: (u32, u32),
    bytes: (u64, BytesGrant),
    tokens: u32,
}

pub(super) async fn nobody_believes_too_much(shared: Arc<dyn Shared>, luck: Luck) {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let broken = Unreliable::new(shared.clone(), script(luck));
    let believer = |name| Believer { name, turn: 0, threads: (0, 0), bytes: (0, BytesGrant::default()), tokens: 0 };
    let mut members = ["a", "b", "c"].map(believer);
    for _ in 0..ROUNDS {
        let at = dice.below(3) as usize;
        members[at].live(&mut dice);
        members[at].ask(&broken, &mut dice).await;
        let threads: u32 = members.iter().map(|member| member.threads.1).sum();
        assert!(threads <= THREADS, "{threads} threads are believed in where there are {THREADS}");
        let bytes: u64 = members.iter().map(|member| member.bytes.1.level).sum();
        assert!(bytes <= BYTES, "{bytes} bytes are believed in where there are {BYTES}");
        let tokens: u32 = members.iter().map(|member| member.tokens).sum();
        assert!(tokens <= BURST + 2 * RATE * ROUNDS as u32 / 10, "{tokens} tokens are believed in");
    }
    // Once the answers are clear again, nothing is lost but tokens.
    for member in &mut members {
        member.threads.0 = 0;
        member.settle(&*shared).await;
    }
    let used: u64 = members.iter().map(|member| member.bytes.0).sum();
    assert_eq!(members[2].bytes.1.total, used, "what is leased and not used is given back");
    let (last, want) = (&mut members[1], THREADS);
    assert_eq!(last.threads(&*shared, want).await, THREADS, "all threads are free again");
}

fn script(luck: Luck) -> impl FnMut() -> Mishap + Send {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut hangs = 0;
    move || match (luck, dice.below(10)) {
        (Luck::Good, _) => Mishap::None,
        (Luck::Bad, 0) => Mishap::Refused,
        (Luck::Bad, 1 | 2) => Mishap::LostBefore,
        (Luck::Bad, 3 | 4) => Mishap::LostAfter,
        // Hangs cost real time: a few do.
        (Luck::Bad, 5) if hangs < 8 => {
            hangs += 1;
            if hangs % 2 == 0 { Mishap::HangsBefore } else { Mishap::HangsAfter }
        }
        (Luck::Bad, _) => Mishap::None,
    }
}

impl Believer {
    /// Uses some of what it may.
    fn live(&mut self, dice: &mut Dice) {
        let (used, level) = &mut self.threads;
        *used = dice.below(u64::from(*level) + 1) as u32;
        let (used, grant) = &mut self.bytes;
        *used += dice.below(grant.level - *used + 1);
    }

    async fn ask(&mut self, shared: &dyn Shared, dice: &mut Dice) {
        let mut asks = self.asks();
        let want = self.threads.0 + dice.below(12) as u32;
        // What is given back is not believed in from before it is told.
        self.threads.1 = self.threads.1.min(want);
        asks.threads.push(self.threads_ask(want));
        let used = self.bytes.0;
        let want = used + dice.below(300);
        self.bytes.1.level = self.bytes.1.level.min(want);
        asks.bytes.push(self.bytes_ask(want));
        asks.rates.push(RateAsk { key: key("aaaa"), rate: RATE, burst: BURST, want: dice.below(3) as u32 });
        let Ok(Ok(answers)) = tokio::time::timeout(PATIENCE, shared.ask(asks)).await else { return };
        self.threads.1 = answers.threads[0];
        self.bytes.1 = answers.bytes[0];
        self.tokens += answers.rates[0].granted;
    }

    /// Gives back all that it doesn't use.
    async fn settle(&mut self, shared: &dyn Shared) {
        self.threads(shared, self.threads.0).await;
        let mut asks = self.asks();
        asks.bytes.push(self.bytes_ask(self.bytes.0));
        self.bytes.1 = shared.ask(asks).await.expect("an answer").bytes[0];
    }

    async fn threads(&mut self, shared: &dyn Shared, want: u32) -> u32 {
        let mut asks = self.asks();
        asks.threads.push(self.threads_ask(want));
        self.threads.1 = shared.ask(asks).await.expect("an answer").threads[0];
        self.threads.1
    }

    fn asks(&mut self) -> Asks {
        self.turn += 1;
        Asks { member: self.name.into(), turn: self.turn, presence: Some(long(self.name)), ..Asks::default() }
    }

    fn threads_ask(&self, want: u32) -> ThreadsAsk {
        ThreadsAsk { key: key("aaaa"), limit: THREADS, used: self.threads.0, want }
    }

    fn bytes_ask(&self, want: u64) -> BytesAsk {
        let (used, grant) = self.bytes;
        let known = if grant.total == 0 { Known::Ledger(0) } else { Known::Told(grant) };
        BytesAsk { key: key("aaaa"), period: period(0), limit: BYTES, known, used, want }
    }
}

/// A presence that outlasts the suite: who is away is the matter of another rule.
fn long(name: &str) -> super::Presence {
    match here(name) {
        super::Presence::Here { peer, arrived, left, seeks, heard, .. } => {
            super::Presence::Here { peer, lasts: Duration::from_secs(60), arrived, left, seeks, heard }
        }
        leaving => leaving,
    }
}

/// xorshift64*, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }
}
