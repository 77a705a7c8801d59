//! The sessions that the engine makes up: each keeps one exit, so choosing a session is choosing an exit.

use super::now::Moment;
use super::random::Random;

/// The made-up sessions of one proxy.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    list: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    name: String,
    /// When it was last taken: the one that rested longest goes next, so that each exit gets few requests in a row.
    taken: Moment,
    /// How many attempts it has now.
    busy: u32,
}

impl Sessions {
    /// A session that `fits`: a new one while there may be more, else the least busy that rested longest. If none fits, the one
    /// that rested longest is forgotten for a new one.
    pub(super) fn take(&mut self, now: Moment, most: usize, random: &mut Random, fits: impl Fn(&str) -> bool) -> String {
        if self.list.len() < most.max(1) {
            return self.make(now, random);
        }
        let best = self.list.iter_mut().filter(|made| fits(&made.name)).min_by_key(|made| (made.busy, made.taken));
        if let Some(made) = best {
            made.taken = now;
            made.busy += 1;
            return made.name.clone();
        }
        let oldest = self.list.iter().enumerate().min_by_key(|(_, made)| made.taken).map(|(at, _)| at);
        if let Some(at) = oldest {
            self.list.swap_remove(at);
        }
        self.make(now, random)
    }

    /// An attempt through it ended.
    pub(super) fn give_back(&mut self, name: &str) {
        if let Some(made) = self.list.iter_mut().find(|made| made.name == name) {
            made.busy = made.busy.saturating_sub(1);
        }
    }

    /// Its exit is gone or bad: it is not used again.
    pub(super) fn forget(&mut self, name: &str) {
        self.list.retain(|made| made.name != name);
    }

    fn make(&mut self, now: Moment, random: &mut Random) -> String {
        let name = random.word();
        self.list.push(Made { name: name.clone(), taken: now, busy: 1 });
        name
    }
}
