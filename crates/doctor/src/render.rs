//! A report for people: lines for a terminal or a pipe.

use std::fmt::Write as _;

use outgate_client::classify::Confidence;

use crate::chart::Case;
use crate::checks::{Check, Step};
use crate::proxy_url::{ProxyUrl, shown};
use crate::report::{Finding, Health, Report, State, Timing, shown_time};

/// Whether colours are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Yes.
    Shown,
    /// No.
    Plain,
}

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Good,
    Careful,
    Bad,
    Quiet,
}

impl Colour {
    fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Good => "32",
            Ink::Careful => "33",
            Ink::Bad => "31;1",
            Ink::Quiet => "2",
        };
        if self == Colour::Shown { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Lines are wrapped here: most terminals are wider, and most mails are not.
const WIDTH: usize = 100;

/// The first line: what is examined, without credentials.
pub fn opening(case: &Case, colour: Colour) -> String {
    let proxy = ProxyUrl::read(&case.proxy).map_or_else(|_| "a URL that can't be read".to_owned(), |url| shown(&url.upstream));
    let target = case.target.as_ref().map(|target| format!(", target {target}")).unwrap_or_default();
    colour.ink(Ink::Bold, &format!("Examining {proxy}{target}\n"))
}

/// The line above a step's findings.
pub fn step(step: Step, colour: Colour) -> String {
    colour.ink(Ink::Bold, &format!("{} {}", step.number(), step.title()))
}

/// A finding: one line, and one for each detail.
pub fn finding(finding: &Finding, colour: Colour) -> String {
    let (mark, ink) = match finding.state {
        State::Good => ("ok", Ink::Good),
        State::Remark => ("note", Ink::Careful),
        State::Bad => ("BAD", Ink::Bad),
        State::NotNeeded => ("-", Ink::Quiet),
        State::Skipped => ("skip", Ink::Quiet),
    };
    let time = finding.time.map(|time| format!("  ({})", shown_time(time))).unwrap_or_default();
    let padding = " ".repeat(5_usize.saturating_sub(mark.len()));
    let says = match finding.state {
        State::NotNeeded | State::Skipped => colour.ink(Ink::Quiet, &finding.says),
        _ => finding.says.clone(),
    };
    let mut text = format!("  {}{padding}{:<12} {says}{time}", colour.ink(ink, mark), finding.check.title());
    for detail in &finding.details {
        let _infallible = write!(text, "\n{:20}{}", "", colour.ink(Ink::Quiet, detail));
    }
    text
}

/// What is being done, for a terminal's last line.
pub fn doing(check: Check) -> String {
    format!("  …    {} {}", check.step().number(), check.title())
}

/// Everything below the findings: the table of times, and the verdict.
pub fn ending(report: &Report, colour: Colour) -> String {
    let mut text = String::new();
    if !report.timings.is_empty() {
        text.push_str(&times(&report.timings, colour));
        text.push('\n');
    }
    text.push_str(&verdict(report, colour));
    text
}

fn times(timings: &[Timing], colour: Colour) -> String {
    let mut text =
        format!("{}\n", colour.ink(Ink::Bold, &format!("{:<22}{:>12}{:>12}{:>12}", "Times", "direct", "proxied", "slow from")));
    for timing in timings {
        let cell = |time: Option<std::time::Duration>| time.map_or_else(|| "-".to_owned(), shown_time);
        let through = format!("{:>12}", cell(timing.proxied));
        let through = if timing.is_slow() { colour.ink(Ink::Careful, &through) } else { through };
        let _infallible =
            writeln!(text, "  {:<20}{:>12}{through}{:>12}", timing.phase.title(), cell(timing.direct), cell(timing.limit));
    }
    text
}

fn verdict(report: &Report, colour: Colour) -> String {
    let verdict = &report.verdict;
    let (word, ink) = match verdict.health {
        Health::Healthy => ("healthy", Ink::Good),
        Health::Impaired => ("impaired", Ink::Careful),
        Health::Broken => ("broken", Ink::Bad),
    };
    let name = verdict.diagnosis.as_ref().map(|diagnosis| format!(": {}", diagnosis.name)).unwrap_or_default();
    let mut text = format!("{} {}", colour.ink(Ink::Bold, "Verdict"), colour.ink(ink, &format!("{word}{name}")));
    let mut field = |name: &str, value: &str| {
        let _infallible = write!(text, "\n  {}{}", colour.ink(Ink::Bold, &format!("{name:<9}")), wrap(value, 11));
    };
    match &verdict.diagnosis {
        None if verdict.health == Health::Healthy => field("what", "requests through the proxy work."),
        None => field("what", "requests fail, and nothing shows why."),
        Some(diagnosis) => {
            field("what", &sentence(&diagnosis.sentence));
            field("whose", &format!("{}{}", diagnosis.whose.words(), sureness(diagnosis.confidence)));
            field("next", &diagnosis.next);
            if let Some(slug) = diagnosis.fault {
                field("more", &format!("outgate explain {slug}"));
            }
        }
    }
    for remark in &verdict.remarks {
        field("note", remark);
    }
    text
}

fn sureness(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain | Confidence::Documented => "",
        Confidence::Likely => " (likely)",
        Confidence::Guess => " (a guess: the evidence is thin)",
    }
}

/// With a full stop and nothing but printable characters: parts of it came from proxies and targets.
fn sentence(text: &str) -> String {
    let text = crate::proxy_url::printable(text);
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

/// Wraps `text`, whose first line begins behind `indent` columns.
fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent {
            if column + 1 + length > WIDTH {
                let _infallible = write!(out, "\n{:indent$}", "");
                column = indent;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_wrap_and_times_are_short() {
        let wrapped = wrap(&"word ".repeat(40), 11);
        assert!(wrapped.lines().count() == 3 && wrapped.lines().all(|line| line.len() <= WIDTH), "{wrapped}");
        let shown = [0, 1234, 45_600, 12_345_678].map(|micros| shown_time(Duration::from_micros(micros)));
        assert_eq!(shown, ["0.0 ms", "1.2 ms", "46 ms", "12.3 s"]);
    }

    #[test]
    fn control_characters_of_others_stay_out() {
        let line = finding(&Finding::new(Check::Url, State::Remark, "a\x1b[2Jb\r\n"), Colour::Plain);
        assert!(!line.contains('\x1b') && !line.contains('\r'), "{line:?}");
        assert!(!sentence("a\x1b[2J").contains('\x1b'));
    }
}
