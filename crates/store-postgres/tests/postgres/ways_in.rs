//! How the server is reached: in clear, in TLS, with whose certificate; and what is said when it can't be.

use outgate_store_postgres::{OpenError, Postgres, ServerUrl};
use outgate_testkit::ca::Ca;
use outgate_testkit::dead::{BlackHole, RefusingPort};
use outgate_testkit::postgres::PostgresServer;

use crate::SERVER;

async fn reached(url: &str) -> Result<(), OpenError> {
    let url: ServerUrl = url.parse().expect("a URL");
    let opened = Postgres::open(&url).await.map(drop);
    if let Err(error) = &opened {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("a-secret-password"), "{shown}");
    }
    opened
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_psql() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ca, stranger) = (Ca::new(), Ca::new());
    let (certificate, key) = ca.server_files(&["localhost"], folder.path());
    let server = PostgresServer::start_tls(&certificate, &key);
    let good = format!("sslrootcert={}", ca.pem_path().display()).replace('/', "%2F");
    let other = format!("sslrootcert={}", stranger.pem_path().display()).replace('/', "%2F");
    let cases = [
        ("localhost", "sslmode=disable".to_owned(), None),
        ("localhost", String::new(), None),
        ("localhost", "sslmode=require".to_owned(), None),
        ("127.0.0.1", "sslmode=require".to_owned(), None),
        ("localhost", format!("sslmode=verify-full&{good}"), None),
        ("localhost", format!("sslmode=require&{good}"), None),
        ("localhost", format!("sslmode=verify-full&{other}"), Some("invalid peer certificate")),
        ("localhost", "sslmode=verify-full".to_owned(), Some("invalid peer certificate")),
        ("127.0.0.1", format!("sslmode=verify-full&{good}"), Some("not valid for name")),
        ("localhost", "sslmode=verify-full&sslrootcert=%2Fnonexistent.pem".to_owned(), Some("/nonexistent.pem")),
    ];
    for (host, parameters, expected) in cases {
        let url = server.database_at(host);
        let outcome = reached(&format!("{url}?{parameters}")).await;
        match expected {
            None => assert!(outcome.is_ok(), "{host} {parameters}: {outcome:?}"),
            Some(why) => {
                let said = outcome.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(said.contains(why), "{host} {parameters}: {said:?}");
            }
        }
    }
    // The one without TLS is not asked for it in vain.
    let outcome = reached(&format!("{}?sslmode=require", SERVER.database())).await;
    assert!(matches!(&outcome, Err(OpenError::Unreachable { why, .. }) if why.contains("does not support TLS")), "{outcome:?}");
}

#[tokio::test]
async fn what_is_not_there_is_told_without_the_url() {
    let (refusing, silent) = (RefusingPort::reserve(), BlackHole::open());
    let at = |place: std::net::SocketAddr| format!("postgres://outgate:a-secret-password@{place}/ledger");
    for (url, expected) in [
        (at(refusing.address()), "refused"),
        (at(silent.address()), "timed out"),
        ("postgres://outgate:a-secret-password@%2Fnonexistent/ledger".to_owned(), "No such file"),
    ] {
        let outcome = reached(&url).await;
        let said = format!("{outcome:?}");
        assert!(matches!(&outcome, Err(OpenError::Unreachable { .. })) && said.contains(expected), "{said}");
    }
    let nowhere = SERVER.database().replace("/test", "/nosuch");
    let outcome = reached(&nowhere).await;
    assert!(matches!(&outcome, Err(OpenError::Denied { why, .. }) if why.contains("does not exist (3D000)")), "{outcome:?}");
}
