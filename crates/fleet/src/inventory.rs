//! Who is there, and where: the index of one pool.
//!
//! Each exit that is usable now stands in one bucket per place it can be asked by. A bucket is dense, so a draw from it is one
//! random number; an exit remembers its slot in each, so leaving swaps the bucket's last one into its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use outgate_store::{Country, ExitId, Labels};
use slab::Slab;

use crate::health::Record;
use crate::member::{Member, Seat};
use crate::wanted::Wanted;

/// No slot: the exit is not in this bucket.
const NOWHERE: u32 = u32::MAX;
/// A label that is not set, or not asked for.
const ANY: u32 = 0;
/// Labels that may be out of use before they are looked through.
const MOST_UNUSED: usize = 1_000;

/// A place with its labels as numbers: small, and compared without reading text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Place {
    country: Option<Country>,
    state: u32,
    city: u32,
}

impl Place {
    /// The places this one can be asked by: anywhere, country, state, city of the country, city of the state, city alone.
    fn keys(self) -> [Option<Place>; 6] {
        let Place { country, state, city } = self;
        let within = |state, city| country.map(|c| Place { country: Some(c), state, city });
        let (has_state, has_city) = (state != ANY, city != ANY);
        [
            Some(Place::default()),
            within(ANY, ANY),
            within(state, ANY).filter(|_| has_state),
            within(ANY, city).filter(|_| has_city),
            within(state, city).filter(|_| has_state && has_city),
            Some(Place { country: None, state: ANY, city }).filter(|_| has_city),
        ]
    }

    fn has(self, asked: Place) -> bool {
        (asked.country.is_none() || asked.country == self.country)
            && (asked.state == ANY || asked.state == self.state)
            && (asked.city == ANY || asked.city == self.city)
    }
}

/// A question in the index's numbers.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) place: Place,
    countries: &'a [Country],
}

impl Question<'_> {
    /// Whether the bucket of the place holds nothing but answers.
    pub(crate) fn has_own_bucket(&self) -> bool {
        self.countries.is_empty() && (self.place.state == ANY || self.place.country.is_some())
    }

    pub(crate) fn fits<L>(&self, entry: &Entry<L>) -> bool {
        entry.place.has(self.place)
            && (self.countries.is_empty() || entry.place.country.is_some_and(|c| self.countries.contains(&c)))
    }
}

/// The usable exits of a place, and how many are connected there.
#[derive(Default)]
pub(crate) struct Bucket {
    pub(crate) usable: Vec<Slot>,
    connected: u32,
}

/// An exit in a bucket. What a look at it needs lies one step away, not two: of 100,000 none is in the cache.
pub(crate) struct Slot {
    pub(crate) at: u32,
    pub(crate) member: Arc<Member>,
}

impl Slot {
    pub(crate) fn load(&self) -> u32 {
        self.member.load.load(Relaxed)
    }
}

/// One exit of the pool.
pub(crate) struct Entry<L> {
    pub(crate) member: Arc<Member>,
    pub(crate) labels: Labels,
    place: Place,
    pub(crate) links: Vec<Joined<L>>,
    /// The operator gives it nothing new.
    pub(crate) draining: bool,
    pub(crate) record: Record,
    slots: [u32; 6],
    /// As the counters and buckets know it.
    counted: Standing,
}

/// A link of an entry.
pub(crate) struct Joined<L> {
    pub(crate) seat: Arc<Seat<L>>,
    /// One of its ends takes no new tunnels.
    pub(crate) draining: bool,
    /// Of a link over another gateway, what that says of the exit; none of the exit's own.
    pub(crate) remote: Option<Remote>,
}

/// An exit in another gateway's words.
pub(crate) struct Remote {
    pub(crate) labels: Labels,
    /// It has set the exit aside.
    pub(crate) aside: bool,
    /// It sees the exit at another place than counts here: nothing may leave from there under this one's name.
    pub(crate) astray: bool,
}

impl<L> Joined<L> {
    pub(crate) fn is_own(&self) -> bool {
        self.remote.is_none()
    }

    fn takes_tunnels(&self) -> bool {
        !self.draining && self.remote.as_ref().is_none_or(|remote| !remote.astray)
    }

    fn is_aside(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.aside)
    }
}

