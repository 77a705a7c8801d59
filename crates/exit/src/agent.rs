//! Agent: the life of an exit: keep its links up, rotate when asked, drain, end.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use outgate_link::{Goodbye, Link, LinkEnd, Rotate, Rotated, Welcome, shell::Joined};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};

use crate::{
    keeper::Keeper,
    serve::{Outside, serve},
    settings::{MOST_LINKS, Settings},
    status::{Phase, Status},
};

/// For each one that is kept up: one in use, the others left by draining gateways or rotations.
const LEFT_PER_LINK: usize = 4;
/// For the links' last words at shutdown.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What happens to an exit, for the log. Links are numbered from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Linked.
    Connected {
        /// Which of its links.
        link: u32,
        /// Its id in the gateway's ledger.
        exit_id: String,
        /// The gateway's name.
        gateway: String,
        /// From dialing to welcome.
        took: Duration,
    },
    /// The gateway is going away; a new link is made while the tunnels of the old one finish.
    GatewayDraining {
        /// Which of its links.
        link: u32,
    },
    /// A link is over.
    Lost {
        /// Which of its links.
        link: u32,
        /// Why.
        end: LinkEnd,
        /// Last measured round trip.
        rtt: Option<Duration>,
    },
    /// No link could be made.
    Failed {
        /// Which of its links.
        link: u32,
        /// Why, and what may help.
        why: String,
    },
    /// The next attempt comes after this wait.
    Retry {
        /// Which of its links.
        link: u32,
        /// The wait.
        wait: Duration,
    },
    /// The gateway asked for another address; the hook runs.
    Rotating,
    /// The hook has ended; links are made anew if it said that it worked.
    Rotated {
        /// Why it did not work.
        error: Option<String>,
        /// From the question to the hook's end.
        took: Duration,
    },
    /// Shutdown was asked for; open tunnels may finish.
    Stopping {
        /// Open tunnels.
        tunnels: usize,
        /// How long they may.
        grace: Duration,
    },
}

/// Why [`run`] returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExitEnd {
    /// Shutdown was asked for.
    Shutdown {
        /// Tunnels still open when the grace was over.
        cut: usize,
    },
    /// The gateway said that this exit's token was revoked.
    Revoked {
        /// The gateway's words.
        text: String,
    },
    /// The settings cannot work on this machine.
    Unusable {
        /// Why.
        why: String,
    },
}

impl fmt::Display for ExitEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitEnd::Shutdown { cut: 0 } => write!(f, "shut down; every tunnel had ended"),
            ExitEnd::Shutdown { cut } => write!(f, "shut down; {cut} tunnels were cut"),
            ExitEnd::Revoked { text } => write!(
                f,
                "this exit's token was revoked ({text}); ask the operator to enrol it again (outgate exits enroll) \
                 and start it with the new token"
            ),
            ExitEnd::Unusable { why } => f.write_str(why),
        }
    }
}

/// Stays linked to the gateway until `shutdown` resolves or the token is revoked. Then open tunnels may finish within the
/// grace, or until `at_once` resolves. Wants a `LocalSet` around it.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>, at_once: impl Future<Output = ()>) -> ExitEnd {
    let agent = match Agent::new(settings) {
        Ok(agent) => Rc::new(agent),
        Err(why) => return ExitEnd::Unusable { why },
    };
    // Dropped, and so ended, when this returns.
    let mut background = JoinSet::new();
    agent.start_background(&mut background);
    let mut keepers = JoinSet::new();
    for number in 1..=agent.settings.links.clamp(1, MOST_LINKS) {
        keepers.spawn_local(Keeper::new(Rc::clone(&agent), number).stay_linked());
    }
    let mut shutdown = pin!(shutdown);
    let revoked = tokio::select! {
        () = &mut shutdown => None,
        Some(Ok(text)) = keepers.join_next() => Some(text),
    };
    keepers.shutdown().await;
    let cut = agent.wind_up(at_once).await;
    match revoked {
        Some(text) => ExitEnd::Revoked { text },
        None => ExitEnd::Shutdown { cut },
    }
}

