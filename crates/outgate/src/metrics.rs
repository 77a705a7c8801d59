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
    // Since Linux 6.2 the folder's size is their number (proc(5)); before that it is zero, and counting them would take long
    // when there are many.
    let open = std::fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|open| *open > 0);
    Process {
        cpu: std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu(&stat)),
        open_files: open,
        most_files: getrlimit(Resource::Nofile).current,
    }
}

/// User and system time out of /proc/self/stat (proc(5)): the 14th and 15th field, in hundredths of a second. Not by
/// `clock_gettime`, whose way without a system call ends a run under valgrind.
fn cpu(stat: &str) -> Option<Duration> {
    // The second field is the program's name, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_program_is_called() {
        let stat = "123 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0 1";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("nonsense"), None);
        assert!(process().cpu.is_some() && process().most_files.is_some());
    }
}
