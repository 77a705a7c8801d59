//! What there is to tell, family by family: the one place that says which number stands where, for every format.

use std::sync::Arc;

use outgate_faults::Layer;

use crate::ended::Step;
use crate::exposition::{Countries, Exposition, Role};
use crate::families::{self, Family};
use crate::gauges::{Gauges, Room, Sharing, Usage};
use crate::histogram::Histogram;
use crate::snapshot::{Country, Place, Placed, Snapshot};

/// One page's contents.
#[derive(Debug)]
pub struct Sheet {
    /// What is the same for every page.
    pub of: Exposition,
    /// What was counted.
    pub snapshot: Snapshot,
    /// How things stand.
    pub gauges: Gauges,
}

/// Takes what is told, family by family. A family comes once, with all its rows.
pub trait Sink {
    /// Why something could not be taken.
    type Error;

    /// Takes counters, gauges and infos.
    fn rows(&mut self, family: &'static Family, rows: Vec<Row<'_>>) -> Result<(), Self::Error>;

    /// Takes histograms, each with the values of its labels.
    fn histograms(&mut self, family: &'static Family, rows: Vec<(Vec<&str>, &Histogram)>) -> Result<(), Self::Error>;
}

/// A line: the values of its family's labels, in their order, and the number.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The labels' values.
    pub labels: Vec<&'a str>,
    /// The number.
    pub value: f64,
}

impl<'a> Row<'a> {
    fn of<const N: usize>(labels: [&'a str; N], value: f64) -> Self {
        Self { labels: labels.into(), value }
    }
}

impl Sheet {
    /// Tells everything there is, family by family.
    pub fn write<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        self.process(sink)?;
        self.requests(sink)?;
        self.places(sink)?;
        self.steps(sink)?;
        self.rooms(sink)?;
        self.keeping(sink)?;
        match self.of.role {
            Role::Gateway => self.gateway(sink),
            Role::Relay => Ok(()),
        }
    }