/// What keepers, links and tunnels share.
pub(crate) struct Agent {
    pub(crate) settings: Settings,
    pub(crate) outside: Rc<Outside>,
    /// Every link still alive: those kept up and those that a draining gateway or a rotation left us with.
    links: RefCell<Vec<Link>>,
    /// Their drivers, their tunnels, and what else lives as long.
    tasks: RefCell<JoinSet<()>>,
    /// Told when a link is up.
    link_up: Notify,
    /// Rotations that worked.
    pub(crate) addresses_changed: Cell<u64>,
    address_changed: Notify,
    rotated: RefCell<Option<Rotated>>,
    phase: Cell<Phase>,
    welcome: RefCell<Option<Welcome>>,
}

impl Agent {
    fn new(settings: Settings) -> Result<Agent, String> {
        let outside = Rc::new(Outside::new(&settings)?);
        Ok(Agent {
            settings,
            outside,
            links: RefCell::default(),
            tasks: RefCell::default(),
            link_up: Notify::new(),
            addresses_changed: Cell::new(0),
            address_changed: Notify::new(),
            rotated: RefCell::default(),
            phase: Cell::default(),
            welcome: RefCell::default(),
        })
    }

    fn start_background(self: &Rc<Agent>, background: &mut JoinSet<()>) {
        if let Some(throttle) = self.outside.throttle.clone() {
            background.spawn_local(async move { throttle.give_turns().await });
        }
        if let Some(watch) = self.settings.watch.clone() {
            let agent = Rc::clone(self);
            background.spawn_local(async move {
                let mut ticks = interval(watch.every);
                loop {
                    ticks.tick().await;
                    (watch.tell)(&agent.status());
                }
            });
        }
    }

    // ---- links ---------------------------------------------------------------------------------------------------

