//! Writes what was counted, and how things stand, as Prometheus reads it.

use std::fmt;

use outgate_faults::Layer;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::ended::Step;
use crate::families::{self, Family};
use crate::gauges::{Gauges, Room, Sharing, Usage};
use crate::histogram::Histogram;
use crate::page::{Page, Row};
use crate::snapshot::{Country, Place, Placed, Snapshot};

/// What is the same for every page of one process.
#[derive(Clone, Copy, Debug)]
pub struct Exposition {
    /// What the process is.
    pub role: Role,
    /// The version of the program.
    pub version: &'static str,
    /// When it started, in Unix seconds.
    pub started: f64,
    /// Whether countries are told apart.
    pub countries: Countries,
}

/// What a process is: a relay has no exits, keys and peers, and shows none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway.
    Gateway,
    /// A relay.
    Relay,
}

/// Whether requests of different countries are shown apart. Together, the labels `country` are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Countries {
    /// A line per pool and country.
    Apart,
    /// A line per pool.
    Together,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which everybody reads.
    Text,
}

impl Format {
    /// The one that an `Accept` field asks for.
    pub fn asked_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Exposition {
    /// One page.
    pub fn write(&self, snapshot: Snapshot, gauges: Gauges, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Sheet { of: *self, snapshot, gauges }));
        let mut page = String::new();
        // Writing to a String can't fail.
        let _ = text::encode(&mut page, &registry);
        match format {
            Format::OpenMetrics => page,
            Format::Text => as_text(&page),
        }
    }
}