/// An exit as other gateways may be told of it: going by its own links only.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Offered {
    /// It has none.
    #[default]
    No,
    /// It takes no tunnels.
    Draining,
    /// It was set aside.
    Aside,
    /// It takes tunnels.
    Usable,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Standing {
    /// It has a link.
    connected: bool,
    /// It would take a tunnel, were it well.
    there: bool,
    usable: bool,
    offered: Offered,
}

/// Who hears of exits whose standing, place or terms changed. Called under the pool's lock.
pub(crate) type Hears = Arc<dyn Fn(&ExitId) + Send + Sync>;

/// A pool's index.
pub(crate) struct Index<L> {
    pub(crate) entries: Slab<Entry<L>>,
    pub(crate) buckets: HashMap<Place, Bucket>,
    pub(crate) by_id: HashMap<ExitId, u32>,
    pub(crate) by_number: HashMap<u32, u32>,
    /// The entries that are set aside, connected or not.
    pub(crate) ejected: HashSet<u32>,
    labels: HashMap<Box<str>, u32>,
    /// The last that was given; at most one for each label that is kept.
    next_label: u32,
    free_labels: Vec<u32>,
    /// How many were in use when they were last looked through.
    labels_kept: usize,
    /// Exits that would take a tunnel, were they well.
    pub(crate) there: usize,
    /// Exits that take one.
    pub(crate) usable: usize,
    pub(crate) hears: Option<Hears>,
}

impl<L> Default for Index<L> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            buckets: HashMap::new(),
            by_id: HashMap::new(),
            by_number: HashMap::new(),
            ejected: HashSet::new(),
            labels: HashMap::new(),
            next_label: ANY,
            free_labels: Vec::new(),
            labels_kept: 0,
            there: 0,
            usable: 0,
            hears: None,
        }
    }
}

impl<L> Entry<L> {
    /// The link that takes the next tunnel: of those with room the one with the fewest, its own before another gateway's.
    pub(crate) fn best_link(&self) -> Option<&Arc<Seat<L>>> {
        let open = |joined: &Joined<L>| joined.seat.open.load(Relaxed);
        let free = self.links.iter().filter(|joined| joined.takes_tunnels() && open(joined) < joined.seat.room);
        free.min_by_key(|joined| (joined.is_aside(), !joined.is_own(), open(joined))).map(|joined| &joined.seat)
    }

    /// A link of its own that takes questions.
    pub(crate) fn own_link(&self) -> Option<&Arc<Seat<L>>> {
        let own = self.links.iter().filter(|joined| joined.is_own() && !joined.draining);
        own.min_by_key(|joined| joined.seat.open.load(Relaxed)).map(|joined| &joined.seat)
    }

    /// Whether it takes tunnels of sessions that are bound to it: ejected or not, but not without a link.
    pub(crate) fn is_there(&self) -> bool {
        !self.draining && self.links.iter().any(Joined::takes_tunnels)
    }

    fn is_aside(&self) -> bool {
        self.record.ejected.is_some() || self.links.iter().all(|joined| joined.is_aside() || !joined.takes_tunnels())
    }

    pub(crate) fn offered(&self) -> Offered {
        if !self.links.iter().any(Joined::is_own) {
            Offered::No
        } else if self.draining || self.own_link().is_none() {
            Offered::Draining
        } else if self.record.ejected.is_some() {
            Offered::Aside
        } else {
            Offered::Usable
        }
    }
}

impl<L> Index<L> {
    /// The entry of an exit, new or known.
    pub(crate) fn entry(&mut self, id: &ExitId, member: impl FnOnce() -> Member) -> u32 {
        if let Some(at) = self.by_id.get(id) {
            return *at;
        }
        let member = Arc::new(member());
        let number = member.number;
        let at = self.entries.insert(Entry {
            member,
            labels: Labels::default(),
            place: Place::default(),
            links: Vec::new(),
            draining: false,
            record: Record::default(),
            slots: [NOWHERE; 6],
            counted: Standing::default(),
        }) as u32;
        self.by_id.insert(id.clone(), at);
        self.by_number.insert(number, at);
        at
    }

