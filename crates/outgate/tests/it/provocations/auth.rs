//! Who is asking.

use outgate_faults::Slug;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::Credentials;

use super::outputs::{ask, connect_as, doors, id, new_key, provoked, quickstart};
use super::trial::{Trial, Way};

scenes![nobody_known, keys_without_standing, a_key_expires, guessing_is_slowed_down];

/// What every way can say of who asks: nothing, what can't be read, and what is not so.
async fn nobody_known(trial: &mut Trial) {
    let doors = doors(&[], "");
    let wrong = provoked(Slug::CredentialsWrong, "identify", "wrong key or secret");
    let missing = "credentials are missing: send the key and its secret in Proxy-Authorization";
    let garbled = "malformed credentials: the user name contains a control character";
    let rows = [
        (None, provoked(Slug::CredentialsMissing, "identify", missing)),
        (Some(("a\u{7}b", "x")), provoked(Slug::CredentialsMalformed, "identify", garbled)),
        (Some((doors.told("key_id"), "x")), wrong),
        (Some(("nobody9", "x")), provoked(Slug::CredentialsWrong, "identify", "wrong key or secret")),
    ];
    for (who, expected) in rows {
        let who = who.map(|(user, password)| Credentials { user, password });
        trial.ask_as(&doors, who, "echo.outgate:80", &expected).await;
    }
}

#[tokio::test]
async fn credentials_that_are_none() {
    let gateway = quickstart(&[]).start();
    let wrong = Credentials { user: gateway.told("key_id"), password: "x" }.header_line();
    let unknown = Credentials { user: "nobody9", password: "x" }.header_line();
    let malformed = |what: &str| provoked(Slug::CredentialsMalformed, "identify", format!("malformed credentials: {what}"));
    let rows = [
        (
            String::new(),
            provoked(
                Slug::CredentialsMissing,
                "identify",
                "credentials are missing: send the key and its secret in Proxy-Authorization",
            ),
        ),
        ("Proxy-Authorization: Basic %%%\r\n".to_owned(), malformed("they are not base64")),
        ("Proxy-Authorization: Bearer abc\r\n".to_owned(), malformed("only the Basic scheme is taken")),
        ("Proxy-Authorization: Basic YWJjZA==\r\n".to_owned(), malformed("there is no colon between user and password")),
        (wrong, provoked(Slug::CredentialsWrong, "identify", "wrong key or secret")),
        (unknown, provoked(Slug::CredentialsWrong, "identify", "wrong key or secret")),
    ];
    for (field, expected) in rows {
        let (_wire, reply) = ask(&gateway, &format!("CONNECT echo.outgate:80 HTTP/1.1\r\nHost: e\r\n{field}\r\n")).await;
        let record = expected.check(&gateway, &reply).await;
        let lies_apart = gateway.auth_records().iter().any(|line| line["request_id"] == record["request_id"]);
        assert!(lies_apart && !gateway.records().iter().any(|line| line["request_id"] == record["request_id"]), "{record}");
    }
}

async fn guessing_is_slowed_down(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let guess = Credentials { user: gateway.told("key_id"), password: "guess" };
    for _ in 0..10 {
        let (_wire, reply) = connect_as(&gateway, guess, "echo.outgate:80").await;
        assert_eq!(reply.header("X-Proxy-Error"), Some("credentials_wrong"));
    }
    // On a machine so slow that some of them are forgiven meanwhile, it takes a few more.
    let throttled = |sentence: &str| {
        let wait = sentence.strip_prefix("too many failed logins from this address: wait ").and_then(|s| s.strip_suffix(" s"));
        let wait = wait.and_then(|wait| wait.parse().ok()).unwrap_or_else(|| panic!("no wait in {sentence}"));
        assert!((1..=10).contains(&wait), "{sentence}");
        provoked(Slug::AuthThrottled, "identify", sentence).retry_after(wait..=wait)
    };
    trial.ask_until(&gateway, guess, "echo.outgate:80", Slug::AuthThrottled, throttled).await;
    let (other, secret) = new_key(&gateway, &[]);
    let (_wire, reply) = connect_as(&gateway, Credentials { user: &other, password: &secret }, "echo.outgate:80").await;
    assert_eq!(reply.status, 200, "another key behind the same address is not concerned");
}

