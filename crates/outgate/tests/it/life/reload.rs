//! Reloads: what changes is seen by what comes next, what is open goes on, and a file with mistakes changes nothing.

use outgate_testkit::ca::Ca;
use outgate_testkit::daemon::Signal;
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::wait_for;
use outgate_testkit::wire::Wire;
use tokio::task::LocalSet;

use super::load::{Load, LongTunnel};
use super::{Home, field, get};

const ONE: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn listeners_come_go_and_change_under_load() {
    let mut home = Home::new();
    home.write(ONE);
    let gateway = home.start();
    let proxy = gateway.listeners[0];
    let through_reloads = async {
        let load = Load::start(proxy, home.credentials());
        let mut tunnel = LongTunnel::open(proxy, home.credentials()).await;
        load.goes_on().await;

        home.write(&format!("{ONE}[[listen]]\naddress = \"127.0.0.2:0\"\n"));
        let told = gateway.reload();
        let [second] = field(&told, "opened")[..] else { panic!("{told}") };
        assert!(told.contains("listen[1].address") && field(&told, "closed").is_empty(), "{told}");
        tunnel.carries().await;
        let mut on_second = LongTunnel::open(second, home.credentials()).await;
        let mut wire = Wire::connect(proxy).await.expect("it listens");
        let itself = get(&mut wire, &format!("http://{second}/"), home.credentials()).await;
        assert_eq!(itself.header("X-Proxy-Error"), Some("loop_detected"), "the new listener is one of ours");
        load.goes_on().await;

        home.write(&format!(
            "timeouts.idle = \"5m\"\n{ONE}dialect = \"rfc\"\n[[listen]]\naddress = \"127.0.0.2:0\"\nprotocols = [\"http\"]\n"
        ));
        let told = gateway.reload();
        for changed in ["listen[0].dialect", "listen[1].protocols", "timeouts.idle", "opened=\"\"", "closed=\"\""] {
            assert!(told.contains(changed), "{changed}: {told}");
        }
        load.goes_on().await;

        home.write(ONE);
        let told = gateway.reload();
        assert_eq!((field(&told, "closed"), field(&told, "opened").len()), (vec![second], 0), "{told}");
        assert!(Wire::connect(second).await.is_err(), "nobody listens there any more");
        on_second.carries().await;
        load.goes_on().await;

        assert!(gateway.reload().contains("nothing has changed"));
        load.goes_on().await;
        tunnel.carries().await;
        load.end().await
    };
    let failed = LocalSet::new().run_until(through_reloads).await;
    assert!(failed.is_empty(), "{failed:#?}");
    let said = gateway.stop();
    assert!(!said.contains("ERROR"), "{said}");
}

/// The next request of a kept connection goes by the new policy; the dialect is that of the connection.
#[tokio::test]
async fn policy_and_dialect_of_what_comes_next() {
    let mut home = Home::new();
    let origin = Origin::start();
    home.write(ONE);
    let gateway = home.start();
    let mut kept = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    assert_eq!(get(&mut kept, &origin.url("/ok"), home.credentials()).await.status, 200);
    home.write(&format!(
        "{ONE}dialect = \"house\"\n[dialects.house]\nbase = \"rfc\"\nfaults.target_denied.status = 451\n\
         [[policy.rules]]\nname = \"closed\"\neffect = \"deny\"\nports = [\"{}\"]\n",
        origin.address().port()
    ));
    let told = gateway.reload();
    assert!(told.contains("policy.rules[0].name") && told.contains("dialects.house.base"), "{told}");
    assert_eq!(get(&mut kept, &origin.url("/ok"), home.credentials()).await.status, 403);
    let mut new = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    assert_eq!(get(&mut new, &origin.url("/ok"), home.credentials()).await.status, 451);
}

