//! What an exit shows on stdout: a status line that is rewritten in place on a terminal; else only lines of what happens.

use std::io::Write;
use std::time::Instant;

use outgate_exit::{Phase, Status};

/// Where the terminal's width is not known.
const WIDTH: usize = 80;

/// Standard output.
pub(super) struct Screen {
    terminal: bool,
    /// A status line stands where the next line would begin.
    shown: bool,
    last: Option<(Instant, u64)>,
    line: String,
}

impl Screen {
    pub(super) fn new(terminal: bool) -> Screen {
        Screen { terminal, shown: false, last: None, line: String::new() }
    }

    /// A line that stays; the status line moves below it.
    pub(super) fn line(&mut self, text: &str) {
        let status = if self.shown { format!("\r\x1b[K{text}\n{}", self.line) } else { format!("{text}\n") };
        self.write(&status);
    }

    /// Rewrites the status line.
    pub(super) fn status(&mut self, status: &Status) {
        if !self.terminal {
            return;
        }
        let now = Instant::now();
        let moved = status.up + status.down;
        let rate = self.last.map(|(then, before)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            moved.saturating_sub(before) as f64 / seconds
        });
        self.last = Some((now, moved));
        let mut line = summary(status);
        if let Some(rate) = rate {
            line.push_str(&format!(" · {}/s", size(rate as u64)));
        }
        // A line that wraps could not be rewritten.
        self.line = line.chars().take(width().saturating_sub(1)).collect();
        let text = format!("\r\x1b[K{}", self.line);
        self.shown = true;
        self.write(&text);
    }

    /// Leaves the status line as it is.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write("\n");
        }
    }

    fn write(&mut self, text: &str) {
        let mut stdout = std::io::stdout();
        // A reader that has gone away has read enough.
        let _reader_gone = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// An exit's status in one line.
pub(super) fn summary(status: &Status) -> String {
    let mut line = match (&status.gateway, &status.exit_id) {
        (Some(gateway), Some(exit)) => format!("{gateway} · exit {exit}"),
        _ => "not linked yet".to_owned(),
    };
    line.push_str(&format!(" · {}/{} links", status.links, status.links_wanted));
    if let Some(rtt) = status.rtt {
        line.push_str(&format!(" · rtt {:.1} ms", rtt.as_secs_f64() * 1000.0));
    }
    let tunnels = if status.tunnels == 1 { "tunnel" } else { "tunnels" };
    line.push_str(&format!(" · {} {tunnels} · up {} · down {}", status.tunnels, size(status.up), size(status.down)));
    if status.phase != Phase::Serving {
        line.push_str(&format!(" · {}", status.phase));
    }
    line
}

/// Bytes in three digits: `0 B`, `999 B`, `1.23 kB`, `45.6 MB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    let decimals = match value {
        _ if unit == "B" => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_999, "10.0 kB"),
            (45_600_000, "45.6 MB"),
            (999_700, "1.00 MB"),
            (999_499, "999 kB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn the_line() {
        let mut status = Status { links_wanted: 2, ..Status::default() };
        assert_eq!(summary(&status), "not linked yet · 0/2 links · 0 tunnels · up 0 B · down 0 B");
        status.gateway = Some("gw".into());
        status.exit_id = Some("x1".into());
        (status.links, status.tunnels, status.up, status.down) = (2, 1, 1_230, 45_600_000);
        (status.rtt, status.phase) = (Some(Duration::from_micros(12_340)), Phase::Rotating);
        assert_eq!(summary(&status), "gw · exit x1 · 2/2 links · rtt 12.3 ms · 1 tunnel · up 1.23 kB · down 45.6 MB · rotating");
    }
}
