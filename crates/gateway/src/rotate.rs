//! Rotates an exit: asks it for another address, waits until it is back, and sees for itself where it leaves from.
//!
//! The address is the one from which the exit dials back to its door (as it does for the echo target), so it is the one that
//! the exit has towards this gateway. While a rotation is under way the exit gets no new tunnels. Its links may break with
//! the old address: the answer to the question then comes in the hello of a new link.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outgate_link::{Connect, Link, Rotate, Rotated};
use outgate_store::live::{RotateError, Rotation};
use outgate_store::{ExitId, Secret};
use ring::rand::SystemRandom;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout, timeout_at};

use crate::choose::ECHO_HOST;
use crate::fleet::Fleet;
use crate::gateway::Gateway;

/// One dial-back, from the question to its arrival.
const PROBE: Duration = Duration::from_secs(5);
/// Until the address before is known: nothing has happened yet.
const BEFORE: Duration = Duration::from_secs(10);
/// From the hook's end to a link over the new address; also on top of the exit's own bound for its hook, for the way.
const COMEBACK: Duration = Duration::from_secs(60);
/// An exit may say that its hook takes up to this.
const LONGEST_HOOK: Duration = Duration::from_secs(600);
/// Between two looks for a link that could carry a dial-back.
const LOOK: Duration = Duration::from_millis(200);

/// The rotations under way.
#[derive(Default)]
pub(crate) struct Rotations {
    running: Mutex<HashMap<ExitId, Arc<Running>>>,
    /// Dial-backs expected: whose, and who waits for the address.
    probes: Mutex<HashMap<String, (ExitId, oneshot::Sender<IpAddr>)>>,
}

struct Running {
    id: String,
    rotated: Mutex<Option<Rotated>>,
    told: Notify,
}

/// The place of a rotation; free again when it drops.
struct Turn<'a> {
    rotations: &'a Rotations,
    exit: &'a ExitId,
    running: Arc<Running>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.rotations.running).remove(self.exit);
    }
}

/// An exit that gets no new tunnels until this drops.
struct Rest<'a> {
    fleet: &'a Fleet,
    exit: &'a ExitId,
}

impl<'a> Rest<'a> {
    fn begin(fleet: &'a Fleet, exit: &'a ExitId) -> Self {
        fleet.rest(exit, true);
        Self { fleet, exit }
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.fleet.rest(self.exit, false);
    }
}

/// Takes the expectation of a dial-back away again.
struct Probe<'a> {
    rotations: &'a Rotations,
    ticket: &'a str,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        lock(&self.rotations.probes).remove(self.ticket);
    }
}

impl Rotations {
    /// The door tells what a new link's hello says of the last rotation.
    pub(crate) fn hear(&self, exit: &ExitId, rotated: &Rotated) {
        let running = lock(&self.running).get(exit).cloned();
        if let Some(running) = running.filter(|running| running.id == rotated.id) {
            *lock(&running.rotated) = Some(rotated.clone());
            running.told.notify_one();
        }
    }

    /// The door tells who dialed back and from where; whether somebody waited for it.
    pub(crate) fn witness(&self, ticket: &str, exit: &ExitId, address: IpAddr) -> bool {
        let mut probes = lock(&self.probes);
        if probes.get(ticket).is_none_or(|(expected, _)| expected != exit) {
            return false;
        }
        let waiting = probes.remove(ticket);
        waiting.is_some_and(|(_, tell)| tell.send(address.to_canonical()).is_ok())
    }

    fn begin<'a>(&'a self, exit: &'a ExitId) -> Result<Turn<'a>, RotateError> {
        let running = Arc::new(Running { id: random_name()?, rotated: Mutex::default(), told: Notify::new() });
        let mut all = lock(&self.running);
        if all.contains_key(exit) {
            return Err(RotateError::Busy);
        }
        all.insert(exit.clone(), running.clone());
        Ok(Turn { rotations: self, exit, running })
    }
}

impl Gateway {
    /// Asks an exit for another address and waits for what comes of it.
    pub(crate) async fn rotate(&self, exit: &ExitId) -> Result<Rotation, RotateError> {
        let (online, elsewhere): (Vec<_>, Vec<_>) = self.fleet.links(exit).into_iter().partition(|online| online.is_own());
        if online.is_empty() {
            let holder = elsewhere.first().and_then(|online| online.holder.as_ref());
            return Err(holder.map_or(RotateError::Offline, |holder| RotateError::Elsewhere(holder.gateway.to_string())));
        }
        let limit = online.iter().find_map(|online| online.rotates).ok_or(RotateError::NoHook)?.min(LONGEST_HOOK);
        let turn = self.rotations.begin(exit)?;
        let _rest = Rest::begin(&self.fleet, exit);
        let started = Instant::now();
        let unseen = RotateError::Unseen("it did not dial back to this gateway's door for exits; nothing was changed".into());
        let before = self.seen_from(exit, &[], started + BEFORE).await.ok_or(unseen)?;
        let old: Vec<Link> = self.live_links(exit).collect();
        let asked = old.last().ok_or(RotateError::Offline)?;
        let rotate = Rotate { id: turn.running.id.clone() };
        tracing::info!(%exit, id = rotate.id, %before, "rotating");
        asked.ask_rotate(&rotate);
        let rotated = timeout(limit + COMEBACK, answer(asked, &turn.running)).await;
        let waited = || Instant::now().duration_since(started);
        let rotated = rotated.map_err(|_| RotateError::Lost { before, waited: waited() })?;
        if !rotated.ok {
            let why = rotated.why.unwrap_or_else(|| "it did not say why".into());
            tracing::warn!(%exit, id = rotate.id, why, "not rotated");
            return Err(RotateError::Failed(why));
        }
        let after = self.seen_from(exit, &old, Instant::now() + COMEBACK).await;
        let after = after.ok_or_else(|| RotateError::Lost { before, waited: waited() })?;
        // Over the old address they may look alive until their silence is noticed: nothing new goes there.
        old.iter().for_each(Link::drain);
        tracing::info!(%exit, id = rotate.id, %before, %after, "rotated");
        Ok(Rotation { before, after, took: waited() })
    }