/// A change in a dialect alone, in a certificate alone: each is found, put in force and named.
#[tokio::test]
async fn every_kind_of_change_is_found() {
    let mut home = Home::new();
    let refusing = RefusingPort::reserve();
    let (ca, folder) = (Ca::new(), tempfile::TempDir::new().expect("a folder"));
    let (certificate, key) = ca.server_files(&["old.test"], folder.path());
    let listen = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ndialect = \"mine\"\n[[listen]]\naddress = \"127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        certificate.display(),
        key.display()
    );
    let dialect = |status: u16| format!("{listen}[dialects.mine]\nbase = \"outgate\"\nfaults.target_refused.status = {status}\n");
    home.write(&dialect(502));
    let gateway = home.start();
    let url = format!("http://{}/", refusing.address());
    for status in [521, 522] {
        home.write(&dialect(status));
        assert!(gateway.reload().contains("changed=\"dialects.mine.faults.target_refused.status\""));
        let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
        assert_eq!(get(&mut wire, &url, home.credentials()).await.status, status);
    }

    let _same_files = ca.server_files(&["new.test"], folder.path());
    let told = gateway.reload();
    assert!(told.contains("listen[1].certificate") && told.contains("listen[1].key"), "{told}");
    let wire = Wire::connect(gateway.listeners[1]).await.expect("it listens");
    assert!(wire.tls("new.test", ca.client(&[])).await.is_ok());

    assert!(gateway.reload().contains("nothing has changed"));
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_names_them_all() {
    let mut home = Home::new();
    home.write(ONE);
    let gateway = home.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let in_use = taken.local_addr().expect("bound");
    let rows = [
        (
            format!("{ONE}dialekt = \"rfc\"\n[timeouts]\nidle = \"soon\"\n"),
            vec!["listen[0].dialekt: unknown key", "timeouts.idle:"],
        ),
        ("limits.connections = 1\n".to_owned(), vec!["there is no listener"]),
        // The file is fine, the machine says no: the first listener, the limit and the policy stay as they are, too.
        (
            format!("limits.connections = 1\n[[listen]]\naddress = \"127.0.0.3:0\"\n[[listen]]\naddress = \"{in_use}\"\n"),
            vec!["can't listen on"],
        ),
    ];
    for (text, problems) in rows {
        home.write(&text);
        gateway.daemon.signal(Signal::HUP);
        for problem in problems {
            let told = || gateway.daemon.stderr().lines().any(|line| line.contains("was not reloaded") && line.contains(problem));
            wait_for(problem, || told().then_some(()));
        }
        let (mut one, mut other) = (
            Wire::connect(gateway.listeners[0]).await.expect("it listens"),
            Wire::connect(gateway.listeners[0]).await.expect("it listens"),
        );
        for wire in [&mut one, &mut other] {
            assert_eq!(get(wire, "http://echo.outgate/", home.credentials()).await.status, 200);
        }
    }
    home.write(ONE);
    assert!(gateway.reload().contains("nothing has changed"), "the mistakes left nothing behind");
}

#[tokio::test]
async fn a_changed_file_is_enough() {
    let mut home = Home::new();
    home.write(ONE);
    let gateway = home.start_with(&[], &[]);
    home.write(&format!("policy.default = \"deny\"\n{ONE}"));
    let told = wait_for("the reload", || gateway.reloads().pop());
    assert!(told.contains("changed=\"policy.default\""), "{told}");
    let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    assert_eq!(get(&mut wire, "http://127.0.0.1:1024/", home.credentials()).await.status, 403);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_applied() {
    let mut home = Home::new();
    home.write(ONE);
    let gateway = home.start();
    home.write(&format!("name = \"other\"\nworkers = 3\nfleet.eject_after = 9\nlimits.request_head = \"3KiB\"\n{ONE}"));
    for _again in 0..2 {
        let told = gateway.reload();
        assert!(told.contains("changed=\"limits.request_head\"") || told.contains("nothing has changed"), "{told}");
        let said = || gateway.daemon.stderr().matches("settings=\"fleet.eject_after, name, workers\"").count();
        wait_for("the settings by name, each time", || (said() == gateway.reloads().len()).then_some(()));
    }
    let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    let long = format!("http://echo.outgate/{}", "x".repeat(3100));
    assert_eq!(get(&mut wire, &long, home.credentials()).await.status, 431);
}