/// The same page in the older format, in which a counter's family has the name of its samples, an info is a gauge, and
/// no end is told.
fn as_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(told) = line.strip_prefix("# HELP ") {
            // The type is told behind it, and decides what both are called.
            help = told;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.strip_prefix(name).unwrap_or_default();
            text.push_str(&format!("# HELP {name}{suffix}{help}\n# TYPE {name}{suffix} {kind}\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// One page's contents.
#[derive(Debug)]
struct Sheet {
    of: Exposition,
    snapshot: Snapshot,
    gauges: Gauges,
}

impl Collector for Sheet {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut page = Page::new(encoder);
        self.process(&mut page)?;
        self.requests(&mut page)?;
        self.places(&mut page)?;
        self.steps(&mut page)?;
        self.rooms(&mut page)?;
        self.keeping(&mut page)?;
        match self.of.role {
            Role::Gateway => self.gateway(&mut page),
            Role::Relay => Ok(()),
        }
    }
}

impl Sheet {
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let role = match self.of.role {
            Role::Gateway => "gateway",
            Role::Relay => "relay",
        };
        page.info(&families::BUILD, &[("version", self.of.version), ("role", role)])?;
        page.gauge(&families::STARTED, [Row::of([], self.of.started)])?;
        let process = &self.gauges.process;
        page.counter(&families::CPU, process.cpu.iter().map(|cpu| Row::of([], cpu.as_secs_f64())))?;
        page.gauge(&families::RESIDENT, [Row::of([], self.gauges.memory.taken as f64)])?;
        page.gauge(&families::OPEN_FILES, process.open_files.iter().map(|files| Row::of([], *files as f64)))?;
        page.gauge(&families::MOST_FILES, process.most_files.iter().map(|files| Row::of([], *files as f64)))
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let outcomes = self.snapshot.ways.iter().flat_map(|(way, tally)| {
            let well = (tally.well > 0).then_some(("ok", "", tally.well));
            let faults = tally.faults.iter().map(|(slug, count)| (slug.name(), slug.row().layer.name(), *count));
            let row = |(outcome, layer, count)| Row::of([way.protocol, way.kind.name(), &way.pool, outcome, layer], count as f64);
            well.into_iter().chain(faults).map(row)
        });
        page.counter(&families::REQUESTS, outcomes)?;
        let mut pools: Vec<&str> = self.snapshot.ways.keys().map(|way| &*way.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        let pools: Vec<_> = pools.into_iter().map(|pool| (pool, self.snapshot.pool(pool))).collect();
        let statuses = pools.iter().flat_map(|(pool, tally)| {
            let told = tally.statuses.iter().zip(["none", "1xx", "2xx", "3xx", "4xx", "5xx"]).filter(|(count, _)| **count > 0);
            told.map(|(count, class)| Row::of([*pool, class], *count as f64))
        });
        page.counter(&families::RESPONSES, statuses)?;
        let tried = pools.iter().filter(|(_, tally)| tally.attempts > 0);
        page.counter(&families::ATTEMPTS, tried.map(|(pool, tally)| Row::of([*pool], tally.attempts as f64)))?;
        let moved = self.snapshot.moved.iter();
        let moved = moved
            .flat_map(|(pool, moved)| [Row::of([&**pool, "up"], moved.up as f64), Row::of([&**pool, "down"], moved.down as f64)]);
        page.counter(&families::PAYLOAD, moved)
    }

    fn places(&self, page: &mut Page<'_>) -> fmt::Result {
        let places = self.shown_places();
        let layers = places.iter().flat_map(|(place, placed)| {
            let layers = Layer::ALL.iter().map(|layer| (layer.name(), placed.tally.of_layer(*layer)));
            let all = std::iter::once(("ok", placed.tally.well)).chain(layers).filter(|(_, count)| *count > 0);
            all.map(|(result, count)| Row::of([&*place.pool, place.country.as_str(), result], count as f64))
        });
        page.counter(&families::PLACES, layers)?;
        let setups = places.iter().filter(|(_, placed)| placed.setup.count() > 0);
        page.histograms(
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
                let whole = |pool: std::sync::Arc<str>| {
                    let placed = self.snapshot.places_of(&pool);
                    (Place { pool, country: Country::Unknown }, placed)
                };
                pools.into_iter().map(whole).collect()
            }
        }
    }

    fn steps(&self, page: &mut Page<'_>) -> fmt::Result {
        let steps: [(&Family, Step); 7] = [
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
            page.histograms(family, (histogram.count() > 0).then(|| (Vec::new(), histogram)))?;
        }
        Ok(())
    }

    fn rooms(&self, page: &mut Page<'_>) -> fmt::Result {
        let Gauges { in_flight, connections, exit_connections, memory, .. } = &self.gauges;
        let bound = |room: &Room| room.bound.map(|bound| bound as f64);
        page.gauge(&families::IN_FLIGHT, [Row::of([], in_flight.taken as f64)])?;
        page.gauge(&families::IN_FLIGHT_LIMIT, bound(in_flight).map(|bound| Row::of([], bound)))?;
        let mut rooms = vec![("clients", connections)];
        if self.of.role == Role::Gateway {
            rooms.push(("exits", exit_connections));
        }
        page.gauge(&families::CONNECTIONS, rooms.iter().map(|(of, room)| Row::of([*of], room.taken as f64)))?;
        let bounds = rooms.iter().filter_map(|(of, room)| Some(Row::of([*of], bound(room)?)));
        page.gauge(&families::CONNECTIONS_LIMIT, bounds)?;
        page.gauge(&families::MEMORY_LIMIT, bound(memory).map(|bound| Row::of([], bound)))?;
        page.gauge(&families::MEMORY_SHORT, [Row::of([], truth(self.gauges.memory_short))])
    }

    fn keeping(&self, page: &mut Page<'_>) -> fmt::Result {
        let Gauges { records, telemetry_dropped, .. } = &self.gauges;
        page.counter(&families::RECORDS_DROPPED, [Row::of([], records.dropped as f64)])?;
        page.gauge(&families::RECORDS_FAILING, [Row::of([], truth(records.failing))])?;
        page.counter(&families::TELEMETRY_DROPPED, [Row::of([], *telemetry_dropped as f64)])
    }

    fn gateway(&self, page: &mut Page<'_>) -> fmt::Result {
        let Gauges { exits, keys, usage, sharing, .. } = &self.gauges;
        let online = exits.iter().map(|some| Row::of([&*some.pool, some.country.as_str(), some.health], some.exits as f64));
        page.gauge(&families::EXITS, online)?;
        let tunnels = exits.iter().map(|some| Row::of([&*some.pool, some.country.as_str(), some.health], some.tunnels as f64));
        page.gauge(&families::EXIT_TUNNELS, tunnels)?;
        let bounded = exits.iter().filter_map(|some| Some((some, some.capacity?)));
        let bounds = bounded.map(|(some, bound)| Row::of([&*some.pool, some.country.as_str(), some.health], bound as f64));
        page.gauge(&families::EXIT_TUNNELS_LIMIT, bounds)?;
        page.gauge(&families::KEYS, [Row::of([], *keys as f64)])?;
        let kept = [("ledger", Usage::Ledger), ("journal", Usage::Journal), ("memory", Usage::Nowhere)];
        page.gauge(&families::USAGE_KEPT, kept.map(|(place, state)| Row::of([place], truth(*usage == state))))?;
        let together = match sharing {
            Sharing::Off => None,
            Sharing::Together(gateways) => Some((1.0, f64::from(*gateways))),
            Sharing::Alone => Some((0.0, 1.0)),
        };
        page.gauge(&families::SHARING, together.map(|(shares, _)| Row::of([], shares)))?;
        page.gauge(&families::GATEWAYS, together.map(|(_, gateways)| Row::of([], gateways)))
    }
}

fn truth(whether: bool) -> f64 {
    f64::from(u8::from(whether))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outgate_faults::Slug;

    use super::*;
    use crate::ended::{Ended, Kind};
    use crate::gauges::{Exits, Process};
    use crate::meter::Meters;

    const OF: Exposition = Exposition { role: Role::Gateway, version: "1.2.3", started: 1.5, countries: Countries::Apart };

    fn counted() -> Snapshot {
        let meters = Meters::default();
        let meter = meters.add();
        let well = Ended {
            protocol: "http",
            kind: Kind::Tunnel,
            pool: Some("residential"),
            country: Some("us"),
            status: Some(200),
            attempts: 1,
            ..Ended::default()
        };
        for _ in 0..2 {
            meter.answered("residential", Some("us"), Duration::from_millis(200));
            meter.count(&well);
        }
        meter.count(&Ended { slug: Some(Slug::NoExit), status: Some(502), country: Some("de"), ..well });
        meters.moved("residential", 10, 1 << 40);
        meters.snapshot()
    }

    fn gauges() -> Gauges {
        let exits = Exits {
            pool: "residential".into(),
            country: Country::of(Some("us")),
            health: "healthy",
            exits: 3,
            tunnels: 7,
            capacity: Some(300),
        };
        Gauges {
            in_flight: Room { taken: 2, bound: Some(100) },
            connections: Room { taken: 4, bound: Some(1000) },
            memory: Room { taken: 5_000_000, bound: None },
            process: Process { cpu: Some(Duration::from_millis(2500)), open_files: Some(9), most_files: Some(1024) },
            exits: vec![exits],
            sharing: Sharing::Together(2),
            ..Gauges::default()
        }
    }

    #[test]
    fn a_page_tells_what_was_counted_in_both_formats() {
        let open = OF.write(counted(), gauges(), Format::OpenMetrics);
        let text = OF.write(counted(), gauges(), Format::Text);
        let both = [
            r#"outgate_build_info{version="1.2.3",role="gateway"} 1"#,
            "process_cpu_seconds_total 2.5",
            r#"outgate_requests_total{protocol="http",kind="tunnel",pool="residential",outcome="ok",layer=""} 2"#,
            r#"outgate_requests_total{protocol="http",kind="tunnel",pool="residential",outcome="no_exit",layer="exit"} 1"#,
            r#"outgate_responses_total{pool="residential",status="5xx"} 1"#,
            r#"outgate_payload_bytes_total{pool="residential",direction="down"} 1099511627776"#,
            r#"outgate_country_requests_total{pool="residential",country="de",result="exit"} 1"#,
            r#"outgate_setup_seconds_bucket{le="0.1",pool="residential",country="us"} 0"#,
            r#"outgate_setup_seconds_bucket{le="0.2",pool="residential",country="us"} 2"#,
            r#"outgate_setup_seconds_bucket{le="+Inf",pool="residential",country="us"} 2"#,
            r#"outgate_setup_seconds_sum{pool="residential",country="us"} 0.4"#,
            r#"outgate_exits{pool="residential",country="us",health="healthy"} 3"#,
            r#"outgate_usage_kept{in="journal"} 0"#,
            "outgate_gateways 2",
        ];
        for line in both {
            assert!(open.lines().any(|other| other == line), "{line} is not in\n{open}");
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(open.contains("# TYPE outgate_requests counter\n") && open.ends_with("# EOF\n"), "{open}");
        assert!(text.contains("# TYPE outgate_requests_total counter\n") && !text.contains("# EOF"), "{text}");
        assert!(text.contains("# TYPE outgate_build_info gauge\n"), "{text}");
    }

    #[test]
    fn a_relay_shows_nothing_that_it_has_not() {
        let page = Exposition { role: Role::Relay, ..OF }.write(counted(), gauges(), Format::Text);
        for family in families::FAMILIES.iter().filter(|family| family.scope == families::Scope::Gateway) {
            assert!(!page.contains(family.name), "{}", family.name);
        }
        assert!(!page.contains(r#"of="exits""#), "{page}");
    }

    #[test]
    fn countries_can_be_told_together() {
        let page = Exposition { countries: Countries::Together, ..OF }.write(counted(), Gauges::default(), Format::Text);
        assert!(page.contains(r#"outgate_country_requests_total{pool="residential",country="",result="ok"} 2"#), "{page}");
        assert!(page.contains(r#"outgate_country_requests_total{pool="residential",country="",result="exit"} 1"#), "{page}");
    }

    #[test]
    fn a_label_can_not_break_out() {
        let meters = Meters::default();
        meters.add().count(&Ended { protocol: "http", pool: Some("a\"} 1\nb\\"), ..Ended::default() });
        let page = OF.write(meters.snapshot(), Gauges::default(), Format::Text);
        assert!(page.contains(r#"pool="a\"} 1\nb\\",outcome"#), "{page}");
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::asked_by(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::asked_by(Some("*/*")), Format::Text);
        assert_eq!(Format::asked_by(None), Format::Text);
    }
}
