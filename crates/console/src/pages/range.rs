//! How far back a page looks: ten minutes, an hour, a day, five weeks.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};
use outgate_signals::Grain;
use outgate_store::earlier;

use super::chart::Axis;

/// A range that the history has buckets for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Minutes,
    Hour,
    Day,
    Weeks,
}

impl Range {
    const ALL: [Self; 4] = [Self::Minutes, Self::Hour, Self::Day, Self::Weeks];

    /// What a query says; an hour if it says nothing that is one.
    pub(super) fn of(query: &[(String, String)]) -> Self {
        let asked = query.iter().find(|(name, _)| name == "range").map(|(_, value)| value.as_str());
        Self::ALL.into_iter().find(|range| asked == Some(range.name())).unwrap_or(Self::Hour)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Minutes => "10m",
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Weeks => "35d",
        }
    }

    /// `10 minutes`, `hour`, `24 hours`, `35 days`.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Minutes => "10 minutes",
            Self::Hour => "hour",
            Self::Day => "24 hours",
            Self::Weeks => "35 days",
        }
    }

    /// Its buckets.
    pub(super) fn grain(self) -> Grain {
        match self {
            Self::Minutes | Self::Hour => Grain::TenSeconds,
            Self::Day => Grain::Minute,
            Self::Weeks => Grain::Hour,
        }
    }

    /// Buckets that become one point of a chart: a screen has no more points than a few hundred.
    pub(super) fn together(self) -> usize {
        match self {
            Self::Minutes => 1,
            Self::Hour => 3,
            Self::Day => 10,
            Self::Weeks => 6,
        }
    }

    /// How many of them.
    pub(super) fn buckets(self) -> usize {
        match self {
            Self::Minutes => 60,
            Self::Hour | Self::Day | Self::Weeks => self.grain().kept(),
        }
    }

    /// When it begins.
    pub(super) fn since(self, now: Timestamp) -> Timestamp {
        earlier(now, Duration::from_secs(self.grain().seconds().unsigned_abs() * self.buckets() as u64))
    }

    /// How its moments are written.
    pub(super) fn axis(self) -> Axis {
        match self {
            Self::Minutes | Self::Hour | Self::Day => Axis::Clock,
            Self::Weeks => Axis::Day,
        }
    }

    /// Links to the same page with another range.
    pub(super) fn choice(self, path: &str) -> Markup {
        html! {
            nav.choice aria-label="Range" {
                @for range in Self::ALL {
                    a href={ (path) "?range=" (range.name()) } aria-current=[(range == self).then_some("true")] { (range.name()) }
                }
            }
        }
    }
}
