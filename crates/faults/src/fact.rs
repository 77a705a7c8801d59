//! Facts: values made harmless before they reach any output.
//!
//! A fact may come from the caller (a host, a modifier), so it is treated as hostile. What is left is one line of at most
//! [`LONGEST`] bytes of printable ASCII without `"` and `\`: safe in a header, a one-line body, a quoted string, a log line.

use std::fmt::{self, Display, Write};

/// The most bytes a fact keeps.
pub const LONGEST: usize = 120;

/// What a longer fact ends in.
const CUT: &str = "...";

/// Renders a value as a fact. A value of any length costs at most [`LONGEST`] bytes.
pub fn render(value: impl Display) -> String {
    bounded(value, LONGEST)
}

/// Renders a value as printable ASCII of at most `longest` bytes; `"` becomes `'`, every other unsafe character `?`.
pub(crate) fn bounded(value: impl Display, longest: usize) -> String {
    let mut out = Harmless { text: String::new(), longest, cut: false };
    // An error here is our own signal that the text is full; a value that fails to render keeps what it wrote.
    let _ = write!(out, "{value}");
    let Harmless { mut text, cut, .. } = out;
    if cut {
        text.truncate(longest.saturating_sub(CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// A wait as a fact: whole seconds, or one decimal where they would say too little (`0.3`).
pub struct Seconds(pub std::time::Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(wait) = self;
        if wait.subsec_millis() < 50 || wait.as_secs() >= 10 {
            write!(f, "{}", wait.as_secs())
        } else {
            write!(f, "{:.1}", wait.as_secs_f64())
        }
    }
}

struct Harmless {
    text: String,
    longest: usize,
    cut: bool,
}

impl Write for Harmless {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        for c in words.chars() {
            if self.text.len() == self.longest {
                self.cut = true;
                return Err(fmt::Error);
            }
            self.text.push(match c {
                '"' => '\'',
                '\\' => '?',
                ' '..='~' => c,
                _ => '?',
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, render};

    #[test]
    fn hostile_values_become_one_harmless_line() {
        let cases = [
            ("plain text, 80", "plain text, 80"),
            ("a\r\nSet-Cookie: x=1", "a??Set-Cookie: x=1"),
            (r#"say "hi" \"#, "say 'hi' ?"),
            ("caf\u{e9} \u{1f980}\0\u{7f}", "caf? ???"),
        ];
        for (input, expected) in cases {
            assert_eq!(render(input), expected);
        }
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        assert_eq!(render("x".repeat(LONGEST)), "x".repeat(LONGEST));
        let cut = render("x".repeat(10_000));
        assert_eq!(cut.len(), LONGEST);
        assert!(cut.ends_with("x..."));
    }
}
