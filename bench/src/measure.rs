//! The list of what is measured, and the flat map of numbers each measurement fills.

use std::collections::BTreeMap;

use clap::ValueEnum;

/// One thing measured. The name is the `load` subcommand's argument, the `--measure` argument and the report's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Measure {
    /// Tunnels opened, one byte echoed, closed; per second.
    Setups,
    /// 1 KiB responses over keep-alive connections; per second.
    Gets,
    /// Bytes from the origin through parallel tunnels.
    Down,
    /// Bytes to the origin through parallel tunnels.
    Up,
    /// Delay of the first echoed byte at a fixed rate of set-ups.
    Latency,
    /// Resident memory per open tunnel with nothing flowing. Needs a freshly started proxy.
    Idle,
}

impl Measure {
    pub(crate) const ALL: &'static [Measure] = &[Self::Setups, Self::Gets, Self::Down, Self::Up, Self::Latency, Self::Idle];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setups => "setups",
            Self::Gets => "gets",
            Self::Down => "down",
            Self::Up => "up",
            Self::Latency => "latency",
            Self::Idle => "idle",
        }
    }
}

/// What one run of one measure found: name to number. Units are in the names.
pub(crate) type Reading = BTreeMap<String, f64>;
