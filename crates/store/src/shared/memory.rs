//! What is shared, in memory: for tests with several gateways in one process. The other implementations do exactly this.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::ready;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Answers, Asks, BytesAsk, BytesGrant, CHANGES_KEPT, Company, Known, Peer, Presence, RateAsk, RateGrant, SessionAnswer,
    SessionAsk, SessionName, Shared, ThreadsAsk, level,
};
use crate::contract::StoreFuture;
use crate::id::{ExitId, KeyId};

/// A group's shared state, for as long as this lives.
pub struct Memory {
    began: Instant,
    group: Mutex<Group>,
}

#[derive(Default)]
struct Group {
    members: BTreeMap<String, Member>,
    /// Per key: the theoretical arrival time of the next request, as in the generic cell rate algorithm.
    rates: HashMap<KeyId, Duration>,
    threads: HashMap<KeyId, HashMap<String, Level>>,
    bytes: HashMap<(KeyId, i64), Bytes>,
    sessions: HashMap<SessionName, (ExitId, Duration)>,
    changes: VecDeque<(u64, SessionName)>,
    news: u64,
}

struct Member {
    peer: Peer,
    until: Duration,
    exits: BTreeSet<ExitId>,
}

#[derive(Clone, Copy, Default)]
struct Level {
    value: u64,
    turn: u64,
}

/// A period's bytes: what was used before anybody here, and what moved since.
#[derive(Default)]
struct Bytes {
    floor: u64,
    moved: i64,
    levels: HashMap<String, Level>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { began: Instant::now(), group: Mutex::default() }
    }
}

impl Shared for Memory {
    fn ask(&self, asks: Asks) -> StoreFuture<'_, Answers> {
        let now = self.began.elapsed();
        let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        let group = &mut *group;
        let answers = Answers {
            company: asks.presence.as_ref().and_then(|presence| group.meet(&asks.member, presence, now)),
            rates: asks.rates.iter().map(|ask| group.rate(ask, now)).collect(),
            threads: asks.threads.iter().map(|ask| group.threads(&asks, ask, now)).collect(),
            bytes: asks.bytes.iter().map(|ask| group.bytes(&asks, ask)).collect(),
            sessions: asks.sessions.iter().map(|ask| group.session(ask, now)).collect(),
        };
        Box::pin(ready(Ok(answers)))
    }
}

impl Group {
    fn meet(&mut self, member: &str, presence: &Presence, now: Duration) -> Option<Company> {
        self.members.retain(|name, other| other.until > now || name == member);
        let Presence::Here { peer, lasts, arrived, left, seeks, heard } = presence else {
            self.members.remove(member);
            return None;
        };
        let gone = self.members.get(member).is_none_or(|me| me.until <= now);
        let new = || Member { peer: peer.clone(), until: now, exits: BTreeSet::new() };
        let me = self.members.entry(member.to_owned()).or_insert_with(new);
        if gone {
            me.exits.clear();
        }
        (me.peer, me.until) = (peer.clone(), now + *lasts);
        me.exits.extend(arrived.iter().cloned());
        me.exits.retain(|exit| !left.contains(exit));
        let exits = me.exits.len() as u64;
        let mut peers: Vec<Peer> = self.members.values().map(|member| member.peer.clone()).collect();
        peers.sort();
        let holders = |exit: &ExitId| {
            let holding = self.members.values().filter(|member| member.exits.contains(exit));
            let mut names: Vec<String> = holding.map(|member| member.peer.name.clone()).collect();
            names.sort();
            names
        };
        let heard = if *heard > self.news { 0 } else { *heard };
        let changed = self.changes.iter().filter(|(number, _)| *number > heard).map(|(_, name)| *name);
        let (holders, changed) = (seeks.iter().map(holders).collect(), changed.collect());
        Some(Company { age: now, peers, exits, holders, changed, news: self.news })
    }

