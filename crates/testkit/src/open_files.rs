//! Room for tests that hold thousands of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lifts this process's limit of open files as far as it may without privileges, for itself and the children it starts
/// from then on, and returns it. A limit that cannot be read or set stays as it is: the test then fails for want of files.
pub fn lift_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let lifted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, lifted).is_ok() { limit.maximum } else { limit.current };
    // None is how rustix says "unlimited".
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_lifted() {
        assert!(lift_limit() >= 1024);
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
