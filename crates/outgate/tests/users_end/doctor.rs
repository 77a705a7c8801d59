//! `outgate doctor` against proxies of other makes, each really broken in several ways: the verdict must be right each time.

mod dante;
mod mitmproxy;
mod own;
mod squid;
mod tinyproxy;
mod urls;

use std::process::Command;

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::origin::Origin;
use serde_json::Value;

use crate::OUTGATE;

/// A neutral target in clear and a real one in TLS, both of this machine, and an authority that the doctor is told to believe.
struct Ward {
    ca: Ca,
    neutral: Origin,
    target: Origin,
}

/// What the doctor said.
struct Visit {
    code: Option<i32>,
    report: Value,
    stderr: String,
}

impl Ward {
    fn new() -> Self {
        let ca = Ca::new();
        let target = Origin::start_tls(ca.server(&["localhost", "127.0.0.1"], Validity::Current, &["http/1.1"]));
        Self { ca, neutral: Origin::start(), target }
    }

    /// The target, by its name.
    fn target(&self) -> String {
        format!("https://localhost:{}/ok", self.target.address().port())
    }

    /// The neutral target, by its name.
    fn neutral(&self) -> String {
        format!("http://localhost:{}/ok", self.neutral.address().port())
    }

    fn target_port(&self) -> u16 {
        self.target.address().port()
    }

    /// Examines a proxy, with these arguments besides.
    fn examine(&self, proxy: &str, more: &[&str]) -> Visit {
        let ca = self.ca.pem_path().to_str().expect("temporary paths are UTF-8");
        let (target, neutral) = (self.target(), self.neutral());
        let mut arguments = vec!["doctor", "--json"];
        // What is given twice would be refused.
        let usual =
            [("--ca", ca), ("--target", target.as_str()), ("--neutral", &neutral), ("--samples", "3"), ("--timeout", "5s")];
        for (flag, value) in usual {
            if !more.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        arguments.extend(more);
        // The URL goes by the environment, as the help advises: no process list shows it.
        let output = Command::new(OUTGATE).args(&arguments).env("OUTGATE_DOCTOR_PROXY", proxy).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{stderr}"));
        Visit { code: output.status.code(), report, stderr }
    }
}

impl Visit {
    /// Holds the verdict against what it must be: `NAME whose`, or `healthy`.
    #[track_caller]
    fn says(&self, expected: &str) -> &Self {
        self.says_one_of(&[expected])
    }

    /// One of these verdicts: which, depends on what else runs on this machine.
    #[track_caller]
    fn says_one_of(&self, expected: &[&str]) -> &Self {
        let verdict = &self.report["verdict"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let said = match text(&verdict["health"]).as_str() {
            "healthy" => "healthy".to_owned(),
            _ => format!("{} {}", text(&verdict["diagnosis"]["name"]), text(&verdict["diagnosis"]["whose"])),
        };
        assert!(expected.contains(&said.as_str()), "{said:?} is none of {expected:?}: {:#}\n{}", self.report, self.stderr);
        assert_eq!(self.code, Some(if said == "healthy" { 0 } else { 1 }), "{:#}", self.report);
        self
    }

    /// The verdict's step.
    #[track_caller]
    fn in_step(&self, step: u64) -> &Self {
        assert_eq!(self.report["verdict"]["step"], step, "{:#}", self.report);
        self
    }

    /// Something the report must contain somewhere.
    #[track_caller]
    fn mentions(&self, words: &str) -> &Self {
        assert!(self.report.to_string().contains(words), "{words:?} is not in {:#}", self.report);
        self
    }

    /// Something that must not be anywhere in it.
    #[track_caller]
    fn hides(&self, secret: &str) -> &Self {
        assert!(!self.report.to_string().contains(secret) && !self.stderr.contains(secret), "{secret:?} is in {:#}", self.report);
        self
    }
}
