//! Who takes the next tunnel: the least loaded of a few, at a cost that does not grow with the fleet.

use outgate_store::ExitId;

use crate::health::HealthSettings;
use crate::inventory::{Bucket, Entry, Index, Question};
use crate::member::Lease;
use crate::wanted::Wanted;

/// A bucket up to this size is looked through whole.
const SMALL: usize = 8;
/// Of a larger one so many are drawn. Two are nearly as good as all of them; four forgive a draw that meets full ones.
const DRAWN: usize = 4;
/// Draws that may meet only exits that are full or were tried, before the bucket is looked through.
const ROUNDS: usize = 4;

/// What every look at an exit needs to know.
struct Choice<'a, R> {
    question: Question<'a>,
    avoid: &'a [ExitId],
    now: u64,
    health: &'a HealthSettings,
    random: &'a mut R,
}

/// An exit that would do, with its load as of when it was looked at.
struct Candidate<'a, L> {
    entry: &'a Entry<L>,
    load: u64,
    weight: u64,
}

impl<L> Index<L> {
    /// A lease of the least loaded exit that is what was wanted and not one of `avoid`.
    pub(crate) fn draw(
        &self,
        wanted: &Wanted,
        avoid: &[ExitId],
        now: u64,
        health: &HealthSettings,
        random: &mut impl FnMut() -> u64,
    ) -> Option<Lease<L>> {
        let question = self.question(wanted)?;
        let Some(countries) = self.country_buckets(&question) else {
            let bucket = self.bucket(question.place)?;
            return Choice { question, avoid, now, health, random }.draw_from(self, bucket);
        };
        // A country in proportion to its size; the others only when that one has nothing left.
        let all: usize = countries.clone().map(|bucket| bucket.usable.len()).sum();
        let mut at = random().checked_rem(all as u64)? as usize;
        let size = |bucket: &&Bucket| bucket.usable.len();
        let first = countries.clone().position(|bucket| {
            let here = at < size(&bucket);
            at = at.saturating_sub(if here { 0 } else { size(&bucket) });
            here
        })?;
        let mut choice = Choice { question, avoid, now, health, random };
        let mut turned = countries.clone().skip(first).chain(countries.take(first));
        turned.find_map(|bucket| choice.draw_from(self, bucket))
    }
}

impl<R: FnMut() -> u64> Choice<'_, R> {
    fn draw_from<L>(&mut self, index: &Index<L>, bucket: &Bucket) -> Option<Lease<L>> {
        let usable = &bucket.usable;
        if usable.len() > SMALL {
            for _ in 0..ROUNDS {
                let mut best = None;
                for _ in 0..DRAWN {
                    let at = usable[((self.random)() % usable.len() as u64) as usize];
                    self.consider(&mut best, index, at);
                }
                if let Some(lease) = best.and_then(|candidate| self.take(&candidate)) {
                    return Some(lease);
                }
            }
            // Nearly everything is full or was tried: look through it once, from anywhere, and take what there is.
            let from = ((self.random)() % usable.len() as u64) as usize;
            return usable[from..].iter().chain(&usable[..from]).find_map(|at| {
                let mut found = None;
                self.consider(&mut found, index, *at);
                found.and_then(|candidate| self.take(&candidate))
            });
        }
        // Somebody else may take the last place of the best one between look and take: then the next best.
        (0..usable.len()).find_map(|_| {
            let mut best = None;
            for at in usable {
                self.consider(&mut best, index, *at);
            }
            best.and_then(|candidate| self.take(&candidate))
        })
    }

    /// Keeps the better one. Among equals each gets its share by weight, so that an idle fleet is used evenly.
    fn consider<'i, L>(&mut self, best: &mut Option<Candidate<'i, L>>, index: &'i Index<L>, at: u32) {
        let Some(entry) = index.entries.get(at as usize) else { return };
        let member = &entry.member;
        // A bucket holds no others; that an exit is where it was asked for is worth being looked at twice.
        if !self.question.fits(entry) || member.is_full() || self.avoid.contains(&member.id) {
            return;
        }
        let load = u64::from(member.load.load(std::sync::atomic::Ordering::Relaxed));
        let weight = member.effective_weight(self.now, self.health);
        let Some(kept) = best else {
            *best = Some(Candidate { entry, load, weight });
            return;
        };
        let (new, old) = (load * kept.weight, kept.load * weight);
        // `kept.weight` of equals is that of all of them so far: a reservoir of one.
        let all = kept.weight + weight;
        if new < old {
            *best = Some(Candidate { entry, load, weight });
        } else if new == old && load == 0 {
            if (self.random)() % all < weight {
                *kept = Candidate { entry, load, weight };
            }
            kept.weight = all;
        } else if new == old && (self.random)() & 1 == 0 {
            *kept = Candidate { entry, load, weight };
        }
    }

    fn take<L>(&self, candidate: &Candidate<'_, L>) -> Option<Lease<L>> {
        Lease::take(&candidate.entry.member, candidate.entry.best_link()?)
    }
}
