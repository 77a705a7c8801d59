//! Programs that can't be changed: wget and apt behind the relay, an upstream that fails three set-ups in ten.

use std::path::Path;
use std::process::{Command, Output};

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::daemon::Daemon;
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use tempfile::TempDir;

use crate::OUTGATE;

/// Files that are fetched one after the other.
const FILES: usize = 30;

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn relay(upstream: &FlakyProxy) -> RelayProcess {
    let quick = "[retry]\nbackoff_first = \"10ms\"\nbackoff_longest = \"100ms\"\n";
    RelayProcess::configured(OUTGATE, &format!("{quick}[[upstream]]\nurl = \"{}\"\n", upstream.url()))
}

/// How many of the files wget gets through a proxy, each with one try on a connection of its own.
fn fetched(proxy: &str, base: &str, ca: &Ca, folder: &Path) -> usize {
    let one = |number: usize| {
        let to = folder.join(number.to_string());
        let output = Command::new("wget")
            .args(["--quiet", "--tries=1", "--no-config", "--no-hsts", "--ca-certificate"])
            .arg(ca.pem_path())
            .arg("--output-document")
            .arg(&to)
            .arg(format!("{base}/bytes/{}", 1000 + number))
            .envs([("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", "")])
            .output()
            .expect("wget runs");
        output.status.success() && std::fs::metadata(&to).is_ok_and(|file| file.len() == 1000 + number as u64)
    };
    (0..FILES).filter(|number| one(*number)).count()
}

#[test]
fn wget_gets_everything_in_clear_and_through_tunnels() {
    if !has("wget") {
        return eprintln("wget is not installed");
    }
    let ca = Ca::new();
    let clear = Origin::start();
    let tls = Origin::start_tls(ca.server(&["localhost", "127.0.0.1"], Validity::Current, &[]));
    for base in [format!("http://{}", clear.address()), format!("https://127.0.0.1:{}", tls.address().port())] {
        let folder = TempDir::new().expect("a temporary folder");
        let upstream = FlakyProxy::start(|number, _| Fate::three_in_ten(number));
        let alone = fetched(&upstream.url(), &base, &ca, folder.path());
        assert_eq!(alone, FILES * 7 / 10, "{base}: without the relay, three in ten fail");
        let upstream = FlakyProxy::start(|number, _| Fate::three_in_ten(number));
        let relay = relay(&upstream);
        let behind = fetched(relay.url(), &base, &ca, folder.path());
        assert_eq!(
            behind,
            FILES,
            "{base}: behind the relay none does\n{:#?}",
            relay.records().iter().filter(|r| r["outcome"] != "ok").collect::<Vec<_>>()
        );
    }
}

/// A folder that apt takes for a repository: one package, and its index.
fn repository(folder: &Path) {
    let package = folder.join("package");
    std::fs::create_dir_all(package.join("DEBIAN")).expect("the folder is ours");
    std::fs::create_dir_all(package.join("usr/share/outgate-test")).expect("the folder is ours");
    let control = "Package: outgate-test\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: for a test\n";
    std::fs::write(package.join("DEBIAN/control"), control).expect("the folder is ours");
    std::fs::write(package.join("usr/share/outgate-test/content"), vec![b'x'; 100_000]).expect("the folder is ours");
    let file = folder.join("outgate-test_1.0_all.deb");
    ran("dpkg-deb", Command::new("dpkg-deb").arg("--root-owner-group").arg("-b").arg(&package).arg(&file).output());
    std::fs::remove_dir_all(&package).expect("the folder is ours");
    let size = std::fs::metadata(&file).expect("the package").len();
    let sum = ran("sha256sum", Command::new("sha256sum").arg(&file).output());
    let sum = String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_owned();
    let index = format!("{control}Filename: ./outgate-test_1.0_all.deb\nSize: {size}\nSHA256: {sum}\n\n");
    std::fs::write(folder.join("Packages"), index).expect("the folder is ours");
}

fn ran(what: &str, output: std::io::Result<Output>) -> Output {
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// apt with nothing of this machine's: its lists, cache and sources are in `folder`. It tries nothing twice.
fn apt(folder: &Path, repository: &str, proxy: &str, arguments: &[&str]) -> Output {
    let place = |name: &str| folder.join(name).display().to_string();
    for name in ["lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "got"] {
        std::fs::create_dir_all(folder.join(name)).expect("the folder is ours");
    }
    std::fs::write(folder.join("etc/sources.list"), format!("deb [trusted=yes] {repository} ./\n")).expect("the folder is ours");
    std::fs::write(folder.join("status"), "").expect("the folder is ours");
    let settings = [
        format!("Dir::Etc={}", place("etc")),
        "Dir::Etc::sourcelist=sources.list".to_owned(),
        "Dir::Etc::sourceparts=none".to_owned(),
        format!("Dir::State::lists={}", place("lists")),
        format!("Dir::State::status={}", place("status")),
        format!("Dir::Cache={}", place("cache")),
        format!("Acquire::http::Proxy={proxy}"),
        "Acquire::Retries=0".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "APT::Sandbox::User=".to_owned(),
    ];
    let mut command = Command::new("apt-get");
    for setting in &settings {
        command.args(["-o", setting]);
    }
    command.args(arguments).current_dir(folder.join("got")).env_remove("http_proxy").env("APT_CONFIG", "/dev/null");
    command.output().expect("apt-get runs")
}

#[test]
fn apt_updates_and_downloads() {
    if !has("apt-get") || !has("dpkg-deb") || !has("python3") {
        return eprintln("apt-get, dpkg-deb or python3 is not installed");
    }
    let served = TempDir::new().expect("a temporary folder");
    repository(served.path());
    let arguments = ["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"].map(std::ffi::OsString::from);
    let arguments: Vec<_> = arguments.into_iter().chain([served.path().into(), "0".into()]).collect();
    let mut server = Daemon::start("python3", &arguments, &[]);
    let port: u16 = server.line("the file server", |line| line.split("port ").nth(1)?.split(' ').next()?.parse().ok());
    let repository = format!("http://127.0.0.1:{port}/");
    // The first of every three fails: apt asks for several files, so without help it never gets them all. A reset apt would try
    // again by itself.
    let failing = || Fate::answer(502, "Bad Gateway", "X-Why: exit");
    let flaky = || FlakyProxy::start(move |number, _| if number % 3 == 0 { failing() } else { Fate::Serves });
    let get = |proxy: &str| {
        let folder = TempDir::new().expect("a temporary folder");
        let updated = apt(folder.path(), &repository, proxy, &["update", "--error-on=any"]);
        let downloaded = apt(folder.path(), &repository, proxy, &["download", "outgate-test"]);
        let told = [updated.stderr.as_slice(), &downloaded.stderr].concat();
        (
            folder.path().join("got/outgate-test_1.0_all.deb").exists() && updated.status.success(),
            String::from_utf8_lossy(&told).into_owned(),
        )
    };
    let upstream = flaky();
    assert!(!get(&upstream.url()).0, "without the relay");
    let upstream = flaky();
    let relay = relay(&upstream);
    let (got, told) = get(relay.url());
    assert!(got, "behind the relay: {told}\n{:#?}", relay.records());
    assert!(upstream.heads().len() > relay.records().len(), "some were tried again");
}

fn eprintln(line: &str) {
    use std::io::Write;
    let _reader_gone = writeln!(std::io::stderr(), "skipped: {line}");
}
