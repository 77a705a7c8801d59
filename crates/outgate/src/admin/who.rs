//! The name that a command claims for the audit trail.

/// `OUTGATE_WHO`, else the user of this machine; through sudo, the one who called it. `None` where nothing usable is said.
pub(super) fn claimed() -> Option<String> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = || ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(said);
    let user = || user().unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    usable(&said("OUTGATE_WHO").unwrap_or_else(|| format!("{}@{}", user(), host().trim())))
}

/// What a header and a line of a list can carry, as far as the gateway takes it.
fn usable(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod unit {
    use super::usable;

    #[test]
    fn names_fit_a_line() {
        let long = "x".repeat(200);
        let cases = [("alice@laptop", Some("alice@laptop")), ("a\r\nb", Some("ab")), (" ", None), (&long, Some(&long[..100]))];
        for (name, expected) in cases {
            assert_eq!(usable(name).as_deref(), expected, "{name:?}");
        }
    }
}
