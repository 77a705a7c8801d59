//! This machine's clock against everybody else's: a wrong one makes certificates, tokens and dates in `Retry-After` fail.

use jiff::{SignedDuration, Timestamp};

use crate::chart::Chart;
use crate::checks::Check;
use crate::diagnosis::{Diagnosis, Harm, Whose};
use crate::exchange::Exchange;
use crate::report::{Finding, State};
use crate::thresholds::{self, Phase};

/// One server's clock: who, and by how much this machine is behind it.
struct Reading {
    who: String,
    behind: SignedDuration,
}

pub(crate) fn clock(chart: &Chart<'_>) -> Finding {
    let mut readings: Vec<Reading> = Vec::new();
    let mut read = |who: String, exchange: Option<&Exchange>| {
        // One server that is asked twice is still one.
        if let Some(behind) = exchange.and_then(behind)
            && !readings.iter().any(|reading| reading.who == who)
        {
            readings.push(Reading { who, behind });
        }
    };
    read(chart.proxy(), chart.hello.as_ref());
    read(chart.case.neutral.target.host().to_owned(), chart.neutral_direct.as_ref().or(chart.neutral.as_ref()));
    if let Some(target) = &chart.case.target {
        read(target.target.host().to_owned(), chart.target_direct.as_ref().or(chart.target.as_ref()));
    }
    judge(&readings)
}

/// By how much this machine's clock is behind the answer's `Date`.
fn behind(exchange: &Exchange) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(exchange.reply()?.header("date")?).ok()?;
    let date = Timestamp::try_from(date).ok()?;
    // The answer was written somewhere between asking and having it.
    let half = exchange.time(Phase::Total).unwrap_or_default() / 2;
    let middle = exchange.at.checked_add(SignedDuration::try_from(half).ok()?).ok()?;
    Some(date.duration_since(middle))
}

fn judge(readings: &[Reading]) -> Finding {
    let off = |reading: &&Reading| reading.behind.unsigned_abs() > thresholds::CLOCK_REMARK;
    let wrong: Vec<&Reading> = readings.iter().filter(off).collect();
    if readings.is_empty() {
        return Finding::new(Check::Clock, State::NotNeeded, "nobody said what time it is");
    }
    let words = |reading: &Reading| {
        let way = if reading.behind.is_negative() { "ahead of" } else { "behind" };
        format!("{} s {way} {}", reading.behind.unsigned_abs().as_secs(), reading.who)
    };
    let Some(first) = wrong.first() else {
        return Finding::new(
            Check::Clock,
            State::Good,
            format!("agrees with {} other{}", readings.len(), if readings.len() == 1 { "" } else { "s" }),
        );
    };
    let list: Vec<String> = wrong.iter().map(|reading| words(reading)).collect();
    let finding = Finding::new(Check::Clock, State::Remark, format!("this machine's clock is {}", list.join(", ")));
    // One who differs from everybody may be wrong itself; where all differ in one direction, it is this machine.
    let agreed = wrong.len() == readings.len()
        && wrong.len() > 1
        && wrong.iter().all(|other| other.behind.is_negative() == first.behind.is_negative());
    if !agreed {
        return finding.detail("only one clock to compare with, or the others agree with this one: it may be theirs");
    }
    let badly = first.behind.unsigned_abs() > thresholds::CLOCK_WRONG;
    let sentence = format!("this machine's clock is wrong: {}", list.join(", "));
    finding.points_to(
        Diagnosis::own(
            "clock_skew",
            None,
            Whose::You,
            sentence,
            "Set the clock (timedatectl set-ntp true). A wrong one makes certificates look expired or not valid yet, and signed or \
             dated requests fail.",
        )
        .harming(if badly { Harm::Impaired } else { Harm::Remark }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_clock_is_wrong() {
        let of = |seconds: &[i64]| {
            let readings: Vec<Reading> = seconds
                .iter()
                .enumerate()
                .map(|(number, seconds)| Reading { who: format!("host{number}"), behind: SignedDuration::from_secs(*seconds) })
                .collect();
            let finding = judge(&readings);
            (finding.state, finding.diagnosis.map(|diagnosis| diagnosis.harm))
        };
        assert_eq!(of(&[]), (State::NotNeeded, None));
        assert_eq!(of(&[0, 2, -3]), (State::Good, None));
        assert_eq!(of(&[4000]), (State::Remark, None), "one witness is not enough");
        assert_eq!(of(&[0, 4000]), (State::Remark, None), "the other's clock");
        assert_eq!(of(&[4000, -4000]), (State::Remark, None));
        assert_eq!(of(&[90, 91]), (State::Remark, Some(Harm::Remark)));
        assert_eq!(of(&[-4000, -3999, -4001]), (State::Remark, Some(Harm::Impaired)));
    }
}
