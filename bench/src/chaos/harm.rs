//! The ways an exit can fail, and how each is brought about.

use std::time::Duration;

use clap::ValueEnum;
use outgate_fleetkit::actor::Manner;
use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::place::Place;
use outgate_testkit::daemon::Signal;
use outgate_testkit::middleman::{Middleman, Weather};

/// One way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Harm {
    /// Nothing is done: what the others are to be compared with.
    None,
    /// SIGKILL.
    Killed,
    /// SIGSTOP: the kernel goes on acknowledging, nobody answers.
    Frozen,
    /// No byte in either direction, no FIN, no RST.
    Partitioned,
    /// Opens tunnels 2 s late.
    Slow,
    /// Refuses every tunnel.
    Refusing,
    /// Answers pings and no question.
    Silent,
    /// Says that it is connected and carries nothing.
    Lying,
}

impl Harm {
    pub(crate) const ALL: [Self; 8] =
        [Self::None, Self::Killed, Self::Frozen, Self::Partitioned, Self::Slow, Self::Refusing, Self::Silent, Self::Lying];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Partitioned => "partitioned",
            Self::Slow => "slow (2 s)",
            Self::Refusing => "refusing",
            Self::Silent => "silent",
            Self::Lying => "lying",
        }
    }

    /// An exit that this can happen to.
    pub(crate) fn recruit(self, place: Place, middleman: &Middleman) -> Recruit {
        match self {
            Self::None => Recruit::agent(place),
            Self::Killed | Self::Frozen => Recruit::process(place),
            Self::Partitioned => Recruit::agent(place).behind(middleman),
            Self::Slow | Self::Refusing | Self::Silent | Self::Lying => Recruit::actor(place, Manner::Honest),
        }
    }

    /// Makes it happen to all of them.
    pub(crate) fn strike(self, fleet: &mut Fleet, ids: &[String], middleman: &Middleman) {
        let tell = |manner| ids.iter().for_each(|id| fleet.tell(id, manner));
        match self {
            Self::None => {}
            Self::Killed => ids.iter().for_each(|id| fleet.crash(id)),
            Self::Frozen => ids.iter().for_each(|id| fleet.process(id).signal(Signal::STOP)),
            Self::Partitioned => middleman.set(Weather::Partition),
            Self::Slow => tell(Manner::Slow(Duration::from_secs(2))),
            Self::Refusing => tell(Manner::Refusing("exit_refused")),
            Self::Silent => tell(Manner::Silent),
            Self::Lying => tell(Manner::Lying),
        }
    }

    /// Lets processes end that could not.
    pub(crate) fn undo(self, fleet: &Fleet, ids: &[String]) {
        if self == Self::Frozen {
            ids.iter().for_each(|id| fleet.process(id).signal(Signal::CONT));
        }
    }
}
