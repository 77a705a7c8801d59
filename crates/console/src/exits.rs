//! The desk's operations on exits.

use std::collections::HashMap;

use outgate_store::live::{ExitDoor, ExitStatus, Rotation};
use outgate_store::{Change, Exit, ExitId, ExitState, Labels, PoolName, Secret};

use crate::desk::{Desk, DeskError, Entry, Turn, page};
use crate::plans::{Patch, shown};

/// Names and carriers are read by people in a list.
const LONGEST_TEXT: usize = 100;

/// An exit to be enrolled. What is unset, the exit may say itself when it dials in.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NewExit {
    /// What people call it.
    pub name: Option<String>,
    /// Its pool.
    pub pool: Option<PoolName>,
    /// Where it is.
    pub labels: Labels,
    /// Its share of the traffic; 1 when unset.
    pub weight: Option<u16>,
    /// Tunnels it may carry at once.
    pub max_tunnels: Option<u32>,
}

/// A change of an exit, field by field. Where it is and what it belongs to was settled when it was enrolled.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ExitPatch {
    /// What people call it.
    pub name: Patch<String>,
    /// Its share of the traffic; clearing it means 1.
    pub weight: Patch<u16>,
    /// Tunnels it may carry at once.
    pub max_tunnels: Patch<u32>,
}

impl ExitPatch {
    fn apply(self, exit: &mut Exit) {
        self.name.apply(&mut exit.name);
        match self.weight {
            Patch::Keep => {}
            Patch::Clear => exit.weight = Exit::WEIGHT,
            Patch::Set(weight) => exit.weight = weight,
        }
        self.max_tunnels.apply(&mut exit.max_tunnels);
    }
}

/// What is wrong with an exit's fields, whoever sets them.
fn check(name: Option<&String>, carrier: Option<&String>, weight: u16, max_tunnels: Option<u32>) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    for (field, text) in [("name", name), ("carrier", carrier)] {
        if text.is_some_and(|text| text.is_empty() || text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control)) {
            problems.push((field, format!("must be one line of 1 to {LONGEST_TEXT} characters")));
        }
    }
    if !Exit::WEIGHTS.contains(&weight) {
        problems.push(("weight", format!("must be {} to {}", Exit::WEIGHTS.start(), Exit::WEIGHTS.end())));
    }
    if max_tunnels == Some(0) {
        problems.push(("max_tunnels", "must be 1 or more: to give it none, drain it".to_owned()));
    }
    problems
}

impl Desk {
    /// Enrols an exit. Its token is returned here and never again.
    pub async fn enroll_exit(&self, who: &str, new: NewExit) -> Result<(Exit, Secret<String>), DeskError> {
        let turn = self.turn().await;
        let weight = new.weight.unwrap_or(Exit::WEIGHT);
        let mut problems = check(new.name.as_ref(), new.labels.carrier.as_ref(), weight, new.max_tunnels);
        if new.labels.country.is_none() && (new.labels.state.is_some() || new.labels.city.is_some()) {
            problems.push(("country", "must be said where a state or city is".to_owned()));
        }
        if let (Some(country), Some(state)) = (new.labels.country, &new.labels.state)
            && !country.has_state(state)
        {
            let meant = country.state_meant_by(state).map(|meant| format!(": did you mean {meant}?"));
            problems.push(("state", format!("is not a subdivision of {country} (ISO 3166-2){}", meant.unwrap_or_default())));
        }
        if !problems.is_empty() {
            return Err(DeskError::Invalid(problems));
        }
        let token = Secret::random(&self.random)?;
        let exit = Exit {
            id: self.free_exit_id()?,
            name: new.name,
            pool: new.pool,
            labels: new.labels,
            weight,
            max_tunnels: new.max_tunnels,
            token: token.hash(),
            state: ExitState::Active,
            created: self.now(),
        };
        let entry = Entry { who, what: "exit.enroll", subject: exit.id.as_str(), detail: exit.name.clone().unwrap_or_default() };
        self.commit(turn, entry, Change::PutExit(exit.clone())).await?;
        Ok((exit, token))
    }

    /// Changes an exit's name, share or cap; connected or not, from its next tunnel on.
    pub async fn set_exit(&self, who: &str, id: &ExitId, patch: ExitPatch) -> Result<Exit, DeskError> {
        let turn = self.turn().await;
        let before = self.unrevoked_exit(id)?;
        let mut exit = before.clone();
        patch.apply(&mut exit);
        let problems = check(exit.name.as_ref(), None, exit.weight, exit.max_tunnels);
        if !problems.is_empty() {
            return Err(DeskError::Invalid(problems));
        }
        if exit != before {
            let name = |exit: &Exit| exit.name.clone().unwrap_or_default();
            let detail = shown([
                ("name", name(&before), name(&exit)),
                ("weight", before.weight.to_string(), exit.weight.to_string()),
                ("max_tunnels", told(before.max_tunnels), told(exit.max_tunnels)),
            ]);
            let entry = Entry { who, what: "exit.set", subject: id.as_str(), detail };
            self.commit(turn, entry, Change::PutExit(exit.clone())).await?;
        }
        Ok(exit)
    }