    fn rate(&mut self, ask: &RateAsk, now: Duration) -> RateGrant {
        let step = Duration::from_secs(1) / ask.rate.max(1);
        let ahead = step * ask.burst.max(1);
        let arrival = self.rates.entry(ask.key.clone()).or_default();
        *arrival = (*arrival).clamp(now, now + ahead);
        let free = ((now + ahead - *arrival).as_nanos() / step.as_nanos().max(1)) as u32;
        let granted = ask.want.min(free);
        *arrival += step * granted;
        RateGrant { granted, remaining: free - granted, wait: (*arrival + step).saturating_sub(now + ahead) }
    }

    fn threads(&mut self, asks: &Asks, ask: &ThreadsAsk, now: Duration) -> u32 {
        let members = &self.members;
        let is_there = |name: &String| members.get(name).is_some_and(|member| member.until > now);
        let levels = self.threads.entry(ask.key.clone()).or_default();
        levels.retain(|name, _| *name == asks.member || is_there(name));
        let others = levels.iter().filter(|(name, _)| **name != asks.member).map(|(_, level)| level.value).sum();
        let mine = levels.entry(asks.member.clone()).or_default();
        if mine.turn < asks.turn {
            let value = level(ask.used.into(), ask.want.into(), ask.limit.into(), others);
            *mine = Level { value, turn: asks.turn };
        }
        mine.value as u32
    }

    fn bytes(&mut self, asks: &Asks, ask: &BytesAsk) -> BytesGrant {
        let bytes = self.bytes.entry((ask.key.clone(), ask.period.0)).or_default();
        if !bytes.levels.contains_key(&asks.member) {
            bytes.welcome(&asks.member, ask.known);
        }
        let mine = bytes.levels.entry(asks.member.clone()).or_default();
        let total = bytes.floor.saturating_add_signed(bytes.moved);
        if mine.turn >= asks.turn {
            return BytesGrant { level: mine.value, total };
        }
        let value = level(ask.used, ask.want, ask.limit, total.saturating_sub(mine.value));
        bytes.moved += value.cast_signed() - mine.value.cast_signed();
        *mine = Level { value, turn: asks.turn };
        BytesGrant { level: value, total: bytes.floor.saturating_add_signed(bytes.moved) }
    }

    fn session(&mut self, ask: &SessionAsk, now: Duration) -> SessionAnswer {
        let (SessionAsk::Bind(name, ..) | SessionAsk::Move(name, ..) | SessionAsk::End(name)) = ask;
        self.sessions.retain(|_, (_, until)| *until > now);
        match ask {
            SessionAsk::Bind(_, exit, ttl) => drop(self.sessions.entry(*name).or_insert_with(|| (exit.clone(), now + *ttl))),
            SessionAsk::Move(_, from, to) => {
                if let Some((exit, _)) = self.sessions.get_mut(name).filter(|(exit, _)| exit == from) {
                    *exit = to.clone();
                    self.tell(*name);
                }
            }
            SessionAsk::End(_) => {
                let ended = self.sessions.remove(name);
                self.tell(*name);
                return SessionAnswer { exit: ended.map(|(exit, _)| exit), left: Duration::ZERO };
            }
        }
        let known = self.sessions.get(name);
        known.map(|(exit, until)| SessionAnswer { exit: Some(exit.clone()), left: *until - now }).unwrap_or_default()
    }

    fn tell(&mut self, name: SessionName) {
        self.news += 1;
        self.changes.push_back((self.news, name));
        if self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }
}

impl Bytes {
    /// A member that isn't known here: new to the group, or the group's memory was lost.
    fn welcome(&mut self, member: &str, known: Known) {
        let value = match known {
            // Told before the loss, so nothing that moved since is in it.
            Known::Told(told) => {
                self.floor = self.floor.max(told.total);
                told.level
            }
            // The ledger may have heard of what moved since.
            Known::Ledger(sum) => {
                let total = self.floor.saturating_add_signed(self.moved);
                self.floor += sum.saturating_sub(total);
                0
            }
        };
        self.levels.insert(member.to_owned(), Level { value, turn: 0 });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shared::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::run(|| async { Arc::new(Memory::default()) as Arc<dyn Shared> }).await;
    }
}
