//! What is told of the gateway in numbers: what it counted, how it stands, and what the system knows of the process.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_gateway::{Gateway, Tracer};
use outgate_meter::{Countries, Exposition, Format, Process, Role, Sheet};
use outgate_records::Entry;
use outgate_telemetry::{Sheets, Telemetry};

/// What makes a sheet of the present moment.
pub(crate) fn sheets(gateway: Arc<Gateway>, countries: Countries, telemetry: Option<Arc<Telemetry>>) -> Sheets {
    let started = Timestamp::now().as_millisecond() as f64 / 1000.0;
    let of = Exposition { role: Role::Gateway, version: env!("CARGO_PKG_VERSION"), started, countries };
    Arc::new(move || {
        let mut gauges = gateway.gauges();
        gauges.process = process();
        gauges.telemetry_dropped = telemetry.as_ref().map_or(0, |telemetry| telemetry.dropped());
        Sheet { of, snapshot: gateway.snapshot(), gauges }
    })
}

/// The page that Prometheus reads.
pub(crate) fn page(sheets: Sheets) -> Arc<dyn Fn(Format) -> String + Send + Sync> {
    Arc::new(move |format| {
        let Sheet { of, snapshot, gauges } = sheets();
        of.write(snapshot, gauges, format)
    })
}

/// Tells the export of every request.
pub(crate) struct Traces(pub(crate) Arc<Telemetry>);

impl Tracer for Traces {
    fn ended(&self, entry: &Entry<'_>, parent: Option<&str>) {
        self.0.ended(entry, parent);
    }
}

/// What the system knows of this process.
pub(crate) fn process() -> Process {
    use rustix::process::{Resource, getrlimit};
    use rustix::time::{ClockId, clock_gettime};
    // Since Linux 6.2 the folder's size is their number (proc(5)); before that it is zero, and counting them would take long
    // when there are many.
    let open = std::fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|open| *open > 0);
    Process {
        cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok(),
        open_files: open,
        most_files: getrlimit(Resource::Nofile).current,
    }
}
