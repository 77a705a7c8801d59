//! What goes wrong, how often: mixes that the engine was tuned on, and mixes that it was not.

use crate::world::{Dice, Job, Kind};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u64,
    pub(crate) names_wait: bool,
}

/// Shares are in thousandths, times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) accounts: usize,
    pub(crate) sessions: bool,
    pub(crate) exits: u64,
    pub(crate) refused: u64,
    pub(crate) reset: u64,
    pub(crate) lost_answer: u64,
    /// Every so long, for so long, nine of ten set-ups fail.
    pub(crate) burst: Option<(u64, u64)>,
    pub(crate) rate: Option<Rate>,
    /// The first account lets so many requests through, and then none.
    pub(crate) quota: Option<u64>,
    pub(crate) dead: u64,
    pub(crate) banned: u64,
    pub(crate) bad_country: u64,
    pub(crate) scarce_country: u64,
    pub(crate) bad_port: u64,
    pub(crate) post: u64,
    pub(crate) down: usize,
    pub(crate) nowhere: usize,
    pub(crate) maintained: usize,
    pub(crate) hiccups: usize,
    pub(crate) limits: Option<(usize, u64)>,
    pub(crate) bans: usize,
    pub(crate) well: usize,
    pub(crate) target_names_wait: bool,
    pub(crate) per_second: u64,
    pub(crate) patience: u64,
}

impl Mix {
    /// Nothing goes wrong.
    pub(crate) fn calm(name: &'static str) -> Mix {
        Mix {
            name,
            accounts: 1,
            sessions: true,
            exits: 300,
            refused: 0,
            reset: 0,
            lost_answer: 0,
            burst: None,
            rate: None,
            quota: None,
            dead: 0,
            banned: 0,
            bad_country: 0,
            scarce_country: 0,
            bad_port: 0,
            post: 100,
            down: 0,
            nowhere: 0,
            maintained: 0,
            hiccups: 0,
            limits: None,
            bans: 0,
            well: 20,
            target_names_wait: true,
            per_second: 30,
            patience: 60_000,
        }
    }

    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let (limits, each) = self.limits.unwrap_or((0, 0));
        let parts = [
            (self.down, Kind::Down),
            (self.nowhere, Kind::Nowhere),
            (self.maintained, Kind::Maintained),
            (self.hiccups, Kind::Hiccups),
            (limits, Kind::Limits(each)),
            (self.bans, Kind::Bans),
            (self.well, Kind::Well),
        ];
        parts.into_iter().flat_map(|(many, kind)| std::iter::repeat_n(kind, many)).collect()
    }

    pub(crate) fn jobs(&self, many: usize, seed: u64) -> Vec<Job> {
        let mut dice = Dice(seed);
        let domains = self.kinds().len() as u64;
        let gap = 1000 / self.per_second;
        (0..many)
            .map(|id| {
                let at = id as u64 * 1000 / self.per_second + dice.below(gap.max(1));
                let wish = dice.below(1000);
                let targeting = match wish {
                    wish if wish < self.bad_country => "country-zz",
                    wish if wish < self.bad_country + self.scarce_country => "country-is",
                    _ => "",
                };
                Job {
                    id,
                    at,
                    post: dice.hits(self.post),
                    domain: dice.below(domains) as usize,
                    targeting,
                    port: if dice.hits(self.bad_port) { 25 } else { 443 },
                    deadline: at + self.patience,
                }
            })
            .collect()
    }
}

/// What the engine's numbers were chosen on, or had been looked at before the last of them was.
pub(crate) fn seen() -> Vec<Mix> {
    let calm = Mix::calm;
    vec![
        calm("calm"),
        Mix {
            burst: Some((60_000, 8_000)),
            refused: 10,
            reset: 20,
            lost_answer: 5,
            rate: Some(Rate { per_second: 40, names_wait: true }),
            dead: 80,
            banned: 250,
            bad_country: 20,
            scarce_country: 30,
            bad_port: 20,
            down: 2,
            nowhere: 1,
            maintained: 2,
            hiccups: 2,
            limits: Some((3, 6)),
            bans: 3,
            ..calm("everything")
        },
        Mix { refused: 20, reset: 280, ..calm("three of ten set-ups fail") },
        Mix {
            rate: Some(Rate { per_second: 25, names_wait: false }),
            per_second: 24,
            dead: 50,
            ..calm("a rate just so, no wait named")
        },
        Mix { down: 6, nowhere: 2, well: 12, dead: 50, reset: 20, ..calm("many targets down") },
        Mix {
            accounts: 3,
            quota: Some(1500),
            refused: 30,
            reset: 50,
            lost_answer: 10,
            dead: 150,
            banned: 400,
            bans: 5,
            bad_country: 50,
            bad_port: 30,
            down: 3,
            hiccups: 3,
            rate: Some(Rate { per_second: 30, names_wait: true }),
            per_second: 50,
            ..calm("three accounts, one runs out")
        },
        Mix { sessions: false, dead: 200, banned: 300, bans: 4, reset: 50, down: 2, ..calm("no sessions, many dead exits") },
        Mix {
            burst: Some((45_000, 12_000)),
            limits: Some((8, 4)),
            target_names_wait: false,
            maintained: 4,
            dead: 100,
            well: 8,
            per_second: 15,
            post: 250,
            ..calm("long bursts, strict targets, many posts")
        },
        Mix {
            rate: Some(Rate { per_second: 30, names_wait: true }),
            scarce_country: 200,
            bad_country: 100,
            nowhere: 3,
            hiccups: 4,
            reset: 100,
            per_second: 28,
            patience: 90_000,
            ..calm("scarce countries, tight rate")
        },
    ]
}

/// Written after the last number was chosen, and run as they are.
pub(crate) fn held_out() -> Vec<Mix> {
    let calm = Mix::calm;
    vec![
        Mix {
            exits: 80,
            dead: 300,
            reset: 80,
            refused: 10,
            lost_answer: 8,
            limits: Some((4, 3)),
            bans: 2,
            banned: 300,
            post: 200,
            well: 10,
            per_second: 12,
            ..calm("few exits, a third of them dead")
        },
        Mix {
            accounts: 2,
            quota: Some(800),
            burst: Some((37_000, 5_000)),
            rate: Some(Rate { per_second: 60, names_wait: false }),
            bad_country: 80,
            scarce_country: 60,
            bad_port: 60,
            down: 5,
            nowhere: 4,
            hiccups: 2,
            maintained: 3,
            per_second: 45,
            ..calm("two accounts, much misuse, bursts")
        },
        Mix {
            sessions: false,
            burst: Some((20_000, 3_000)),
            reset: 120,
            lost_answer: 20,
            bans: 8,
            banned: 500,
            target_names_wait: false,
            limits: Some((2, 8)),
            down: 1,
            post: 300,
            per_second: 20,
            ..calm("half the exits banned, no sessions")
        },
    ]
}