    /// The links of an exit that take questions, the newest last.
    fn live_links(&self, exit: &ExitId) -> impl DoubleEndedIterator<Item = Link> {
        let own = self.fleet.links(exit).into_iter().filter(|online| online.is_own());
        let links = own.map(|online| online.link.clone());
        links.filter(|link| !link.is_closed() && !link.is_draining()).collect::<Vec<_>>().into_iter()
    }

    /// The address from which an exit dials back, asked over one link after the other (but the `old` ones) until one works
    /// or the time is up.
    async fn seen_from(&self, exit: &ExitId, old: &[Link], deadline: Instant) -> Option<IpAddr> {
        let look = async {
            loop {
                for link in self.live_links(exit).rev().filter(|link| !old.iter().any(|known| known.same(link))) {
                    if let Some(address) = self.probe(exit, &link).await {
                        return address;
                    }
                }
                sleep(LOOK).await;
            }
        };
        timeout_at(deadline.into(), look).await.ok()
    }

    async fn probe(&self, exit: &ExitId, link: &Link) -> Option<IpAddr> {
        let ticket = random_name().ok()?;
        let (tell, told) = oneshot::channel();
        lock(&self.rotations.probes).insert(ticket.clone(), (exit.clone(), tell));
        let _probe = Probe { rotations: &self.rotations, ticket: &ticket };
        let ask = Connect {
            request_id: ticket.clone(),
            host: ECHO_HOST.to_owned(),
            port: 80,
            deadline: Some(PROBE),
            echo: true,
            through: None,
        };
        let dialed = async {
            // The tunnel has done its work once it is there.
            drop(link.connect(ask).await.ok()?);
            told.await.ok()
        };
        timeout(PROBE, dialed).await.ok()?
    }
}

/// The exit's answer, over the link it was asked by or in the hello of another one.
async fn answer(asked: &Link, running: &Running) -> Rotated {
    let over_link = async {
        while let Some(rotated) = asked.rotated().await {
            if rotated.id == running.id {
                return rotated;
            }
        }
        // It was lost with its address: the answer comes with a new one.
        std::future::pending().await
    };
    let over_another = async {
        loop {
            running.told.notified().await;
            if let Some(rotated) = lock(&running.rotated).take() {
                return rotated;
            }
        }
    };
    tokio::select! {
        rotated = over_link => rotated,
        rotated = over_another => rotated,
    }
}

/// For ids and tickets.
fn random_name() -> Result<String, RotateError> {
    let random = Secret::random(&SystemRandom::new()).map_err(|error| RotateError::Unseen(error.to_string()))?;
    Ok(random.into_exposed())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rotation_at_a_time_and_each_answer_to_its_own() {
        let (first, second) = (ExitId::parse("e1").unwrap(), ExitId::parse("e2").unwrap());
        let rotations = Rotations::default();
        let turn = rotations.begin(&first).unwrap();
        assert!(matches!(rotations.begin(&first), Err(RotateError::Busy)));
        let _other = rotations.begin(&second).unwrap();
        let rotated = Rotated { id: turn.running.id.clone(), ok: true, why: None };
        for (exit, id) in [(&second, rotated.id.as_str()), (&first, "another")] {
            rotations.hear(exit, &Rotated { id: id.into(), ..rotated.clone() });
        }
        assert!(lock(&turn.running.rotated).is_none());
        rotations.hear(&first, &rotated);
        assert_eq!(*lock(&turn.running.rotated), Some(rotated));
        drop(turn);
        assert!(rotations.begin(&first).is_ok());
    }

    #[test]
    fn a_dial_back_is_good_once_and_from_its_own_exit() {
        let (own, other) = (ExitId::parse("e1").unwrap(), ExitId::parse("e2").unwrap());
        let rotations = Rotations::default();
        let (tell, mut told) = oneshot::channel();
        lock(&rotations.probes).insert("t1".into(), (own.clone(), tell));
        let from: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert!(!rotations.witness("t1", &other, from) && !rotations.witness("t2", &own, from));
        assert!(rotations.witness("t1", &own, from));
        assert_eq!(told.try_recv().unwrap(), IpAddr::from([192, 0, 2, 7]));
        assert!(!rotations.witness("t1", &own, from));
    }
}