async fn keys_without_standing(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let revoked = new_key(&gateway, &[]);
    let _done = gateway.admin(&["keys", "revoke", &revoked.0]);
    let suspended = new_key(&gateway, &[]);
    let _done = gateway.admin(&["keys", "suspend", &suspended.0]);
    let elsewhere = new_key(&gateway, &["--allow-ip", "192.0.2.0/24"]);
    let rows = [
        (revoked, provoked(Slug::KeyRevoked, "identify", "this key is revoked")),
        (suspended, provoked(Slug::KeySuspended, "identify", "this key is suspended")),
        (elsewhere, provoked(Slug::SourceDenied, "identify", "the source address 127.0.0.1 is not on this key's allowlist")),
    ];
    for ((user, password), expected) in rows {
        let credentials = Credentials { user: &user, password: &password };
        trial.ask_as(&gateway, Some(credentials), "echo.outgate:80", &expected).await;
        assert!(gateway.auth_records().iter().chain(&gateway.records()).any(|record| record["key"] == user), "it is named");
        let (_wire, reply) = connect_as(&gateway, Credentials { user: &user, password: "guess" }, "echo.outgate:80").await;
        assert_eq!(reply.header("X-Proxy-Error"), Some("credentials_wrong"), "only its owner learns what is wrong with a key");
    }
}

async fn a_key_expires(trial: &mut Trial) {
    let gateway = doors(&[], "");
    let (user, password) = new_key(&gateway, &["--expires", "1s"]);
    let credentials = Credentials { user: &user, password: &password };
    let shown: serde_json::Value = serde_json::from_str(&gateway.admin(&["keys", "show", &user, "--json"])).expect("JSON");
    let expires = shown["expires"].as_str().expect("it has an end");
    let sentence = format!("this key expired at {} {} UTC", &expires[..10], &expires[11..16]);
    let expired = |_: &str| provoked(Slug::KeyExpired, "identify", sentence.clone());
    trial.ask_until(&gateway, credentials, "echo.outgate:80", Slug::KeyExpired, expired).await;
}

/// Losing its standing cuts what a key has open; the client cannot be told any more, the record names the reason.
#[tokio::test]
async fn open_tunnels_of_a_key_are_cut() {
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Stall]);
    let gateway = quickstart(&[]).start();
    let rows = [
        ("revoke", provoked(Slug::KeyRevoked, "settle", "this key is revoked")),
        ("suspend", provoked(Slug::KeySuspended, "settle", "this key is suspended")),
        ("block", provoked(Slug::KeyBlocked, "settle", "this key is blocked by an administrator")),
    ];
    for (action, expected) in rows {
        let (user, password) = new_key(&gateway, &[]);
        let credentials = Credentials { user: &user, password: &password };
        let (mut wire, reply) = connect_as(&gateway, credentials, &origin.address().to_string()).await;
        assert_eq!(wire.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
        let _done = gateway.admin(&["keys", action, &user]);
        let record = expected.check_cut(&gateway, &mut wire, &id(&reply), 200).await;
        assert_eq!(record["ended_by"], "cut");
        assert_eq!((&record["bytes_down"], &record["bytes_up"]), (&5.into(), &0.into()), "what it used is still counted");
    }
    let (user, password) = new_key(&gateway, &[]);
    let (mut wire, _) =
        connect_as(&gateway, Credentials { user: &user, password: &password }, &origin.address().to_string()).await;
    assert_eq!(wire.exactly(5).await.as_deref(), Ok(&b"hello"[..]), "other keys go on");
}
