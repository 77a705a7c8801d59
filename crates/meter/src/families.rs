//! Every metric there is: its name, type, labels and meaning. The page is written by it, and docs/metrics.md from it.

use std::time::Duration;

use crate::histogram::Histogram;

/// A metric and everything that is known of it in advance.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name without what its type adds (`_total`, `_bucket`…).
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in the order in which rows have their values.
    pub labels: &'static [&'static str],
    /// What it tells, in one line.
    pub help: &'static str,
    /// Whether only a gateway has it.
    pub scope: Scope,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, with these upper bounds of buckets in microseconds.
    Histogram(&'static [u64]),
    /// Always 1; its labels are what it tells.
    Info,
}

/// Who has a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Gateway and relay.
    Both,
    /// The gateway alone.
    Gateway,
}

impl Family {
    /// The name of what is asked for in a query: `outgate_requests_total`.
    pub fn sample(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram(_) => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// The word for its type.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
            Kind::Info => "info",
        }
    }

    /// The values of its labels with their names.
    pub fn named<'a>(&self, values: &[&'a str]) -> Vec<(&'static str, &'a str)> {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        self.labels.iter().copied().zip(values.iter().copied()).collect()
    }

    /// A histogram in its buckets: upper bounds in seconds, and how many are between each and the one before.
    pub fn buckets(&self, histogram: &Histogram) -> Vec<(f64, u64)> {
        let Kind::Histogram(bounds) = self.kind else { return Vec::new() };
        let mut below = 0;
        let mut more = |count: u64| count - std::mem::replace(&mut below, count);
        let bounded = bounds.iter().map(|bound| Duration::from_micros(*bound));
        let mut buckets: Vec<_> = bounded.map(|bound| (bound.as_secs_f64(), more(histogram.at_most(bound)))).collect();
        buckets.push((f64::INFINITY, more(histogram.count())));
        buckets
    }
}

/// Bounds of what is done in a moment, in microseconds; the thresholds that alerts go by (200 ms, 500 ms, 2 s, 5 s) among them.
const MOMENTS: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
    15_000_000, 30_000_000,
];
/// Bounds of what may stay open for long.
const STAYS: &[u64] = &[100_000, 1_000_000, 10_000_000, 60_000_000, 300_000_000, 900_000_000];