    /// Moves an entry to where its newest link says it is; what another gateway says counts only where nobody was asked here.
    pub(crate) fn locate(&mut self, at: u32, own: Option<&Labels>) {
        let entry = &mut self.entries[at as usize];
        if own.is_none() && entry.links.iter().all(Joined::is_own) {
            return;
        }
        let labels = match own {
            Some(labels) => {
                // Older links of its own that said otherwise take nothing new from here on.
                let moved = entry.labels != *labels;
                entry.links.retain(|joined| !joined.is_own() || !moved);
                labels.clone()
            }
            None if entry.links.iter().any(Joined::is_own) => entry.labels.clone(),
            None => match entry.links.iter().rev().find_map(|joined| joined.remote.as_ref()) {
                Some(remote) => remote.labels.clone(),
                None => return,
            },
        };
        for remote in entry.links.iter_mut().filter_map(|joined| joined.remote.as_mut()) {
            remote.astray = remote.labels != labels;
        }
        if entry.labels != labels {
            self.relabel(at, &labels);
        }
    }

    fn relabel(&mut self, at: u32, labels: &Labels) {
        // Not between the two labels: the first one is not yet anybody's.
        if self.labels.len() >= 2 * self.labels_kept.max(MOST_UNUSED) {
            self.sweep_labels();
        }
        let place = Place {
            country: labels.country,
            state: self.label(labels.state.as_deref()),
            city: self.label(labels.city.as_deref()),
        };
        self.withdraw(at);
        let entry = &mut self.entries[at as usize];
        entry.labels = labels.clone();
        entry.place = place;
    }

    fn label(&mut self, text: Option<&str>) -> u32 {
        let Some(text) = text else { return ANY };
        if let Some(number) = self.labels.get(text) {
            return *number;
        }
        let number = self.free_labels.pop().unwrap_or_else(|| {
            self.next_label += 1;
            self.next_label
        });
        self.labels.insert(text.into(), number);
        number
    }

    /// Takes an entry out of every bucket and counter; [`Self::settle`] puts it back where it belongs.
    fn withdraw(&mut self, at: u32) {
        self.become_(at, Standing::default());
    }

    /// Makes buckets and counters true again after an entry changed.
    pub(crate) fn settle(&mut self, at: u32) {
        let entry = &self.entries[at as usize];
        let (there, out) = (entry.is_there(), entry.record.ejected.is_some());
        let usable = there && !entry.is_aside();
        let standing = Standing { connected: !entry.links.is_empty(), there, usable, offered: entry.offered() };
        match out {
            true => self.ejected.insert(at),
            false => self.ejected.remove(&at),
        };
        self.become_(at, standing);
    }

    /// Drops an entry of which nothing needs to be remembered.
    pub(crate) fn forget_if_gone(&mut self, at: u32, now: u64) {
        let Some(entry) = self.entries.get(at as usize) else { return };
        if entry.links.is_empty() && entry.record.is_clean(now) {
            self.forget(at);
        }
    }

    /// Drops an entry.
    pub(crate) fn forget(&mut self, at: u32) {
        self.withdraw(at);
        self.ejected.remove(&at);
        let entry = self.entries.remove(at as usize);
        self.by_id.remove(&entry.member.id);
        self.by_number.remove(&entry.member.number);
    }

    fn become_(&mut self, at: u32, standing: Standing) {
        let entry = &self.entries[at as usize];
        let (was, place) = (entry.counted, entry.place);
        if was == standing {
            return;
        }
        if was.offered != standing.offered {
            self.tell(at);
        }
        let change = |count: usize, was: bool, is: bool| (count + usize::from(is)).saturating_sub(usize::from(was));
        self.there = change(self.there, was.there, standing.there);
        self.usable = change(self.usable, was.usable, standing.usable);
        for (kind, key) in place.keys().into_iter().enumerate() {
            let Some(key) = key else { continue };
            if was.connected != standing.connected {
                let bucket = self.buckets.entry(key).or_default();
                let count = change(bucket.connected as usize, was.connected, standing.connected);
                bucket.connected = count as u32;
            }
            match (was.usable, standing.usable) {
                (false, true) => self.put(key, kind, at),
                (true, false) => self.take(key, kind, at),
                (true, true) | (false, false) => {}
            }
            // An exit may name itself a new place whenever it dials in: one that nobody is at leaves nothing behind.
            if self.buckets.get(&key).is_some_and(|bucket| bucket.connected == 0) {
                self.buckets.remove(&key);
            }
        }
        self.entries[at as usize].counted = standing;
    }

    /// Tells whoever hears of changes.
    pub(crate) fn tell(&self, at: u32) {
        if let Some(hears) = &self.hears {
            hears(&self.entries[at as usize].member.id);
        }
    }

