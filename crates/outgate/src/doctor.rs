//! `outgate doctor`: what is wrong with a proxy, shown while it is found out.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use outgate_doctor::checks::{Check, Step};
use outgate_doctor::render::{self, Colour};
use outgate_doctor::{Case, Finding, Health, Progress, Report, USUAL_PORTS};

use crate::cli::Doctor;
use crate::{eprintln, println};

/// Runs the command.
pub(crate) async fn run(args: Doctor) -> ExitCode {
    let pem = match args.ca.as_ref().map(|file| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))) {
        None => None,
        Some(Ok(pem)) => Some(pem),
        Some(Err(why)) => return wrong(&format!("--ca {why}")),
    };
    let roots = match outgate_doctor::roots(pem.as_deref()) {
        Ok(roots) => roots,
        Err(why) => return wrong(&format!("--ca: {why}")),
    };
    let case = Case {
        proxy: args.proxy,
        target: args.target,
        neutral: args.neutral,
        samples: args.samples,
        interval: args.interval,
        limit: args.timeout,
        roots,
        other_ports: USUAL_PORTS.to_vec(),
        now: jiff::Timestamp::now,
    };
    let report = if args.json {
        let report = outgate_doctor::examine(&case, &mut Silent).await;
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println(&json),
            Err(error) => return crate::failed(&format!("the report can't be written: {error}")),
        }
        report
    } else {
        let mut screen = Screen::new();
        let opening = render::opening(&case, screen.colour);
        screen.line(&opening);
        let report = outgate_doctor::examine(&case, &mut screen).await;
        screen.end(&report);
        report
    };
    match report.verdict.health {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Impaired | Health::Broken => ExitCode::FAILURE,
    }
}

fn wrong(why: &str) -> ExitCode {
    eprintln(&format!("outgate: {why}"));
    ExitCode::from(2)
}

/// Nobody watches.
struct Silent;

impl Progress for Silent {
    fn begins(&mut self, _: Check) {}
    fn found(&mut self, _: &Finding) {}
    fn sampled(&mut self, _: u32, _: u32) {}
}

/// Standard output: findings as they come, and on a terminal a last line that says what is being done.
struct Screen {
    terminal: bool,
    colour: Colour,
    step: Option<Step>,
}

impl Screen {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = if terminal && !set("NO_COLOR") && !dumb { Colour::Shown } else { Colour::Plain };
        Self { terminal: terminal && !dumb, colour, step: None }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// The last line, which the next one replaces.
    fn passing(&mut self, text: &str) {
        if self.terminal {
            self.write(&format!("\r\x1b[K{text}"));
        }
    }

    fn end(&mut self, report: &Report) {
        self.line("");
        let text = render::ending(report, self.colour);
        self.line(&text);
    }

    fn write(&mut self, text: &str) {
        let mut stdout = std::io::stdout();
        // A reader that has gone away has read enough.
        let _reader_gone = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}

impl Progress for Screen {
    fn begins(&mut self, check: Check) {
        self.passing(&render::doing(check));
    }

    fn found(&mut self, finding: &Finding) {
        let step = finding.check.step();
        if self.step != Some(step) {
            self.step = Some(step);
            let heading = render::step(step, self.colour);
            self.line(&heading);
        }
        let text = render::finding(finding, self.colour);
        self.line(&text);
    }

    fn sampled(&mut self, made: u32, wanted: u32) {
        let width = 24;
        let done = usize::try_from(u64::from(made) * width / u64::from(wanted.max(1))).unwrap_or_default();
        let bar: String = (0..24).map(|at| if at < done { '#' } else { '.' }).collect();
        self.passing(&format!("{} [{bar}] {made} of {wanted}", render::doing(Check::Repeated)));
    }
}
