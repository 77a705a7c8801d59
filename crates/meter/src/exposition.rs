//! Writes what was counted, and how things stand, as Prometheus reads it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::gauges::Gauges;
use crate::page::Page;
use crate::sheet::Sheet;
use crate::snapshot::Snapshot;

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
        registry.register_collector(Box::new(Shown { sheet: Sheet { of: *self, snapshot, gauges } }));
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

/// What the encoder asks for its lines.
#[derive(Debug)]
struct Shown {
    sheet: Sheet,
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.sheet.write(&mut Page::new(encoder))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outgate_faults::Slug;

    use super::*;
    use crate::ended::{Ended, Kind};
    use crate::families;
    use crate::gauges::{Exits, Process, Room, Sharing};
    use crate::meter::Meters;
    use crate::snapshot::Country;

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
