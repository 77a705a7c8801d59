//! Addresses as proof: beside a secret, in its place, and with modifiers.

use super::{Login, Scene, WAYS};

/// Addresses of this machine: on a list, and on none.
const LISTED: [u8; 4] = [127, 0, 7, 1];
const STRANGE: [u8; 4] = [127, 0, 8, 1];

#[tokio::test]
async fn an_address_beside_credentials() {
    let scene = Scene::start();
    let (plain, plain_secret) = scene.key();
    // The address stands for the secret; the address and the secret are both needed.
    let (by_ip, by_ip_secret) = scene.new_key(&["--by-ip", "--allow-ip", "127.0.7.0/24"]);
    let (both, both_secret) = scene.new_key(&["--allow-ip", "127.0.7.0/24"]);
    let misspelt = format!("{by_ip}-contry-us");
    let rows = [
        (Login::new(&by_ip, "whatever").from(LISTED), "ok", &by_ip),
        (Login::new(&by_ip, "").from(LISTED), "ok", &by_ip),
        (Login::new(&by_ip, &by_ip_secret).from(LISTED), "ok", &by_ip),
        (Login::new(&misspelt, "whatever").from(LISTED), "modifier_unknown", &by_ip),
        (Login::new(&by_ip, "whatever").from(STRANGE), "credentials_wrong", &by_ip),
        (Login::new(&by_ip, &by_ip_secret).from(STRANGE), "source_denied", &by_ip),
        (Login::new(&both, &both_secret).from(LISTED), "ok", &both),
        (Login::new(&both, "whatever").from(LISTED), "credentials_wrong", &both),
        (Login::new(&both, &both_secret).from(STRANGE), "source_denied", &both),
        // Who shows other credentials is somebody else, whatever the address would say.
        (Login::new(&plain, &plain_secret).from(LISTED), "ok", &plain),
        (Login::new(&plain, "whatever").from(LISTED), "credentials_wrong", &plain),
    ];
    for way in WAYS {
        for (at, (who, outcome, key)) in rows.iter().enumerate() {
            let record = scene.attempt(way, *who).await;
            assert_eq!((&record["outcome"], &record["key"]), (&(*outcome).into(), &key.as_str().into()), "{way:?}, row {at}");
            assert_eq!(record["client"], who.source.to_string(), "{way:?}, row {at}");
        }
    }
}
