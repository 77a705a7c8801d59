//! The modifiers in the user name: what each dialect answers to those that mean nothing, and where the others lead.

use outgate_faults::{Dialect, Slug};
use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::wire::Reply;

use super::labelled_exit::LabelledExit;
use super::outputs::{Provoked, connect, hop, provoked, quickstart};
use super::trial::{Trial, Way};
use crate::OUTGATE;

/// A mistake, what the default dialect says of it, and what the documented one does: status, reason phrase, body.
struct Row {
    modifiers: &'static str,
    told: Provoked,
    slug: Slug,
    documented: (u16, &'static str, &'static str),
}

fn row(modifiers: &'static str, slug: Slug, sentence: impl Into<String>) -> Row {
    let documented = match slug {
        Slug::CountryInvalid => (454, "Invalid Country Code", "invalid country code"),
        Slug::StateInvalid => (454, "Invalid State Code", "invalid state code"),
        Slug::CityInvalid => (454, "Invalid City Code", "invalid city code"),
        Slug::TtlInvalid => (455, "Invalid TTL", "invalid ttl"),
        // "Username or password is wrong, or your targeting modifiers contain an unrecognised value."
        _ => (407, "Proxy Authentication Required", "Incorrect username or password"),
    };
    Row { modifiers, told: provoked(slug, "choose", sentence), slug, documented }
}

/// Every way to write a modifier wrongly. Exits are in Los Angeles (us-ca), New York (us-ny) and São Paulo (br-sp).
fn mistakes() -> Vec<Row> {
    let unknown = |modifiers, sentence: &str| row(modifiers, Slug::ModifierUnknown, sentence);
    let country = |modifiers, given: &str, hint: &str| {
        let sentence = format!("'{given}' is not a country code (ISO 3166-1 alpha-2, such as us or de){}", meant(hint));
        row(modifiers, Slug::CountryInvalid, sentence)
    };
    let state = |modifiers, given: &str, of: &str, hint: &str| {
        row(modifiers, Slug::StateInvalid, format!("'{given}' is not a subdivision of {of} (ISO 3166-2){}", meant(hint)))
    };
    let city = |modifiers, given: &str, place: &str, hint: &str| {
        let sentence = format!("no city '{given}' is offered in {place} (city-ran takes any){}", meant(hint));
        row(modifiers, Slug::CityInvalid, sentence)
    };
    let session = |modifiers, what: &str| row(modifiers, Slug::SessionInvalid, format!("invalid session: {what}"));
    let ttl = |modifiers, given: &str| {
        row(modifiers, Slug::TtlInvalid, format!("ttl '{given}' is not in the range of 1 to 1440 minutes"))
    };
    let unsupported =
        |modifiers, pool: &str| row(modifiers, Slug::TargetingUnsupported, format!("pool '{pool}' does not accept targeting"));
    let nowhere = "a country that is not named";
    vec![
        unknown("-contry-us", "unknown modifier \"contry\": did you mean \"country\"?"),
        unknown("-Country-us", "unknown modifier \"Country\": did you mean \"country\"?"),
        unknown("-colour-blue", "unknown modifier \"colour\""),
        unknown("-us", "unknown modifier \"us\""),
        row("-country-us-country-br", Slug::ModifierRepeated, "modifier 'country' is given twice"),
        country("-country-zz", "zz", ""),
        country("-country", "", ""),
        country("-country-US", "US", "us"),
        country("-country-USA", "USA", "us"),
        country("-country-uk", "uk", "gb"),
        country("-country-germany", "germany", "de"),
        country("-country-session-ab12", "", ""),
        state("-country-us-state-C.A", "C.A", "us", "ca"),
        state("-country-us-state-CA", "CA", "us", "ca"),
        state("-country-us-state-california", "california", "us", "ca"),
        state("-country-br-state-ca", "ca", "br", ""),
        state("-state-ca", "ca", nowhere, "country-CC-state-ca"),
        city("-country-us-city-Berlin", "Berlin", "us", ""),
        city("-country-us-state-ca-city-losangels", "losangels", "us-ca", "losangeles"),
        city("-country-us-state-ca-city-newyork", "newyork", "us-ca", ""),
        city("-country-de-city-losangeles", "losangeles", "de", ""),
        city("-country-us-city", "", "us", ""),
        city("-city-losangeles", "losangeles", nowhere, "country-CC-city-losangeles"),
        session("-session-a.b", "a session is 1 to 64 letters, digits, - and _"),
        session("-session", "it has no value"),
        session("-session-country-us", "it has no value"),
        ttl("-session-ab12-ttl-0", "0"),
        ttl("-session-ab12-ttl-+5", "+5"),
        ttl("-session-ab12-ttl-9999", "9999"),
        ttl("-session-ab12-ttl-", ""),
        unsupported("-pool-datacenter-country-us", "datacenter"),
        unsupported("-pool-isp-country-us-state-ca", "isp"),
        unsupported("-pool-isp-city-ran", "isp"),
        unsupported("-pool-direct-country-zz", "direct"),
    ]
}

