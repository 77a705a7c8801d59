//! What must hold of set-ups whatever happens to the fleet, and what they cost.

use std::collections::{HashMap, HashSet};

use crate::fleet::Fleet;
use crate::load::{Outcome, Trial};

/// Trials, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// All of them.
    pub trials: usize,
    /// Answered with 200.
    pub set_up: usize,
    /// Of these, those whose byte came back.
    pub carried: usize,
    /// Faults told, by slug.
    pub told: HashMap<String, usize>,
    /// What was not answered at all.
    pub broken: Vec<String>,
    /// Served from elsewhere than asked, or said to be: must be none.
    pub misplaced: Vec<String>,
    /// Sessions that left an exit which nothing had happened to: must be none.
    pub strayed: Vec<String>,
    /// Sessions that left an exit which something had happened to.
    pub moved: usize,
}

impl Verdict {
    /// Judges trials, which are in the order they began. `harmed` are the exits that something was done to.
    #[must_use]
    pub fn of(fleet: &Fleet, trials: &[Trial], harmed: &HashSet<String>) -> Self {
        let mut verdict = Self { trials: trials.len(), ..Self::default() };
        let mut sessions: HashMap<&str, &str> = HashMap::new();
        for trial in trials {
            match &trial.outcome {
                Outcome::Carried(_) => {
                    verdict.set_up += 1;
                    verdict.carried += 1;
                }
                Outcome::Mute(_) => verdict.set_up += 1,
                Outcome::Told { slug, .. } => *verdict.told.entry(slug.clone()).or_default() += 1,
                Outcome::Broken(why) => verdict.broken.push(why.clone()),
            }
            let Some(served) = trial.served() else { continue };
            let (asked, is) = (trial.ask.place, fleet.place(&served.exit));
            let country = is.map(|place| place.country).filter(|country| !country.is_empty());
            if !is.is_some_and(|is| is.fits(&asked)) || served.country.as_deref() != country {
                verdict.misplaced.push(format!("{:?} was served by {served:?}, which is at {is:?}", trial.ask));
            }
            if let Some(session) = &trial.ask.session
                && let Some(before) = sessions.insert(session, &served.exit)
                && before != served.exit
            {
                match harmed.contains(before) {
                    true => verdict.moved += 1,
                    false => verdict.strayed.push(format!("session {session} left {before} for {served:?}")),
                }
            }
        }
        verdict
    }

    /// The part of the set-ups that were answered with 200.
    #[must_use]
    pub fn success(&self) -> f64 {
        self.set_up as f64 / self.trials.max(1) as f64
    }

    /// The part whose byte came back.
    #[must_use]
    pub fn carried(&self) -> f64 {
        self.carried as f64 / self.trials.max(1) as f64
    }
}