    fn put(&mut self, key: Place, kind: usize, at: u32) {
        let bucket = self.buckets.entry(key).or_default();
        let entry = &mut self.entries[at as usize];
        entry.slots[kind] = bucket.usable.len() as u32;
        bucket.usable.push(Slot { at, member: entry.member.clone() });
    }

    fn take(&mut self, key: Place, kind: usize, at: u32) {
        let slot = std::mem::replace(&mut self.entries[at as usize].slots[kind], NOWHERE);
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        bucket.usable.swap_remove(slot as usize);
        if let Some(moved) = bucket.usable.get(slot as usize) {
            self.entries[moved.at as usize].slots[kind] = slot;
        }
    }

    /// A question in numbers; `None` when it names what was never there, or a country that the plan leaves out.
    pub(crate) fn question<'a>(&self, wanted: &'a Wanted) -> Option<Question<'a>> {
        if wanted.country.is_some_and(|c| !wanted.countries.is_empty() && !wanted.countries.contains(&c)) {
            return None;
        }
        let number = |text: &Option<String>| match text {
            Some(text) => self.labels.get(text.as_str()).copied(),
            None => Some(ANY),
        };
        let place = Place { country: wanted.country, state: number(&wanted.state)?, city: number(&wanted.city)? };
        Some(Question { place, countries: &wanted.countries })
    }

    /// The smallest bucket that holds every answer. All but a state without its country have one of their own.
    pub(crate) fn bucket(&self, place: Place) -> Option<&Bucket> {
        let key = match place {
            Place { country: None, state, city } if state != ANY => Place { country: None, state: ANY, city },
            place => place,
        };
        self.buckets.get(&key)
    }

    /// The buckets of the countries a plan keeps to, when no place narrower than a country is asked.
    pub(crate) fn country_buckets<'a>(
        &'a self,
        question: &Question<'a>,
    ) -> Option<impl Iterator<Item = &'a Bucket> + Clone + 'a> {
        let countries = (question.place == Place::default() && !question.countries.is_empty()).then_some(question.countries)?;
        let key = |country: &Country| Place { country: Some(*country), state: ANY, city: ANY };
        Some(countries.iter().filter_map(move |country| self.buckets.get(&key(country))))
    }

    /// Forgets the labels that no exit has any more.
    fn sweep_labels(&mut self) {
        let used: HashSet<u32> = self.entries.iter().flat_map(|(_, entry)| [entry.place.state, entry.place.city]).collect();
        self.free_labels.extend(self.labels.extract_if(|_, number| !used.contains(number)).map(|(_, number)| number));
        self.labels_kept = self.labels.len();
    }

    /// Places that have a bucket, for the tests of what is kept.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.buckets.len(), self.labels.len())
    }

    /// Holds every bucket, slot and counter against the entries.
    #[cfg(test)]
    pub(crate) fn audit(&self) {
        let mut usable: HashMap<Place, usize> = HashMap::new();
        let mut connected: HashMap<Place, u32> = HashMap::new();
        for (at, entry) in &self.entries {
            assert_eq!(self.by_id.get(&entry.member.id), Some(&(at as u32)));
            assert_eq!(self.by_number.get(&entry.member.number), Some(&(at as u32)));
            let out = entry.record.ejected.is_some();
            assert_eq!(self.ejected.contains(&(at as u32)), out);
            assert_eq!(entry.counted.usable, entry.is_there() && !entry.is_aside());
            assert_eq!(entry.counted.offered, entry.offered());
            for (kind, key) in entry.place.keys().into_iter().enumerate() {
                let slot = entry.slots[kind];
                match key.filter(|_| entry.counted.usable) {
                    Some(key) => {
                        assert_eq!(self.buckets[&key].usable[slot as usize].at, at as u32);
                        *usable.entry(key).or_default() += 1;
                    }
                    None => assert_eq!(slot, NOWHERE),
                }
                if let Some(key) = key.filter(|_| !entry.links.is_empty()) {
                    *connected.entry(key).or_default() += 1;
                }
            }
        }
        for (place, bucket) in &self.buckets {
            assert_eq!(bucket.usable.len(), usable.get(place).copied().unwrap_or(0), "{place:?}");
            assert_eq!(bucket.connected, connected.get(place).copied().unwrap_or(0), "{place:?}");
        }
        assert_eq!(self.there, self.entries.iter().filter(|(_, e)| e.is_there()).count());
        let usable = self.entries.iter().filter(|(_, e)| e.is_there() && !e.is_aside());
        assert_eq!(self.usable, usable.count());
    }
}
