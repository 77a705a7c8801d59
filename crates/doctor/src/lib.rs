//! The doctor: five steps that find out what is wrong with a proxy, and whose fault it is.
//!
//! It works against any HTTP, HTTPS or SOCKS5 proxy, with nothing but a URL. [`examine`] walks the table in [`checks`]: each check
//! needs others, and one whose needs are not met is skipped, because it could only repeat what is known. A check looks at the
//! chart of what was found before (`chart`), makes its requests (`exchange`), and leaves one [`Finding`]. Where a request
//! fails, one thing at a time is changed (`blame`, `login`): what changes with it is to blame. In the end
//! (`verdict`) stands one [`Diagnosis`] with a name, whose it is, and what to do next.
//!
//! What an answer means is the classifier's to say (`outgate_client::classify`); the doctor adds what only several requests
//! together can show.
//!
//! - [`Case`]: what is asked of the doctor; [`ProxyUrl`] and [`Site`]: its URLs, read with their mistakes
//! - `reach`, `login`, `targets`, `clock`, `samples`: the steps
//! - `exchange`, `answer`, `look`, `probe`: one request, one answer, one certificate, one port
//! - [`Report`]: everything that was found; [`render`] makes text of it, `serde` JSON
//!
//! To add a check: 1. a line in the table of `checks`; 2. its arm in `make`; 3. a proxy that is broken like that in
//! `crates/outgate/tests/users_end/doctor`.

mod advice;
mod answer;
mod blame;
mod certificate;
mod chart;
pub mod checks;
mod clock;
mod diagnosis;
mod exchange;
mod login;
mod look;
mod probe;
mod proxy_url;
mod reach;
pub mod render;
mod report;
mod samples;
mod site;
mod targets;
pub mod thresholds;
mod verdict;

pub use chart::{Case, USUAL_PORTS};
pub use diagnosis::{Diagnosis, Harm, OWN_NAMES, Whose};
pub use look::roots;
pub use proxy_url::{Flaw, ProxyUrl, Unreadable};
pub use report::{Finding, Health, Report, State, Timing, Verdict};
pub use samples::{ByExit, Pattern, Sample, Sampling};
pub use site::{Login, Security, Site};

use chart::Chart;
use checks::Check;
use thresholds::Phase;

/// The version of the JSON; it grows when a field changes its meaning or goes.
const VERSION: u8 = 1;

/// Who watches an examination.
pub trait Progress {
    /// A check begins.
    fn begins(&mut self, check: Check);
    /// It was made, or skipped.
    fn found(&mut self, finding: &Finding);
    /// So many samples of so many are made.
    fn sampled(&mut self, made: u32, wanted: u32);
}

/// Makes every check that can be made, and concludes.
pub async fn examine(case: &Case, progress: &mut dyn Progress) -> Report {
    let at = (case.now)();
    let mut chart = Chart::new(case);
    let mut findings: Vec<Finding> = Vec::with_capacity(Check::ALL.len());
    for check in Check::ALL.iter().copied() {
        let held = |need: &Check| findings.iter().any(|finding| finding.check == *need && finding.state.holds());
        let finding = match check.needs().iter().find(|need| !held(need)) {
            Some(need) => Finding::new(check, State::Skipped, format!("needs: {}", need.title())),
            None => {
                progress.begins(check);
                make(check, &mut chart, progress).await
            }
        };
        progress.found(&finding);
        findings.push(finding);
    }
    let verdict = verdict::conclude(&findings);
    Report {
        version: VERSION,
        at,
        proxy: chart.shown(),
        target: case.target.as_ref().map(Site::to_string),
        neutral: case.neutral.to_string(),
        timings: timings(&chart),
        findings,
        samples: chart.sampling,
        verdict,
    }
}

async fn make(check: Check, chart: &mut Chart<'_>, progress: &mut dyn Progress) -> Finding {
    match check {
        Check::Url => reach::url(chart),
        Check::Dns => reach::dns(chart).await,
        Check::Tcp => reach::tcp(chart).await,
        Check::Tls => reach::tls(chart).await,
        Check::Protocol => reach::protocol(chart).await,
        Check::Credentials => login::credentials(chart).await,
        Check::NeutralDirect => targets::neutral_direct(chart).await,
        Check::NeutralProxied => targets::neutral_proxied(chart).await,
        Check::TargetDirect => targets::target_direct(chart).await,
        Check::TargetProxied => targets::target_proxied(chart).await,
        Check::Certificate => targets::certificate(chart),
        Check::Names => targets::names(chart).await,
        Check::Clock => clock::clock(chart),
        Check::Repeated => samples::repeated(chart, progress).await,
        Check::Speed => samples::speed(chart),
    }
}

/// Each phase past the proxy and through it. The proxy's own phases have no counterpart past it.
fn timings(chart: &Chart<'_>) -> Vec<Timing> {
    let (direct, proxied) = chart.timed();
    let mut timings = Vec::new();
    for phase in Phase::ALL {
        let own = matches!(phase, Phase::ProxyTls | Phase::Connect);
        let through = proxied.and_then(|exchange| exchange.time(phase));
        let through = if phase == Phase::Dns { chart.dns.or(through) } else { through };
        let past = if own { None } else { direct.and_then(|exchange| exchange.time(phase)) };
        if through.is_some() || past.is_some() {
            timings.push(Timing { phase, direct: past, proxied: through, limit: phase.limit() });
        }
    }
    timings
}
