//! Who takes the next tunnel: the least loaded of a few, at a cost that does not grow with the fleet.

use outgate_store::ExitId;

use crate::health::HealthSettings;
use crate::inventory::{Bucket, Index, Question, Slot};
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
    /// Whether buckets are looked at that hold others too.
    sift: bool,
    avoid: &'a [ExitId],
    now: u64,
    health: &'a HealthSettings,
    random: &'a mut R,
}

/// An exit that would do, with its load as of when it was looked at.
struct Candidate<'a> {
    slot: &'a Slot,
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
            let sift = !question.has_own_bucket();
            return Choice { question, sift, avoid, now, health, random }.draw_from(self, bucket);
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
        let mut choice = Choice { question, sift: false, avoid, now, health, random };
        let mut turned = countries.clone().skip(first).chain(countries.take(first));
        turned.find_map(|bucket| choice.draw_from(self, bucket))
    }
}

impl<R: FnMut() -> u64> Choice<'_, R> {
    fn draw_from<L>(&mut self, index: &Index<L>, bucket: &Bucket) -> Option<Lease<L>> {
        let usable = &bucket.usable;
        if usable.len() > SMALL {
            for _ in 0..ROUNDS {
                // All are drawn, then all loads read, then compared: in a large fleet none of them is in the cache, and a
                // processor fetches several at once if none depends on the one before.
                let drawn = [(); DRAWN].map(|()| &usable[((self.random)() % usable.len() as u64) as usize]);
                let loads = drawn.map(Slot::load);
                let mut best = None;
                for (slot, load) in drawn.into_iter().zip(loads) {
                    self.consider(&mut best, index, slot, load);
                }
                if let Some(lease) = best.and_then(|candidate| self.take(index, &candidate)) {
                    return Some(lease);
                }
            }
            // Nearly everything is full or was tried: look through it once, from anywhere, and take what there is.
            let from = ((self.random)() % usable.len() as u64) as usize;
            return usable[from..].iter().chain(&usable[..from]).find_map(|slot| {
                let mut found = None;
                self.consider(&mut found, index, slot, slot.load());
                found.and_then(|candidate| self.take(index, &candidate))
            });
        }
        // Somebody else may take the last place of the best one between look and take: then the next best.
        (0..usable.len()).find_map(|_| {
            let mut best = None;
            for slot in usable {
                self.consider(&mut best, index, slot, slot.load());
            }
            best.and_then(|candidate| self.take(index, &candidate))
        })
    }

    /// Keeps the better one. Among equals each gets its share by weight, so that an idle fleet is used evenly.
    fn consider<'i, L>(&mut self, best: &mut Option<Candidate<'i>>, index: &'i Index<L>, slot: &'i Slot, load: u32) {
        let member = &slot.member;
        if member.is_full() || self.avoid.contains(&member.id) || (self.sift && !self.fits(index, slot)) {
            return;
        }
        let load = u64::from(load);
        let weight = member.effective_weight(self.now, self.health);
        let Some(kept) = best else {
            *best = Some(Candidate { slot, load, weight });
            return;
        };
        let (new, old) = (load * kept.weight, kept.load * weight);
        // `kept.weight` of equals is that of all of them so far: a reservoir of one.
        let all = kept.weight + weight;
        if new < old {
            *best = Some(Candidate { slot, load, weight });
        } else if new == old && load == 0 {
            if (self.random)() % all < weight {
                *kept = Candidate { slot, load, weight };
            }
            kept.weight = all;
        } else if new == old && (self.random)() & 1 == 0 {
            *kept = Candidate { slot, load, weight };
        }
    }

    fn fits<L>(&self, index: &Index<L>, slot: &Slot) -> bool {
        index.entries.get(slot.at as usize).is_some_and(|entry| self.question.fits(entry))
    }

    fn take<L>(&self, index: &Index<L>, candidate: &Candidate<'_>) -> Option<Lease<L>> {
        let entry = index.entries.get(candidate.slot.at as usize)?;
        // A bucket of its own holds no others; that an exit is where it was asked for is worth being looked at twice.
        if !self.question.fits(entry) {
            return None;
        }
        Lease::take(&entry.member, entry.best_link()?)
    }
}
