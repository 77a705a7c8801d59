//! The findings as a table: on the terminal, and as the page `docs/fleet.md`.

use std::collections::HashSet;
use std::path::Path;

use outgate_fleetkit::place::WORLD;

use super::ttl::Kept;
use super::{CALM, Finding, LOOK, Plan, Row, SESSIONS};
use crate::report::{BY_HAND, machine, table};
use crate::stats::percentile;

/// One harm in a few words, for progress.
pub(super) fn line(row: &Row) -> String {
    format!(
        "{}: answered {} with failover, {} without; noticed {}; told {:?} / {:?}\n",
        row.harm.name(),
        percent(row.on.after.success()),
        percent(row.off.after.success()),
        noticed(&row.on),
        row.on.after.told,
        row.off.after.told,
    )
}

pub(super) fn table_of(rows: &[Row]) -> String {
    let titles = [
        "what happens to a tenth of the exits",
        "set-ups answered 200",
        "without failover",
        "carried a byte",
        "without failover",
        "p99 of answers",
        "out of use after",
        "wrong country",
        "sessions strayed",
        "sessions moved",
    ];
    let mut cells = vec![titles.map(String::from).to_vec()];
    for Row { harm, on, off } in rows {
        let both = |count: fn(&Finding) -> usize| (count(on) + count(off)).to_string();
        cells.push(vec![
            harm.name().to_owned(),
            percent(on.after.success()),
            percent(off.after.success()),
            percent(on.after.carried()),
            percent(off.after.carried()),
            percentile(&on.took, 99.0).map_or_else(|| "–".to_owned(), |took| format!("{:.0} ms", took as f64 / 1e3)),
            noticed(on),
            both(|finding| finding.whole.misplaced.len()),
            both(|finding| finding.whole.strayed.len()),
            on.whole.moved.to_string(),
        ]);
    }
    format!("\n{}\n", table(&cells))
}

/// Median and longest, and how many were not.
fn noticed(finding: &Finding) -> String {
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1e3);
    let (Some(median), Some(longest)) = (percentile(&finding.noticed, 50.0), finding.noticed.last()) else {
        return "not while watched".to_owned();
    };
    let missing = match finding.harmed - finding.noticed.len() {
        0 => String::new(),
        missing => format!(", {missing} of {} never", finding.harmed),
    };
    format!("{} s ({} s at most{missing})", seconds(median), seconds(*longest))
}

fn percent(part: f64) -> String {
    // 99.96 % must not look like all.
    let shown = if part < 1.0 { (part * 1e4).floor() / 1e2 } else { 100.0 };
    format!("{shown:.2} %")
}

/// What became of sessions that asked for a minute, in a sentence.
pub(super) fn kept(kept: &Kept) -> String {
    let earliest = kept.earliest.map_or_else(|| "never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3));
    format!(
        "Of {} sessions with `ttl-1`, used about once a second for longer than that, {} kept to one exit for their minute and {} had \
         another one after it; the earliest change came {earliest} after a first use.\n",
        kept.sessions, kept.stayed, kept.renewed,
    )
}

/// The whole page; keeps what was written by hand at the end of the one `before`.
pub(super) fn page(rows: &[Row], kept: Option<&Kept>, plan: &Plan, outgate: &Path, before: &str) -> String {
    let mut page = String::from("# A fleet that is harmed\n\n");
    page += "Written by `bench/run chaos`: all numbers are of one run on one machine.\n\n";
    page += "    bench/run chaos                    # everything (about eight minutes), writes this page\n";
    page += "    bench/run chaos --quick            # shorter, writes nothing\n";
    page += "    bench/run chaos --only frozen      # one row\n\n";
    page += &format!(
        "A gateway process with default settings, {} exits over real WebSocket links on loopback in {} countries, {} set-ups per second \
         (open loop), every second one in one of {SESSIONS} sticky sessions, each asking for a country and trying its tunnel with one byte \
         there and back. After {} s something happens to a tenth of the exits at once, and the set-ups of the {} s that follow are \
         counted. *With failover* is the default (`[fleet] attempts`), *without* is `attempts = 1`. Each row has a gateway and a fleet of \
         its own. *Killed* and *frozen* exits are processes of `outgate exit` (SIGKILL, SIGSTOP); *partitioned* ones sit behind a \
         middle-man that stops passing bytes without a FIN; the others speak the link protocol and misbehave in it: *slow* opens tunnels \
         2 s late, *refusing* refuses them, *silent* answers pings but no question, *lying* says that it is connected and carries \
         nothing. *Out of use* is when the admin API first shows an exit as offline or ejected: median and longest, looked at every \
         {} ms for twice as long.\n\n",
        plan.exits,
        WORLD.iter().map(|place| place.country).collect::<HashSet<_>>().len(),
        plan.rate,
        CALM.as_secs(),
        plan.counted.as_secs(),
        LOOK.as_millis(),
    );
    page += table_of(rows).trim_start();
    page += "\n*Wrong country*: answers from an exit that is not where it was asked to be; *sessions strayed*: sessions that left an exit \
             to which nothing had happened; both must be 0 and are counted over both runs. *Sessions moved* left an exit that was harmed.\n\n";
    page += "## Faults told\n\n";
    for Row { harm, on, off } in rows {
        let told = |finding: &Finding| {
            let mut told: Vec<_> = finding.after.told.iter().map(|(slug, count)| format!("{count} × `{slug}`")).collect();
            told.sort();
            if told.is_empty() { "none".to_owned() } else { told.join(", ") }
        };
        page += &format!(
            "- {}: {} of {} set-ups with failover; {} of {} without\n",
            harm.name(),
            told(on),
            on.after.trials,
            told(off),
            off.after.trials
        );
    }
    if let Some(told) = kept.map(self::kept) {
        page += &format!("\n## Sessions and their time\n\n{told}");
    }
    page += "\n## Environment\n\n";
    page += &format!("- Binary: {}\n", outgate.display());
    for (name, fact) in machine() {
        page += &format!("- {name}: {fact}\n");
    }
    page += "\n";
    let by_hand = before.split_once(BY_HAND).map_or("\n", |parts| parts.1);
    page + BY_HAND + by_hand
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_never_rounded_up_to_all() {
        let cases = [(1.0, "100.00 %"), (0.99999, "99.99 %"), (0.5, "50.00 %"), (0.0, "0.00 %")];
        for (part, expected) in cases {
            assert_eq!(percent(part), expected);
        }
    }
}