    fn process<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let role = match self.of.role {
            Role::Gateway => "gateway",
            Role::Relay => "relay",
        };
        tell(sink, &families::BUILD, [Row::of([self.of.version, role], 1.0)])?;
        tell(sink, &families::STARTED, [Row::of([], self.of.started)])?;
        let process = &self.gauges.process;
        tell(sink, &families::CPU, process.cpu.iter().map(|cpu| Row::of([], cpu.as_secs_f64())))?;
        tell(sink, &families::RESIDENT, [Row::of([], self.gauges.memory.taken as f64)])?;
        tell(sink, &families::OPEN_FILES, process.open_files.iter().map(|files| Row::of([], *files as f64)))?;
        tell(sink, &families::MOST_FILES, process.most_files.iter().map(|files| Row::of([], *files as f64)))
    }

    fn requests<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let outcomes = self.snapshot.ways.iter().flat_map(|(way, tally)| {
            let well = (tally.well > 0).then_some(("ok", "", tally.well));
            let faults = tally.faults.iter().map(|(slug, count)| (slug.name(), slug.row().layer.name(), *count));
            let row = |(outcome, layer, count)| Row::of([way.protocol, way.kind.name(), &way.pool, outcome, layer], count as f64);
            well.into_iter().chain(faults).map(row)
        });
        tell(sink, &families::REQUESTS, outcomes)?;
        let mut pools: Vec<&str> = self.snapshot.ways.keys().map(|way| &*way.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        let pools: Vec<_> = pools.into_iter().map(|pool| (pool, self.snapshot.pool(pool))).collect();
        let statuses = pools.iter().flat_map(|(pool, tally)| {
            let told = tally.statuses.iter().zip(["none", "1xx", "2xx", "3xx", "4xx", "5xx"]).filter(|(count, _)| **count > 0);
            told.map(|(count, class)| Row::of([*pool, class], *count as f64))
        });
        tell(sink, &families::RESPONSES, statuses)?;
        let tried = pools.iter().filter(|(_, tally)| tally.attempts > 0);
        tell(sink, &families::ATTEMPTS, tried.map(|(pool, tally)| Row::of([*pool], tally.attempts as f64)))?;
        let moved = self.snapshot.moved.iter();
        let moved = moved
            .flat_map(|(pool, moved)| [Row::of([&**pool, "up"], moved.up as f64), Row::of([&**pool, "down"], moved.down as f64)]);
        tell(sink, &families::PAYLOAD, moved)
    }

    fn places<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let places = self.shown_places();
        let layers = places.iter().flat_map(|(place, placed)| {
            let layers = Layer::ALL.iter().map(|layer| (layer.name(), placed.tally.of_layer(*layer)));
            let all = std::iter::once(("ok", placed.tally.well)).chain(layers).filter(|(_, count)| *count > 0);
            all.map(|(result, count)| Row::of([&*place.pool, place.country.as_str(), result], count as f64))
        });
        tell(sink, &families::PLACES, layers)?;
        let setups = places.iter().filter(|(_, placed)| placed.setup.count() > 0);
        tell_times(
            sink,
            &families::SETUP,
            setups.map(|(place, placed)| (vec![&*place.pool, place.country.as_str()], &placed.setup)),
        )
    }

    /// The places as they are to be told apart.
    fn shown_places(&self) -> Vec<(Place, Placed)> {
        match self.of.countries {
            Countries::Apart => self.snapshot.places.iter().map(|(place, placed)| (place.clone(), placed.clone())).collect(),
            Countries::Together => {
                let mut pools: Vec<_> = self.snapshot.places.keys().map(|place| place.pool.clone()).collect();
                pools.dedup();
                let whole = |pool: Arc<str>| {
                    let placed = self.snapshot.places_of(&pool);
                    (Place { pool, country: Country::Unknown }, placed)
                };
                pools.into_iter().map(whole).collect()
            }
        }
    }

    fn steps<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let steps: [(&'static Family, Step); 7] = [
            (&families::QUEUE, Step::Queue),
            (&families::DNS, Step::Dns),
            (&families::CONNECT, Step::Connect),
            (&families::TLS, Step::Tls),
            (&families::FIRST_BYTE, Step::FirstByte),
            (&families::FORWARD, Step::Forward),
            (&families::TUNNEL, Step::Tunnel),
        ];
        for (family, step) in steps {
            let histogram: &Histogram = self.snapshot.step(step);
            tell_times(sink, family, (histogram.count() > 0).then(|| (Vec::new(), histogram)))?;
        }
        Ok(())
    }

    fn rooms<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Gauges { in_flight, connections, exit_connections, memory, .. } = &self.gauges;
        let bound = |room: &Room| room.bound.map(|bound| bound as f64);
        tell(sink, &families::IN_FLIGHT, [Row::of([], in_flight.taken as f64)])?;
        tell(sink, &families::IN_FLIGHT_LIMIT, bound(in_flight).map(|bound| Row::of([], bound)))?;
        let mut rooms = vec![("clients", connections)];
        if self.of.role == Role::Gateway {
            rooms.push(("exits", exit_connections));
        }
        tell(sink, &families::CONNECTIONS, rooms.iter().map(|(of, room)| Row::of([*of], room.taken as f64)))?;
        let bounds = rooms.iter().filter_map(|(of, room)| Some(Row::of([*of], bound(room)?)));
        tell(sink, &families::CONNECTIONS_LIMIT, bounds)?;
        tell(sink, &families::MEMORY_LIMIT, bound(memory).map(|bound| Row::of([], bound)))?;
        tell(sink, &families::MEMORY_SHORT, [Row::of([], truth(self.gauges.memory_short))])
    }

    fn keeping<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Gauges { records, telemetry_dropped, .. } = &self.gauges;
        tell(sink, &families::RECORDS_DROPPED, [Row::of([], records.dropped as f64)])?;
        tell(sink, &families::RECORDS_FAILING, [Row::of([], truth(records.failing))])?;
        tell(sink, &families::TELEMETRY_DROPPED, [Row::of([], *telemetry_dropped as f64)])
    }

    fn gateway<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let Gauges { exits, keys, usage, sharing, .. } = &self.gauges;
        let online = exits.iter().map(|some| Row::of([&*some.pool, some.country.as_str(), some.health], some.exits as f64));
        tell(sink, &families::EXITS, online)?;
        let tunnels = exits.iter().map(|some| Row::of([&*some.pool, some.country.as_str(), some.health], some.tunnels as f64));
        tell(sink, &families::EXIT_TUNNELS, tunnels)?;
        let bounded = exits.iter().filter_map(|some| Some((some, some.capacity?)));
        let bounds = bounded.map(|(some, bound)| Row::of([&*some.pool, some.country.as_str(), some.health], bound as f64));
        tell(sink, &families::EXIT_TUNNELS_LIMIT, bounds)?;
        tell(sink, &families::KEYS, [Row::of([], *keys as f64)])?;
        let kept = [("ledger", Usage::Ledger), ("journal", Usage::Journal), ("memory", Usage::Nowhere)];
        tell(sink, &families::USAGE_KEPT, kept.map(|(place, state)| Row::of([place], truth(*usage == state))))?;
        let together = match sharing {
            Sharing::Off => None,
            Sharing::Together(gateways) => Some((1.0, f64::from(*gateways))),
            Sharing::Alone => Some((0.0, 1.0)),
        };
        tell(sink, &families::SHARING, together.map(|(shares, _)| Row::of([], shares)))?;
        tell(sink, &families::GATEWAYS, together.map(|(_, gateways)| Row::of([], gateways)))
    }
}

/// A family without a row is not mentioned.
fn tell<'a, S: Sink>(sink: &mut S, family: &'static Family, rows: impl IntoIterator<Item = Row<'a>>) -> Result<(), S::Error> {
    let rows: Vec<Row<'a>> = rows.into_iter().collect();
    if rows.is_empty() { Ok(()) } else { sink.rows(family, rows) }
}

/// The same for durations.
fn tell_times<'a, S: Sink>(
    sink: &mut S,
    family: &'static Family,
    rows: impl IntoIterator<Item = (Vec<&'a str>, &'a Histogram)>,
) -> Result<(), S::Error> {
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() { Ok(()) } else { sink.histograms(family, rows) }
}

fn truth(whether: bool) -> f64 {
    f64::from(u8::from(whether))
}