    /// Ends an exit for good: its links are closed and its token opens nothing any more.
    pub async fn revoke_exit(&self, who: &str, id: &ExitId) -> Result<Exit, DeskError> {
        let turn = self.turn().await;
        let exit = self.exit(id)?;
        self.put_exit_state(turn, who, "exit.revoke", exit, ExitState::Revoked).await
    }

    /// Gives an exit no new tunnels; the open ones may finish.
    pub async fn drain_exit(&self, who: &str, id: &ExitId) -> Result<Exit, DeskError> {
        let turn = self.turn().await;
        let exit = self.unrevoked_exit(id)?;
        self.put_exit_state(turn, who, "exit.drain", exit, ExitState::Draining).await
    }

    /// Ends a drain: the exit is given tunnels again.
    pub async fn resume_exit(&self, who: &str, id: &ExitId) -> Result<Exit, DeskError> {
        let turn = self.turn().await;
        let exit = self.unrevoked_exit(id)?;
        self.put_exit_state(turn, who, "exit.resume", exit, ExitState::Active).await
    }

    /// Asks an exit for another address, and waits for it to be back with one.
    pub async fn rotate_exit(&self, who: &str, id: &ExitId) -> Result<Rotation, DeskError> {
        let turn = self.turn().await;
        let exit = self.unrevoked_exit(id)?;
        let entry = Entry { who, what: "exit.rotate", subject: exit.id.as_str(), detail: String::new() };
        // Nothing of it lasts, but that it was asked for does. The turn ends here: a rotation takes minutes.
        self.commit(turn, entry, Change::PutExit(exit.clone())).await?;
        self.live.rotate_exit(id.clone()).await.map_err(DeskError::Rotate)
    }

    /// Where exits dial in.
    pub fn exit_door(&self) -> Option<ExitDoor> {
        self.live.exit_door()
    }

    /// One exit.
    pub fn exit(&self, id: &ExitId) -> Result<Exit, DeskError> {
        let found = self.book().exits.get(id).cloned();
        found.ok_or_else(|| DeskError::NotFound { what: "exit", id: id.to_string() })
    }

    /// A page of exits, ascending by id, with what is connected of them.
    pub fn exits(&self, after: Option<&ExitId>, limit: usize) -> Vec<(Exit, Option<ExitStatus>)> {
        let mut online: HashMap<ExitId, ExitStatus> =
            self.live.exits_online().into_iter().map(|status| (status.id.clone(), status)).collect();
        let book = self.book();
        page(&book.exits, after, limit).map(|(id, exit)| (exit.clone(), online.remove(id))).collect()
    }

    /// What is connected of an exit.
    pub fn exit_online(&self, id: &ExitId) -> Option<ExitStatus> {
        self.live.exits_online().into_iter().find(|status| status.id == *id)
    }

    async fn put_exit_state(
        &self,
        turn: Turn<'_>,
        who: &str,
        what: &'static str,
        exit: Exit,
        state: ExitState,
    ) -> Result<Exit, DeskError> {
        if exit.state == state {
            return Ok(exit);
        }
        let exit = Exit { state, ..exit };
        let entry = Entry { who, what, subject: exit.id.as_str(), detail: String::new() };
        self.commit(turn, entry, Change::PutExit(exit.clone())).await?;
        Ok(exit)
    }

    fn unrevoked_exit(&self, id: &ExitId) -> Result<Exit, DeskError> {
        let exit = self.exit(id)?;
        if exit.state == ExitState::Revoked {
            return Err(DeskError::Conflict(format!("exit {id} is revoked, which is for good: enroll another one")));
        }
        Ok(exit)
    }

    fn free_exit_id(&self) -> Result<ExitId, DeskError> {
        let book = self.book();
        loop {
            // 40 random bits: among 100,000 exits one in ten million draws is taken.
            let id = ExitId::random(&self.random)?;
            if !book.exits.contains_key(&id) {
                return Ok(id);
            }
        }
    }
}

fn told(cap: Option<u32>) -> String {
    cap.map_or_else(|| "none".to_owned(), |cap| cap.to_string())
}
