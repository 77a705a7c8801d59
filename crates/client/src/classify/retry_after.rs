//! `Retry-After` as it is really sent: seconds, the three forms of an HTTP date, several of them, and nonsense.

use std::time::{Duration, SystemTime};

use crate::classify::{Fields, Wait};

/// The wait that an answer names, if it names one that can be read. Of several the longest in its own kind, and dates only
/// where there are no seconds: who sends both means the same moment, and seconds don't depend on two clocks.
pub fn retry_after(headers: Fields<'_>) -> Option<Wait> {
    let values = headers.all("Retry-After");
    let seconds = values.iter().flat_map(|value| value.split(',')).filter_map(seconds).max();
    let date = || values.iter().filter_map(|value| date(value)).max();
    seconds.map(Wait::For).or_else(|| date().map(Wait::Until))
}

/// Whole seconds; a fraction is rounded up, a unit of seconds is read over. A number too large for any clock is the
/// longest wait there is, because its sender means "long", not "at once".
fn seconds(value: &str) -> Option<Duration> {
    let value = value.trim().trim_matches('"').trim();
    let value = value.strip_suffix("seconds").or_else(|| value.strip_suffix('s')).unwrap_or(value).trim_end();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let up = u64::from(fraction.bytes().any(|b| b != b'0'));
    Some(Duration::from_secs(whole.parse::<u64>().map_or(u64::MAX, |whole| whole.saturating_add(up))))
}

/// IMF-fixdate, RFC 850 and asctime (RFC 9110 section 5.6.7).
fn date(value: &str) -> Option<jiff::Timestamp> {
    let then: SystemTime = httpdate::parse_http_date(value.trim().trim_matches('"')).ok()?;
    jiff::Timestamp::try_from(then).ok()
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use crate::classify::{Fields, Wait};
    use std::time::Duration;

    fn read(values: &[&str]) -> Option<Wait> {
        let list: Vec<_> = values.iter().map(|value| ("Retry-After".to_owned(), (*value).to_owned())).collect();
        retry_after(Fields::List(&list))
    }

    #[test]
    fn every_form() {
        let secs = |n| Some(Wait::For(Duration::from_secs(n)));
        let then = Some(Wait::Until("1994-11-06T08:49:37Z".parse().expect("a timestamp")));
        let cases: &[(&[&str], Option<Wait>)] = &[
            (&["120"], secs(120)),
            (&[" 0 "], secs(0)),
            (&["1.2"], secs(2)),
            (&["\"30\""], secs(30)),
            (&["30s"], secs(30)),
            (&["99999999999999999999999"], secs(u64::MAX)),
            (&["Sun, 06 Nov 1994 08:49:37 GMT"], then),
            (&["Sunday, 06-Nov-94 08:49:37 GMT"], then),
            (&["Sun Nov  6 08:49:37 1994"], then),
            (&["5", "120", "x"], secs(120)),
            (&["5, 120"], secs(120)),
            (&["Sun, 06 Nov 1994 08:49:37 GMT", "7"], secs(7)),
            (&["-5"], None),
            (&["soon"], None),
            (&[""], None),
            (&["1e3"], None),
            (&[], None),
        ];
        for (values, expected) in cases {
            assert_eq!(read(values), *expected, "{values:?}");
        }
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        let wait = read(&["Sun, 06 Nov 1994 08:49:37 GMT"]).expect("a date");
        assert_eq!(wait.after(now), Duration::ZERO);
        let wait = read(&["Thu, 01 Jan 2026 00:01:00 GMT"]).expect("a date");
        assert_eq!(wait.after(now), Duration::from_secs(60));
    }
}