macro_rules! families {
    ($($constant:ident $name:literal $kind:expr, $labels:expr, $scope:ident, $help:literal;)*) => {
        $( pub(crate) const $constant: Family =
            Family { name: $name, kind: $kind, labels: &$labels, help: $help, scope: Scope::$scope }; )*
        /// All of them, in the order of the page.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD "outgate_build" Kind::Info, ["version", "role"], Both, "The program's version, and what it runs as.";
    STARTED "process_start_time_seconds" Kind::Gauge, [], Both, "When the process started, in Unix seconds.";
    CPU "process_cpu_seconds" Kind::Counter, [], Both, "CPU time of the process.";
    RESIDENT "process_resident_memory_bytes" Kind::Gauge, [], Both, "Resident memory.";
    OPEN_FILES "process_open_fds" Kind::Gauge, [], Both, "Open file descriptors.";
    MOST_FILES "process_max_fds" Kind::Gauge, [], Both, "File descriptors that may be open.";

    REQUESTS "outgate_requests" Kind::Counter, ["protocol", "kind", "pool", "outcome", "layer"], Both,
        "Requests that ended. outcome is ok or a slug of the catalogue, layer the one that owns the fault, pool empty before admission.";
    RESPONSES "outgate_responses" Kind::Counter, ["pool", "status"], Both,
        "Requests that ended, by the class of the status that the client got, the target's own included.";
    ATTEMPTS "outgate_attempts" Kind::Counter, ["pool"], Both, "How often a way out was tried; more than requests where one failed over.";
    PAYLOAD "outgate_payload_bytes" Kind::Counter, ["pool", "direction"], Both,
        "Payload, counted while it moves: up from clients, down to them.";
    PLACES "outgate_country_requests" Kind::Counter, ["pool", "country", "result"], Both,
        "Requests that ended after admission, by where they went out or were to. result is ok or the layer of the fault.";
    SETUP "outgate_setup_seconds" Kind::Histogram(MOMENTS), ["pool", "country"], Both,
        "From a request's complete head to its answer: a tunnel's 200, the head of the target's response, or a fault after admission. Counted when it is given.";
    QUEUE "outgate_queue_seconds" Kind::Histogram(MOMENTS), [], Both,
        "From a request's complete head until dialling began.";
    DNS "outgate_dns_seconds" Kind::Histogram(MOMENTS), [], Both, "Resolving the target's name, where this hop did.";
    CONNECT "outgate_connect_seconds" Kind::Histogram(MOMENTS), [], Both,
        "Connecting to the target, or opening the tunnel through an exit.";
    TLS "outgate_tls_handshake_seconds" Kind::Histogram(MOMENTS), [], Both, "A client's TLS handshake, once per connection.";
    FIRST_BYTE "outgate_first_byte_seconds" Kind::Histogram(MOMENTS), [], Both,
        "Of a forwarded request, from when it was sent until the first byte of the answer.";
    FORWARD "outgate_forward_seconds" Kind::Histogram(MOMENTS), [], Both, "A forwarded request from its complete head to its end.";
    TUNNEL "outgate_tunnel_seconds" Kind::Histogram(STAYS), [], Both, "An opened tunnel from its complete head to its end.";

    IN_FLIGHT "outgate_in_flight" Kind::Gauge, [], Both, "Requests and tunnels in flight.";
    IN_FLIGHT_LIMIT "outgate_in_flight_limit" Kind::Gauge, [], Both, "How many may be in flight.";
    CONNECTIONS "outgate_connections" Kind::Gauge, ["of"], Both, "Open connections of clients and of exits.";
    CONNECTIONS_LIMIT "outgate_connections_limit" Kind::Gauge, ["of"], Both, "How many may be open.";
    MEMORY_LIMIT "outgate_memory_limit_bytes" Kind::Gauge, [], Both, "Resident memory from which on new requests are refused.";
    MEMORY_SHORT "outgate_memory_short" Kind::Gauge, [], Both, "1 while memory is short and new requests are refused.";
    RECORDS_DROPPED "outgate_records_dropped" Kind::Counter, [], Both, "Access records lost because the disk was full or too slow.";
    RECORDS_FAILING "outgate_records_failing" Kind::Gauge, [], Both, "1 while records can't be written.";
    TELEMETRY_DROPPED "outgate_telemetry_dropped" Kind::Counter, [], Both,
        "Spans and log lines that were not exported over OTLP.";
    EXITS "outgate_exits" Kind::Gauge, ["pool", "country", "health"], Gateway, "Connected exits.";
    EXIT_TUNNELS "outgate_exit_tunnels" Kind::Gauge, ["pool", "country", "health"], Gateway, "Tunnels open through exits.";
    EXIT_TUNNELS_LIMIT "outgate_exit_tunnels_limit" Kind::Gauge, ["pool", "country", "health"], Gateway,
        "How many tunnels may be open through exits; missing where one of them has no bound.";
    KEYS "outgate_keys" Kind::Gauge, [], Gateway, "Keys in force.";
    USAGE_KEPT "outgate_usage_kept" Kind::Gauge, ["in"], Gateway,
        "1 at where the usage that is counted is kept now: ledger, journal (the ledger is away) or memory (neither takes it).";
    SHARING "outgate_sharing" Kind::Gauge, [], Gateway,
        "Several gateways only: 1 while limits hold over all of them, 0 while this one keeps to its share.";
    GATEWAYS "outgate_gateways" Kind::Gauge, [], Gateway, "Several gateways only: how many share limits, this one included.";
}
