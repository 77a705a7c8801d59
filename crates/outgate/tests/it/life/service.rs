//! What a service manager hears of a gateway, from ready to stopping.

use outgate_testkit::daemon::Signal;
use outgate_testkit::service_manager::ServiceManager;

use super::Home;

const ONE: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

#[test]
fn a_service_manager_hears_of_every_step() {
    let mut home = Home::new();
    let manager = ServiceManager::start();
    home.write(ONE);
    let environment = [("NOTIFY_SOCKET", manager.path()), ("WATCHDOG_USEC", "300000")];
    let mut gateway = home.start_with(&["--no-watch"], &environment);
    let ready = manager.told("READY=1");
    assert_eq!(ready, format!("READY=1\nSTATUS=listening on {}", gateway.listeners[0]));
    assert_eq!(manager.told("WATCHDOG"), "WATCHDOG=1");

    gateway.reload();
    let reloading = manager.told("RELOADING=1");
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|usec| usec.parse::<u64>().ok());
    assert!(at.is_some_and(|at| at > 0), "{reloading}");
    assert_eq!(manager.told("READY=1"), "READY=1\nSTATUS=reloaded");

    home.write("workers = 0\n");
    gateway.daemon.signal(Signal::HUP);
    let as_before = manager.told("READY=1");
    assert!(as_before.contains("STATUS=not reloaded, as before: ") && as_before.contains("workers: a number"), "{as_before}");
    assert_eq!(as_before.lines().count(), 2, "{as_before}");

    gateway.daemon.signal(Signal::TERM);
    let stopping = manager.told("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=40000000"), "{stopping}");
    assert!(gateway.daemon.wait().success());
}
