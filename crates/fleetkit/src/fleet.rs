//! Enrols exits by the hundred and runs them, several to a thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outgate_exit::{Reconnect, Settings, Token};
use outgate_testkit::daemon::Daemon;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::middleman::Middleman;
use outgate_testkit::patience::until;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::actor::{Manner, Script, play};
use crate::crew::Crew;
use crate::place::Place;

/// Threads that the exits share. More would not help: the machine's cores are shared with the gateway and its clients.
const THREADS: usize = 2;

/// An exit to be.
#[derive(Clone, Debug)]
pub struct Recruit {
    place: Place,
    part: Part,
    weight: Option<u16>,
    max_tunnels: Option<u32>,
    partitioned_by: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Agent,
    Actor(Manner),
    Process,
}

impl Recruit {
    /// The exit agent's library as a task.
    #[must_use]
    pub fn agent(place: Place) -> Self {
        Self { place, part: Part::Agent, weight: None, max_tunnels: None, partitioned_by: None }
    }

    /// One that does as it is told: [`Fleet::tell`].
    #[must_use]
    pub fn actor(place: Place, manner: Manner) -> Self {
        Self { part: Part::Actor(manner), ..Self::agent(place) }
    }

    /// `outgate exit` as a process of its own, to be stopped and killed.
    #[must_use]
    pub fn process(place: Place) -> Self {
        Self { part: Part::Process, ..Self::agent(place) }
    }

    /// Its share of the load against the others'.
    #[must_use]
    pub fn weighing(mut self, weight: u16) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Its own bound of tunnels.
    #[must_use]
    pub fn holding(mut self, tunnels: u32) -> Self {
        self.max_tunnels = Some(tunnels);
        self
    }

    /// Links up through this middle-man, which stands in front of the gateway's door for exits. Not for processes.
    #[must_use]
    pub fn behind(mut self, middleman: &Middleman) -> Self {
        self.partitioned_by = Some(middleman.address());
        self
    }
}

/// An enrolled exit.
pub struct Member {
    /// Its id in the ledger and in answers.
    pub id: String,
    /// Where it was enrolled as being.
    pub place: Place,
    life: Life,
}

enum Life {
    Agent { crash: Option<oneshot::Sender<()>>, leave: Option<oneshot::Sender<()>> },
    Actor { crash: Option<oneshot::Sender<()>>, script: Script },
    Process(Box<Daemon>),
}

/// Exits of one gateway. Dropping it ends them all.
pub struct Fleet {
    members: Vec<Member>,
    by_id: HashMap<String, usize>,
    crews: Vec<Crew>,
}

/// Where a gateway's exits dial in.
///
/// # Panics
/// If the ready line says no address.
#[must_use]
pub fn door(gateway: &GatewayProcess) -> SocketAddr {
    gateway.told("exit_gateway_url").trim_start_matches("ws://").parse().expect("quickstart's door is an address")
}

impl Fleet {
    /// One without exits.
    #[must_use]
    pub fn new() -> Self {
        Self { members: Vec::new(), by_id: HashMap::new(), crews: (0..THREADS).map(Crew::muster).collect() }
    }

    /// Enrols and starts these, and waits until the gateway counts on all of them. Their ids, in order.
    ///
    /// # Panics
    /// If one cannot be enrolled or does not link up.
    pub async fn add(&mut self, gateway: &GatewayProcess, recruits: &[Recruit]) -> Vec<String> {
        let ids: Vec<String> = recruits.iter().map(|recruit| self.start(gateway, recruit)).collect();
        until("every exit to be online", || {
            let online = online(gateway);
            ids.iter().all(|id| online.contains_key(id)).then_some(())
        })
        .await;
        ids
    }

