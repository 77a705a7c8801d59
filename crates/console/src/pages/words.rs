//! Numbers, sizes and times as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1 234 567`, with narrow spaces that don't break.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1.25 GB`: three digits, decimal units as plans have them.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `12.5 MB/s`.
pub(super) fn speed(per_second: f64) -> String {
    scaled(per_second, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
}

/// `0.25`, `12.5`, `1 250`: per second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        none if none <= 0.0 => "0".to_owned(),
        small if small < 0.01 => "< 0.01".to_owned(),
        large if large >= 1_000.0 => count(large.round() as u64),
        between => digits(between),
    }
}

fn scaled(mut number: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let whole = number < 1_000.0 && number.fract() == 0.0;
    while number >= 999.5 {
        let Some(larger) = units.next() else { break };
        (number, unit) = (number / 1_000.0, larger);
    }
    if whole { format!("{number:.0}\u{a0}{unit}") } else { format!("{}\u{a0}{unit}", digits(number)) }
}

/// Three digits that count, no trailing zeros behind the point.
fn digits(number: f64) -> String {
    let text = match number {
        large if large >= 99.95 => format!("{number:.0}"),
        tens if tens >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `0.35 ms`, `42 ms`, `1.5 s`, `3 min 20 s`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 if seconds == 0.0 => "0\u{a0}ms".to_owned(),
        0 => format!("{}\u{a0}ms", digits(seconds * 1_000.0)),
        1..60 => format!("{}\u{a0}s", digits(seconds)),
        _ => long(duration),
    }
}

/// `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`: the two largest units.
pub(super) fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, of: &str, small: u64, and: &str| match small {
        0 => format!("{large}\u{a0}{of}"),
        _ => format!("{large}\u{a0}{of} {small}\u{a0}{and}"),
    };
    match seconds {
        0..60 => format!("{seconds}\u{a0}s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// How long before `now`.
pub(super) fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// `2026-11-21 18:31:04`; everything is in UTC, which the pages say.
pub(super) fn moment(at: Timestamp) -> String {
    written(at, "%Y-%m-%d %H:%M:%S")
}

/// `18:31`.
pub(super) fn clock(at: Timestamp) -> String {
    written(at, "%H:%M")
}

/// `21 Nov`.
pub(super) fn day(at: Timestamp) -> String {
    written(at, "%-d %b")
}

fn written(at: Timestamp, format: &str) -> String {
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// `99.95 %`, never rounded up to 100.
pub(super) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        all if all >= 100.0 => "100\u{a0}%".to_owned(),
        high if high > 99.0 => format!("{:.2}\u{a0}%", (high * 100.0).floor() / 100.0),
        low => format!("{}\u{a0}%", digits(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        let plain = |text: String| text.replace(['\u{a0}', '\u{202f}'], " ");
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds);
        let cases = [
            (count(0), "0"),
            (count(999), "999"),
            (count(1_234_567), "1 234 567"),
            (bytes(0), "0 B"),
            (bytes(999), "999 B"),
            (bytes(1_000), "1 kB"),
            (bytes(1_250_000_000), "1.25 GB"),
            (bytes(999_999), "1 MB"),
            (bytes(u64::MAX), "18.4 EB"),
            (speed(0.5), "0.5 B/s"),
            (speed(12_345_678.0), "12.3 MB/s"),
            (rate(0.0), "0"),
            (rate(0.001), "< 0.01"),
            (rate(12.345), "12.3"),
            (rate(12_345.6), "12 346"),
            (duration(Duration::ZERO), "0 ms"),
            (duration(seconds(0.000_35)), "0.35 ms"),
            (duration(seconds(0.042)), "42 ms"),
            (duration(seconds(1.5)), "1.5 s"),
            (duration(seconds(200.0)), "3 min 20 s"),
            (long(seconds(7_500.0)), "2 h 5 min"),
            (long(seconds(86_400.0)), "1 d"),
            (percent(1.0), "100 %"),
            (percent(0.999_99), "99.99 %"),
            (percent(0.125), "12.5 %"),
            (percent(0.0), "0 %"),
        ];
        for (shown, expected) in cases {
            assert_eq!(plain(shown), expected);
        }
        let at: Timestamp = "2026-11-21T08:05:09Z".parse().unwrap();
        assert_eq!((moment(at), clock(at), day(at)), ("2026-11-21 08:05:09".into(), "08:05".into(), "21 Nov".into()));
    }
}