    /// Takes a new link into service.
    pub(crate) fn carry<IO: AsyncRead + AsyncWrite + Unpin + 'static>(self: &Rc<Agent>, joined: Joined<IO>) {
        let mut links = self.links.borrow_mut();
        links.retain(|link| !link.is_closed());
        // A gateway that drains every link at once must not make us collect them.
        while links.len() >= LEFT_PER_LINK * self.settings.links.max(1) as usize {
            links.remove(0).close(Goodbye::new("replaced", "too many links left draining"));
        }
        links.push(joined.link.clone());
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        let driver = joined.driver;
        tasks.spawn_local(async move {
            driver.run().await;
        });
        tasks.spawn_local(serve(joined.incoming, Rc::clone(&self.outside)));
        let (agent, link) = (Rc::clone(self), joined.link);
        tasks.spawn_local(async move {
            while let Some(rotate) = link.rotate_asked().await {
                let rotated = agent.rotate(&rotate).await;
                link.answer_rotate(rotated.clone());
                if rotated.ok {
                    agent.addresses_changed.set(agent.addresses_changed.get() + 1);
                    agent.address_changed.notify_waiters();
                }
            }
        });
    }

    /// Takes no new tunnels over a link and ends it when it carries none any more.
    pub(crate) fn leave(&self, link: Link) {
        link.drain();
        self.tasks.borrow_mut().spawn_local(async move {
            link.idle().await;
            link.close(Goodbye::new("replaced", "the exit has a new link"));
        });
    }

    pub(crate) fn linked(&self, welcome: &Welcome) {
        *self.welcome.borrow_mut() = Some(welcome.clone());
        self.link_up.notify_waiters();
    }

    /// Waits until a link is up.
    pub(crate) async fn any_link(&self) {
        loop {
            let mut told = pin!(self.link_up.notified());
            told.as_mut().enable();
            if self.links_up() > 0 {
                return;
            }
            told.await;
        }
    }

    fn links_up(&self) -> u32 {
        let up = self.links.borrow().iter().filter(|link| !link.is_closed() && !link.is_draining()).count();
        u32::try_from(up).unwrap_or(u32::MAX)
    }

    // ---- rotating ------------------------------------------------------------------------------------------------

    /// Runs the hook; one at a time.
    async fn rotate(&self, rotate: &Rotate) -> Rotated {
        let no = |why: &str| Rotated { id: rotate.id.clone(), ok: false, why: Some(why.to_owned()) };
        let Some(rotation) = self.settings.rotate.clone() else {
            return no("this exit has no rotate hook");
        };
        if self.phase.get() != Phase::Serving {
            return no(if self.phase.get() == Phase::Rotating { "the hook is still running" } else { "the exit is stopping" });
        }
        self.phase.set(Phase::Rotating);
        tracing::info!(id = %rotate.id, "rotating: {} runs", rotation.hook);
        self.tell(&Event::Rotating);
        let start = Instant::now();
        let mut done = rotation.hook.run(&rotate.id, rotation.timeout).await;
        if done.is_ok() {
            done = self.outside.renew(&self.settings);
        }
        let took = start.elapsed();
        match &done {
            Ok(()) => tracing::info!(id = %rotate.id, ?took, "rotated; linking again"),
            Err(why) => tracing::warn!(id = %rotate.id, ?took, %why, "not rotated"),
        }
        // Stopping came meanwhile, or nothing did.
        if self.phase.get() == Phase::Rotating {
            self.phase.set(Phase::Serving);
        }
        let error = done.err();
        self.tell(&Event::Rotated { error: error.clone(), took });
        let rotated = Rotated { id: rotate.id.clone(), ok: error.is_none(), why: error };
        *self.rotated.borrow_mut() = Some(rotated.clone());
        rotated
    }

    /// For the hello of a new link: the answer may have been lost with the old one.
    pub(crate) fn last_rotated(&self) -> Option<Rotated> {
        self.rotated.borrow().clone()
    }

    /// Waits for a rotation that worked, beyond those that were counted `before`.
    pub(crate) async fn address_change(&self, before: u64) {
        loop {
            let mut told = pin!(self.address_changed.notified());
            told.as_mut().enable();
            if self.addresses_changed.get() != before {
                return;
            }
            told.await;
        }
    }

    // ---- ending --------------------------------------------------------------------------------------------------

    /// Lets open tunnels finish within the grace, ends the links, and says how many tunnels were cut.
    async fn wind_up(&self, at_once: impl Future<Output = ()>) -> usize {
        self.phase.set(Phase::Stopping);
        let links: Vec<Link> = self.links.borrow().iter().filter(|link| !link.is_closed()).cloned().collect();
        links.iter().for_each(Link::drain);
        let open = || links.iter().filter(|link| !link.is_closed()).map(Link::open_tunnels).sum();
        let grace = self.settings.grace;
        self.tell(&Event::Stopping { tunnels: open(), grace });
        let finished = async {
            for link in &links {
                link.idle().await;
            }
        };
        tokio::select! {
            () = finished => {}
            () = sleep_until(Instant::now() + grace) => {}
            () = at_once => {}
        }
        let cut = open();
        for link in &links {
            link.close(Goodbye::new("shutdown", "the exit shuts down"));
        }
        let mut tasks = self.tasks.take();
        let finish = async { while tasks.join_next().await.is_some() {} };
        // What is still running after this, such as a hook, is dropped here.
        let _ = timeout(LAST_WORDS, finish).await;
        cut
    }

    // ---- telling -------------------------------------------------------------------------------------------------

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(on_event) = &self.settings.on_event {
            on_event(event);
        }
    }

    fn status(&self) -> Status {
        let links = self.links.borrow();
        let alive = || links.iter().filter(|link| !link.is_closed());
        let welcome = self.welcome.borrow();
        Status {
            exit_id: welcome.as_ref().map(|welcome| welcome.exit_id.clone()),
            gateway: welcome.as_ref().map(|welcome| welcome.gateway.clone()),
            links: self.links_up(),
            links_wanted: self.settings.links.clamp(1, MOST_LINKS),
            rtt: alive().filter_map(Link::rtt).min(),
            tunnels: alive().map(Link::open_tunnels).sum(),
            up: self.outside.meter.up.get(),
            down: self.outside.meter.down.get(),
            phase: self.phase.get(),
        }
    }
}
