//! Sizes and durations as people write them: `10GB`, `512KiB`, `24h`, `30d`.

use std::fmt;
use std::time::Duration;

/// Why a text isn't an amount. Displays an example of what would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AmountError {
    /// Not a size in bytes.
    Size(String),
    /// Not a duration.
    Duration(String),
    /// Larger than can be counted.
    TooLarge(String),
}

impl fmt::Display for AmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(given) => write!(
                f,
                "{given:?} is not a size: write a number of bytes or one with a unit, such as 500MB, 10GB, 1.5TB (powers of 1000) or 10GiB (powers of 1024)"
            ),
            Self::Duration(given) => {
                write!(f, "{given:?} is not a duration: write a number with a unit, such as 30s, 10m, 24h, 30d or 2w")
            }
            Self::TooLarge(given) => write!(f, "{given:?} is too large to count"),
        }
    }
}

impl std::error::Error for AmountError {}

/// A number of bytes that displays with the largest decimal unit that keeps it exact to three digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

const DECIMAL: [(&str, u64); 6] = [
    ("EB", 1_000_000_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];
const BINARY: [(&str, u64); 6] =
    [("EiB", 1 << 60), ("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for ByteSize {
    /// `10GB` and `64KiB` are exact; anything else is rounded to three digits (`12.3MB`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let exact = |units: &[(&'static str, u64)]| {
            units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)).map(|(name, unit)| (bytes / unit, *name))
        };
        // 10737418240 is ten GiB, and 10.7 GB only roughly.
        if let Some((count, name)) =
            exact(&DECIMAL).filter(|(count, _)| *count < 1_000).or_else(|| exact(&BINARY).filter(|(count, _)| *count < 1_024))
        {
            return f.pad(&format!("{count}{name}"));
        }
        let Some((name, unit)) = DECIMAL.iter().find(|(_, unit)| bytes >= *unit) else {
            return f.pad(&format!("{bytes}B"));
        };
        // Two integer divisions instead of a float: a quota of 2^63 keeps its digits.
        let tenths = u128::from(bytes) * 100 / u128::from(*unit);
        let (whole, part) = (tenths / 100, tenths % 100);
        let text = match whole {
            0..10 => format!("{whole}.{part:02}{name}"),
            10..100 => format!("{whole}.{}{name}", part / 10),
            _ => format!("{whole}{name}"),
        };
        f.pad(&text)
    }
}

/// Splits `1.5GB` into its number (as a fraction of two integers) and its unit.
fn number_and_unit(text: &str) -> Option<(u128, u128, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // Twelve decimals are more than an exabyte needs to be exact, and nothing overflows.
    if whole.is_empty() || whole.len() > 24 || part.len() > 12 || (number.contains('.') && part.is_empty()) {
        return None;
    }
    let whole = whole.replace('_', "");
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let fraction = if part.is_empty() { 0 } else { part.parse::<u128>().ok()? };
    let numerator = whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(fraction)?;
    Some((numerator, scale, unit.trim()))
}

/// Parses a size in bytes: a plain number, decimal units (`kB`, `MB`, `GB`, `TB`, `PB`, `EB`; 1 GB = 10^9) or binary ones
/// (`KiB` …; 1 GiB = 2^30). Units are case-insensitive, `B` may be left out, fractions are allowed.
pub fn parse_bytes(text: &str) -> Result<u64, AmountError> {
    let wrong = || AmountError::Size(shortened(text));
    let (numerator, scale, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "p" | "pb" => 1_000_000_000_000_000,
        "e" | "eb" => 1_000_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        "ei" | "eib" => 1 << 60,
        _ => return Err(wrong()),
    };
    let too_large = || AmountError::TooLarge(shortened(text));
    let bytes = numerator.checked_mul(unit).ok_or_else(too_large)? / scale;
    u64::try_from(bytes).map_err(|_| too_large())
}

/// Parses a speed in bytes per second: a size, optionally followed by `/s`.
pub fn parse_speed(text: &str) -> Result<u64, AmountError> {
    parse_bytes(text.trim().strip_suffix("/s").unwrap_or(text))
}

/// Parses a duration: whole or fractional numbers of `s`, `m`, `h`, `d` or `w` (`90s`, `1.5h`), or several in a row (`1h30m`).
pub fn parse_duration(text: &str) -> Result<Duration, AmountError> {
    let wrong = || AmountError::Duration(shortened(text));
    let too_large = || AmountError::TooLarge(shortened(text));
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut milliseconds: u128 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let after = rest[unit_at..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| unit_at + at);
        let (numerator, scale, unit) = number_and_unit(&rest[..after]).ok_or_else(wrong)?;
        let unit: u128 = match unit {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        milliseconds += numerator.checked_mul(unit).ok_or_else(too_large)? / scale;
        rest = rest[after..].trim_start();
    }
    // A thousand years: beyond it timestamps overflow, and nobody means it.
    if milliseconds > 1_000 * 366 * 86_400_000 {
        return Err(too_large());
    }
    u64::try_from(milliseconds).map(Duration::from_millis).map_err(|_| too_large())
}

/// A duration as [`parse_duration`] reads it, in its largest exact units (`1h30m`).
pub fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (name, unit) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    let milliseconds = duration.subsec_millis();
    if milliseconds > 0 || text.is_empty() {
        text.push_str(&if milliseconds > 0 { format!("{milliseconds}ms") } else { "0s".to_owned() });
    }
    text
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases: [(&str, Option<u64>); 24] = [
            ("0", Some(0)),
            ("1000", Some(1_000)),
            ("10_000", Some(10_000)),
            ("10GB", Some(10_000_000_000)),
            ("10gb", Some(10_000_000_000)),
            ("10 GB", Some(10_000_000_000)),
            ("10G", Some(10_000_000_000)),
            ("10GiB", Some(10_737_418_240)),
            ("10Gi", Some(10_737_418_240)),
            ("1.5TB", Some(1_500_000_000_000)),
            ("0.1GB", Some(100_000_000)),
            ("64KiB", Some(65_536)),
            ("7B", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("19EB", None),
            ("999999999999999999999999EB", None),
            ("", None),
            ("GB", None),
            ("-1GB", None),
            ("1.GB", None),
            ("1..5GB", None),
            ("ten", None),
            ("10XB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text).ok(), expected, "{text:?}");
        }
        assert_eq!(parse_speed("1MB/s"), Ok(1_000_000));
        assert_eq!(parse_speed("250000"), Ok(250_000));
    }

    #[test]
    fn sizes_print_and_read_back() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_536, "1.53kB"),
            (65_536, "64KiB"),
            (10_000_000_000, "10GB"),
            (10_737_418_240, "10GiB"),
            (12_345_678, "12.3MB"),
            (123_456_789, "123MB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ByteSize(bytes).to_string(), expected);
            assert!(parse_bytes(expected).is_ok(), "{expected} reads back");
        }
    }

    #[test]
    fn durations() {
        let cases: [(&str, Option<u64>); 17] = [
            ("30s", Some(30)),
            ("10m", Some(600)),
            ("1h", Some(3_600)),
            ("24h", Some(86_400)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
            ("1.5h", Some(5_400)),
            ("1h30m", Some(5_400)),
            ("1h 30m", Some(5_400)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("h", None),
            ("-1h", None),
            ("1y", None),
            ("99999999999d", None),
            ("1h30", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text).ok().map(|duration| duration.as_secs()), expected, "{text:?}");
        }
        for text in ["1h30m", "1d", "45s", "0s", "250ms"] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), Ok(text));
        }
    }
}
