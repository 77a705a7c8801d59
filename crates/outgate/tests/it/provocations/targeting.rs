//! The modifiers in the user name.

use outgate_faults::Slug;

use super::outputs::{connect, provoked, quickstart};

#[tokio::test]
async fn modifiers_that_mean_nothing() {
    let gateway = quickstart(&[]).start();
    let unknown = |sentence: &str| provoked(Slug::ModifierUnknown, "choose", sentence);
    let country = |given: &str| {
        let sentence = format!("'{given}' is not a country code (ISO 3166-1 alpha-2, such as us or de)");
        provoked(Slug::CountryInvalid, "choose", sentence)
    };
    let state = |given: &str, of: &str| {
        provoked(Slug::StateInvalid, "choose", format!("'{given}' is not a subdivision of {of} (ISO 3166-2)"))
    };
    let city = |given: &str| {
        let sentence = format!("no city '{given}' is known there (city-ran takes any city of the state)");
        provoked(Slug::CityInvalid, "choose", sentence)
    };
    let session = || provoked(Slug::SessionInvalid, "choose", "invalid session: a session is 1 to 64 letters, digits, - and _");
    let ttl =
        |given: &str| provoked(Slug::TtlInvalid, "choose", format!("ttl '{given}' is not in the range of 1 to 1440 minutes"));
    let rows = [
        ("-contry-us", unknown("unknown modifier \"contry\": did you mean \"country\"?")),
        ("-colour-blue", unknown("unknown modifier \"colour\"")),
        ("-pool-residential-country-zz", country("zz")),
        ("-pool-residential-country-USA", country("USA")),
        ("-pool-residential-country-us-state-C.A", state("C.A", "us")),
        ("-pool-residential-country-us-city-Berlin", city("Berlin")),
        ("-session-a.b", session()),
        ("-session", session()),
        ("-session-ab12-ttl-0", ttl("0")),
        ("-session-ab12-ttl-+5", ttl("+5")),
        ("-session-ab12-ttl-9999", ttl("9999")),
        ("-country-us", provoked(Slug::TargetingUnsupported, "choose", "pool 'direct' does not accept targeting")),
    ];
    for (modifiers, expected) in rows {
        let (_wire, reply) = connect(&gateway, modifiers, "echo.outgate:80").await;
        expected.check(&gateway, &reply).await;
    }
}
