//! What the meter is told of a request: that it got its answer, and how it ended.

use std::time::Duration;

use outgate_faults::{Fault, Slug};
use outgate_meter::{Ended, Kind, Times};

use crate::choose::Route;
use crate::core::Core;
use crate::record::{Record, Stage};
use crate::visit::Visit;

impl Visit {
    /// Notes the country that it is to go out from; it counts there also if it never gets so far.
    pub(crate) fn wants(&mut self, route: &Route) {
        if let Route::Exit(wanted, _) = route {
            self.wanted = wanted.country;
        }
    }

    /// Counts that it gets its answer, which is no fault of ours, now.
    pub(crate) fn count_answer(&self, core: &Core) {
        if let (Some(meter), Some(pool)) = (&core.meter, self.record.pool.as_deref()) {
            meter.answered(pool, self.country(), self.since_head());
        }
    }

    /// Counts that it gets a fault for an answer now; one that nothing was dialled for says nothing of the way.
    pub(crate) fn count_refusal(&self, core: &Core) {
        if let (Some(meter), Some(pool)) = (&core.meter, self.record.pool.as_deref())
            && self.record.stage >= Stage::Dial
        {
            meter.refused(pool, self.country(), self.since_head());
        }
    }

    /// Counts how it ended.
    pub(crate) fn count_end(&self, core: &Core, total: Duration, fault: Option<&Fault>) {
        if let Some(meter) = &core.meter {
            meter.count(&ended(&self.record, self.country(), total, fault.map(Fault::slug)));
        }
    }

    fn country(&self) -> Option<&str> {
        self.record.country.as_deref().or(self.wanted.as_ref().map(|country| country.as_str()))
    }
}

/// Counts a connection that ended before it asked for anything.
pub(crate) fn count_unasked(core: &Core, record: &Record, fault: &Fault) {
    if let Some(meter) = &core.meter {
        meter.count(&ended(record, None, Duration::ZERO, Some(fault.slug())));
    }
}

fn ended<'a>(record: &'a Record, country: Option<&'a str>, total: Duration, slug: Option<Slug>) -> Ended<'a> {
    let taken = |time: Duration| (!time.is_zero()).then_some(time);
    let times = &record.times;
    Ended {
        protocol: record.protocol,
        kind: match record.method.as_str() {
            "" => Kind::Unasked,
            "CONNECT" => Kind::Tunnel,
            _ => Kind::Forward,
        },
        pool: record.pool.as_deref(),
        country,
        slug,
        status: record.status,
        bytes_up: record.bytes_up,
        bytes_down: record.bytes_down,
        attempts: record.attempts,
        times: Times {
            queue: (record.stage >= Stage::Dial).then_some(times.queue),
            dns: taken(times.dns),
            connect: taken(times.connect),
            first_byte: times.first_byte,
            total: (record.stage >= Stage::Relay).then_some(total),
        },
    }
}
