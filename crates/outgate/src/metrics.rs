//! The page of metrics: what the gateway counted, how it stands, and what the system knows of the process.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_gateway::Gateway;
use outgate_meter::{Countries, Exposition, Format, Process, Role};

/// What writes the page.
pub(crate) fn page(gateway: Arc<Gateway>, countries: Countries) -> Arc<dyn Fn(Format) -> String + Send + Sync> {
    let started = Timestamp::now().as_millisecond() as f64 / 1000.0;
    let exposition = Exposition { role: Role::Gateway, version: env!("CARGO_PKG_VERSION"), started, countries };
    Arc::new(move |format| {
        let mut gauges = gateway.gauges();
        gauges.process = process();
        exposition.write(gateway.snapshot(), gauges, format)
    })
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
