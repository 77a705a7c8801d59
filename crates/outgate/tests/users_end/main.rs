//! The user's end from outside: the real binary, real sockets, throw-away proxies and targets.

mod doctor;
mod explain;
mod provocations;
mod relay;

/// The binary under test.
const OUTGATE: &str = env!("CARGO_BIN_EXE_outgate");

/// The binary explains a fault that only the user's end can see.
#[test]
fn faults_of_the_users_end_have_pages() {
    let output = std::process::Command::new(OUTGATE).args(["explain", "proxy_refused"]).output().expect("the binary runs");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused the connection"));
}
