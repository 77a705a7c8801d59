//! Times as RFC 3339 with milliseconds. Most requests share their second with the one before.

use jiff::Timestamp;

/// Writes times, and keeps the text of the last one.
#[derive(Default)]
pub(crate) struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    pub(crate) fn show(&mut self, time: Timestamp) -> &str {
        let (second, millisecond) = (time.as_second(), time.subsec_millisecond());
        if self.second != second || self.text.is_empty() || millisecond < 0 {
            (self.second, self.text) = (second, format!("{time:.3}"));
            return &self.text;
        }
        // …:SS.mmmZ
        self.text.truncate(self.text.len() - "mmmZ".len());
        for unit in [100, 10, 1] {
            self.text.push(char::from(b'0' + (millisecond / unit % 10) as u8));
        }
        self.text.push('Z');
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_whatever_came_before() {
        let mut clock = Clock::default();
        for time in ["2026-01-02T03:04:05.006Z", "2026-01-02T03:04:05.999Z", "2026-01-02T03:04:06Z", "2026-01-02T03:04:06.1Z"] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(clock.show(time), format!("{time:.3}"));
        }
        let truncated: Timestamp = "2026-01-02T03:04:06.9999Z".parse().unwrap();
        assert_eq!(clock.show(truncated), "2026-01-02T03:04:06.999Z");
    }
}
