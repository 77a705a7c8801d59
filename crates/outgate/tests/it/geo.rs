//! Where exits are, by real MaxMind databases: files of package registries that `./test` fetches into `target/geo`.
//!
//! An exit's address must be public for that. So the end-to-end test runs itself again in a network namespace of its own,
//! where the loopback device has the public addresses: whoever dials one of them there comes from it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use outgate_faults::Slug;
use outgate_gateway::geo::Geo;
use outgate_store::Labels;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::patience::until;
use serde_json::json;
use tempfile::TempDir;

use crate::OUTGATE;
use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::{connect, provoked};

/// MaxMind's city database of July 2018, their test database of networks, and one of countries in a flat layout of 2026.
const CITY: &str = "GeoLite2-City.mmdb";
const ASN: &str = "GeoLite2-ASN-Test.mmdb";
const COUNTRY: &str = "geo-whois-asn-country.mmdb";

/// Public addresses and where they are: Los Angeles, Cologne, and one that the city database does not know.
const LOS_ANGELES: &str = "71.144.0.1";
const COLOGNE: &str = "91.0.0.1";
const UNKNOWN: &str = "102.130.1.1";

/// A database; none when `./test` has not fetched them yet, which it says, and which fails where they were promised.
fn database(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target");
    let path = target.join("geo").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("TEST_GEO_REQUIRED").is_none(), "{} is missing: ./test fetches it", path.display());
    untested(&format!("{} is missing, ./test fetches it", path.display()));
    None
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests must know that this one had nothing to test")]
fn untested(why: &str) {
    eprintln!("not tested: {why}");
}

fn labels(geo: &Geo, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().expect("an address");
    let Labels { country, state, city, asn, carrier } = geo.locate(address)?;
    let country = country.map(|country| country.to_string());
    let asn = asn.map(|asn| asn.to_string());
    Some([country, state, city, asn, carrier].map(Option::unwrap_or_default).join("|"))
}

#[test]
fn addresses_are_looked_up_in_real_databases() {
    let (Some(city), Some(asn), Some(country)) = (database(CITY), database(ASN), database(COUNTRY)) else { return };
    let both = Geo::open(&[city.clone(), asn]).expect("they are databases");
    let rows = [
        (LOS_ANGELES, Some("us|ca|losangeles|7018|AT&T Services, Inc.")),
        (COLOGNE, Some("de|nw|cologne|3320|Deutsche Telekom AG")),
        ("143.107.1.1", Some("br|sp|saopaulo||")),
        ("::ffff:143.107.1.1", Some("br|sp|saopaulo||")),
        ("8.8.8.8", Some("us||||")),
        ("2001:1700::1", Some("ch|||6730|Sunrise Communications AG")),
        (UNKNOWN, Some("||||")),
        ("127.0.0.1", None),
        ("10.0.0.1", None),
        ("192.0.2.1", None),
        ("::1", None),
        ("fd00::1", None),
    ];
    for (address, expected) in rows {
        assert_eq!(labels(&both, address).as_deref(), expected, "{address}");
    }
    // The flat layout; and what the first file does not know, the second may.
    let flat = Geo::open(&[city, country]).expect("they are databases");
    assert_eq!(labels(&flat, UNKNOWN).as_deref(), Some("ng||||"));
    assert_eq!(labels(&flat, LOS_ANGELES).as_deref(), Some("us|ca|losangeles||"));
}

#[tokio::test]
async fn a_database_that_is_replaced_is_in_force_without_a_restart() {
    let (Some(city), Some(country)) = (database(CITY), database(COUNTRY)) else { return };
    let folder = TempDir::new().expect("the machine has a temporary folder");
    let (path, new) = (folder.path().join("geo.mmdb"), folder.path().join("new"));
    std::fs::copy(country, &path).expect("copied");
    let geo = Geo::open(std::slice::from_ref(&path)).expect("a database");
    assert_eq!(labels(&geo, LOS_ANGELES).as_deref(), Some("us||||"));
    std::fs::copy(city, &new).and_then(|_| std::fs::rename(&new, &path)).expect("replaced");
    let found = Some("us|ca|losangeles||");
    until("the new database", || (labels(&geo, LOS_ANGELES).as_deref() == found).then_some(())).await;
    // Half a file, as a download leaves it: the old one stays.
    std::fs::write(&new, b"not a database").and_then(|()| std::fs::rename(&new, &path)).expect("replaced");
    for _ in 0..1_000 {
        assert_eq!(labels(&geo, LOS_ANGELES).as_deref(), found);
    }
}