fn meant(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(": did you mean \"{hint}\"?") }
}

/// Residential is the default pool, as where targeting is what is sold.
fn residential() -> Quickstart {
    quickstart(&[("OUTGATE_POOLS_DEFAULT", "residential")])
}

async fn exits(gateway: &outgate_testkit::gateway_process::GatewayProcess) -> [LabelledExit; 3] {
    let enroll = async |country, state, city| {
        let labels = ["--pool", "residential", "--country", country, "--state", state, "--city", city];
        LabelledExit::link_up(gateway, &labels).await
    };
    [enroll("us", "ca", "Los Angeles").await, enroll("us", "ny", "New-York").await, enroll("br", "sp", "São Paulo").await]
}

scenes![modifiers_that_mean_nothing];

async fn modifiers_that_mean_nothing(trial: &mut Trial) {
    let gateway = Doors::open(residential(), "");
    let _exits = exits(&gateway).await;
    for Row { modifiers, told, .. } in mistakes() {
        trial.ask(&gateway, modifiers, "echo.outgate:80", &told).await;
    }
    let told = provoked(Slug::TargetingUnsupported, "choose", "pool 'direct' does not accept targeting");
    let gateway = quickstart(&[]).start();
    let (_wire, reply) = connect(&gateway, "-country-us", "echo.outgate:80").await;
    told.check_answer(&hop(&gateway), &reply);
}

/// The same mistakes in the documented dialect, by the ways of the trial.
pub(crate) async fn as_documented(trial: &mut Trial) {
    let dialect = Dialect::proxies_fo();
    let gateway = Doors::open(residential().args(["--dialect", dialect.name()]), "");
    let _exits = exits(&gateway).await;
    for Row { modifiers, told, .. } in mistakes() {
        trial.ask(&gateway, modifiers, "echo.outgate:80", &told.in_dialect(&dialect)).await;
    }
}

/// Document 001: "454 Invalid Country Code", "Invalid State Code", "Invalid City Code", "455 Invalid TTL", 407 for the rest.
#[tokio::test]
async fn modifiers_that_mean_nothing_as_documented() {
    let gateway = Quickstart::new(OUTGATE).args(["--dialect", "proxies.fo"]).env("OUTGATE_POOLS_DEFAULT", "residential").start();
    let _exits = exits(&gateway).await;
    for Row { modifiers, slug, documented: (status, reason, body), .. } in mistakes() {
        let (_wire, reply) = connect(&gateway, modifiers, "echo.outgate:80").await;
        assert_eq!((reply.status, reply.reason.as_str(), reply.text().as_str()), (status, reason, body), "{modifiers}");
        assert_eq!(reply.all("X-Proxy-Error"), [slug.name()], "{modifiers}");
    }
}

fn by(reply: &Reply) -> (u16, Option<&str>) {
    (reply.status, reply.header("X-Outgate-Exit"))
}

/// Where the right ones lead, in every spelling.
#[tokio::test]
async fn modifiers_that_find_their_exit() {
    let gateway = residential().start();
    let [california, new_york, brazil] = exits(&gateway).await;
    let rows = [
        ("-country-us-state-ca", &california),
        ("-country-us-state-ny", &new_york),
        ("-country-br", &brazil),
        ("-state-ca-country-us", &california),
        ("-country-us-city-losangeles", &california),
        ("-country-us-city-los-angeles", &california),
        ("-country-us-city-Los Angeles", &california),
        ("-country-us-state-ca-city-LOS_ANGELES", &california),
        ("-country-us-state-ny-city-ran", &new_york),
        ("-country-br-city-ran", &brazil),
        ("-country-br-city-São Paulo", &brazil),
        ("-country-br-city-sao-paulo", &brazil),
        ("-pool-residential-country-br-session-my-app-1-ttl-10", &brazil),
    ];
    for (modifiers, exit) in rows {
        for _ in 0..2 {
            let (_wire, reply) = connect(&gateway, modifiers, "echo.outgate:80").await;
            assert_eq!(by(&reply), (200, Some(exit.id.as_str())), "{modifiers}: {}", reply.text());
        }
    }
    // A city whose exits left a moment ago is still one: the client is told to try again, not that it does not exist.
    brazil.leave(&gateway).await;
    let (_wire, reply) = connect(&gateway, "-country-br-city-saopaulo", "echo.outgate:80").await;
    let sentence = "no exit is connected for pool residential, country br, city saopaulo";
    provoked(Slug::NoExit, "dial", sentence).check(&gateway, &reply).await;
}