    fn start(&mut self, gateway: &GatewayProcess, recruit: &Recruit) -> String {
        let mut body = recruit.place.enrolment();
        for (name, value) in [("weight", recruit.weight.map(u32::from)), ("max_tunnels", recruit.max_tunnels)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        let enrolled = gateway.api("POST", "/v1/exits", &body);
        let text = |field: &str| enrolled[field].as_str().expect("an enrolled exit has an id and a token").to_owned();
        let (id, token) = (text("id"), text("token"));
        let door = recruit.partitioned_by.unwrap_or_else(|| door(gateway));
        let crew = &self.crews[self.members.len() % self.crews.len()];
        let life = match recruit.part {
            Part::Agent => run_agent(crew, door, token),
            Part::Actor(manner) => run_actor(crew, door, token.into(), manner),
            Part::Process => Life::Process(Box::new(gateway.exit_enrolled(&token, &["--allow-target", "127.0.0.0/8"]))),
        };
        self.by_id.insert(id.clone(), self.members.len());
        self.members.push(Member { id: id.clone(), place: recruit.place, life });
        id
    }

    /// Every exit, in the order they were added.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Where an exit was enrolled as being; `None` for one of somebody else's.
    #[must_use]
    pub fn place(&self, id: &str) -> Option<Place> {
        self.by_id.get(id).map(|at| self.members[*at].place)
    }

    /// Tells an actor what to do from its next tunnel on.
    ///
    /// # Panics
    /// If it is no actor.
    pub fn tell(&self, id: &str, manner: Manner) {
        match &self.members[self.by_id[id]].life {
            Life::Actor { script, .. } => script.set(manner),
            Life::Agent { .. } | Life::Process(_) => panic!("{id} is no actor"),
        }
    }

    /// Ends an exit without a word: what a crash or SIGKILL does.
    pub fn crash(&mut self, id: &str) {
        match &mut self.members[self.by_id[id]].life {
            Life::Agent { crash, .. } | Life::Actor { crash, .. } => drop(crash.take()),
            Life::Process(process) => process.kill(),
        }
    }

    /// Asks an agent to leave: it drains first.
    ///
    /// # Panics
    /// If it is no agent.
    pub fn leave(&mut self, id: &str) {
        match &mut self.members[self.by_id[id]].life {
            Life::Agent { leave, .. } => drop(leave.take()),
            Life::Actor { .. } | Life::Process(_) => panic!("{id} is no agent in this process"),
        }
    }

    /// An exit's process, to be signalled.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn process(&self, id: &str) -> &Daemon {
        match &self.members[self.by_id[id]].life {
            Life::Process(process) => process,
            Life::Agent { .. } | Life::Actor { .. } => panic!("{id} is no process"),
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

/// What the gateway says of each connected exit: the `online` object of its admin API, by id.
#[must_use]
pub fn online(gateway: &GatewayProcess) -> HashMap<String, Value> {
    let mut found = HashMap::new();
    let mut path = "/v1/exits?limit=1000".to_owned();
    loop {
        let page = gateway.api("GET", &path, &Value::Null);
        for exit in page["items"].as_array().into_iter().flatten().filter(|exit| !exit["online"].is_null()) {
            if let Some(id) = exit["id"].as_str() {
                found.insert(id.to_owned(), exit["online"].clone());
            }
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/exits?limit=1000&after={next}"),
            None => return found,
        }
    }
}

fn run_agent(crew: &Crew, door: SocketAddr, token: String) -> Life {
    let (crash, crashed) = oneshot::channel::<()>();
    let (leave, left) = oneshot::channel::<()>();
    crew.run(move || async move {
        let url = format!("ws://{door}").parse().expect("an address makes a URL");
        let mut settings = Settings::new(url, Token::new(token));
        settings.allow_targets = vec!["127.0.0.0/8".parse().expect("a range")];
        settings.reconnect = Reconnect { most: Duration::from_secs(1), ..Reconnect::default() };
        let asked_to_leave = async {
            // Either way the sender is gone.
            drop(left.await);
        };
        // A set of its own: whatever tasks the agent has, they end with it.
        let alone = LocalSet::new();
        tokio::select! {
            _ = crashed => {}
            _end = alone.run_until(outgate_exit::run(settings, asked_to_leave, std::future::pending())) => {}
        }
    });
    Life::Agent { crash: Some(crash), leave: Some(leave) }
}

fn run_actor(crew: &Crew, door: SocketAddr, token: Arc<str>, manner: Manner) -> Life {
    let (crash, crashed) = oneshot::channel::<()>();
    let script = Script::new(manner);
    let part = script.clone();
    crew.run(move || async move {
        tokio::select! {
            _ = crashed => {}
            () = play(door, token, part) => {}
        }
    });
    Life::Actor { crash: Some(crash), script }
}