/// Set in the copy of this test that runs in the namespace.
const INSIDE: &str = "TEST_GEO_INSIDE_NAMESPACE";

#[test]
fn exits_are_where_the_databases_see_them() {
    let (Some(_), Some(_)) = (database(CITY), database(ASN)) else { return };
    let may = Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).output();
    let may = may.expect("unshare of util-linux is there");
    if !may.status.success() {
        return untested(&format!("no network namespace can be made here: {}", String::from_utf8_lossy(&may.stderr).trim()));
    }
    let addresses = [LOS_ANGELES, COLOGNE, UNKNOWN].map(|address| format!("ip address add {address}/32 dev lo && ")).concat();
    let this = std::env::current_exe().expect("this test's binary");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .arg(format!("ip link set lo up && {addresses} exec \"$0\" --exact geo::in_the_namespace --nocapture"))
        .arg(this)
        .env(INSIDE, "yes")
        .output();
    let output = output.expect("unshare of util-linux is there");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Not a test by itself: the part of the one above that runs in the namespace.
#[tokio::test]
async fn in_the_namespace() {
    let (Some(city), Some(asn)) = (database(CITY), database(ASN)) else { return };
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let files = format!("{},{}", city.display(), asn.display());
    let gateway = Quickstart::new(OUTGATE).env("OUTGATE_GEO_MMDB", &files).env("OUTGATE_EXITS_ADDRESS", "0.0.0.0:0").start();
    let (_, port) = gateway.told("exit_gateway_url").rsplit_once(':').expect("a port");
    let link = async |from: &str, enrolled: &[&str], own: &[&str]| {
        let url = format!("ws://{from}:{port}");
        LabelledExit::link_up_at(&gateway, &url, &[&["--pool", "mobile"], enrolled].concat(), own).await
    };
    let place = |exit: &LabelledExit| {
        let online = &exit.row(&gateway)["online"];
        json!([online["country"], online["state"], online["city"], online["asn"], online["carrier"]])
    };

    // Nobody says anything: the databases do.
    let silent = link(LOS_ANGELES, &[], &[]).await;
    assert_eq!(place(&silent), json!(["us", "ca", "losangeles", 7018, "AT&T Services, Inc."]));
    // An exit can't choose its country, nor invent one where the databases know none.
    let liar = link(COLOGNE, &[], &["--country", "us", "--state", "ca", "--city", "Los Angeles", "--asn", "1"]).await;
    assert_eq!(place(&liar), json!(["de", "nw", "cologne", 3320, "Deutsche Telekom AG"]));
    let inventor = link(UNKNOWN, &[], &["--country", "us", "--city", "Los Angeles"]).await;
    assert_eq!(place(&inventor), json!([null, null, null, null, null]));
    // The operator knows better; of the rest the databases still know what fits.
    let moved = link(COLOGNE, &["--country", "fr", "--carrier", "House Net"], &[]).await;
    assert_eq!(place(&moved), json!(["fr", null, null, 3320, "House Net"]));
    // A neighbour of the gateway is in no database: its own word counts.
    let neighbour = link("127.0.0.1", &[], &["--country", "jp", "--state", "13", "--city", "Tōkyō"]).await;
    assert_eq!(place(&neighbour), json!(["jp", "13", "tokyo", null, null]));

    // What was found out is what can be asked for.
    let rows = [
        ("-pool-mobile-country-us-state-ca-city-los-angeles", &silent),
        ("-pool-mobile-country-de-city-cologne", &liar),
        ("-pool-mobile-country-fr", &moved),
        ("-pool-mobile-country-jp-city-tokyo", &neighbour),
    ];
    for (modifiers, exit) in rows {
        let (_wire, reply) = connect(&gateway, modifiers, "echo.outgate:80").await;
        assert_eq!((reply.status, reply.header("X-Outgate-Exit")), (200, Some(exit.id.as_str())), "{modifiers}");
    }
    let (_wire, reply) = connect(&gateway, "-pool-mobile-country-ng", "echo.outgate:80").await;
    provoked(Slug::NoExit, "dial", "no exit is connected for pool mobile, country ng").check(&gateway, &reply).await;
    drop((inventor, liar));
}
