//! The shared ledger from outside: the contract over a real server, plain, through mishaps, and from two gateways at once.

mod failures;
mod ways_in;

use std::sync::{Arc, LazyLock};

use outgate_store::{Archive, Store, conformance};
use outgate_store_postgres::{Postgres, ServerUrl};
use outgate_testkit::postgres::PostgresServer;

/// One server for the tests that leave it alone; it ends with this process.
static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

pub(crate) async fn open(url: &str) -> Postgres {
    let url: ServerUrl = url.parse().expect("a URL");
    match Postgres::open(&url).await {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn conforms() {
    conformance::run(|| async { Arc::new(open(&SERVER.database()).await) as Arc<dyn Store> }).await;
}

#[tokio::test]
async fn conforms_when_shared() {
    conformance::run_shared(|| async {
        let url = SERVER.database();
        // Both at once: the tables are made once.
        let (one, other) = tokio::join!(open(&url), open(&url));
        [Arc::new(one) as Arc<dyn Store>, Arc::new(other)]
    })
    .await;
}

#[tokio::test]
async fn conforms_as_an_archive() {
    conformance::run_archive(|| async { Arc::new(open(&SERVER.database()).await) as Arc<dyn Archive> }).await;
}

/// The tables are made once, whoever comes first; the others find them.
#[tokio::test]
async fn several_gateways_start_at_once_on_an_empty_database() {
    for _ in 0..5 {
        let url = SERVER.database();
        let opened = tokio::join!(open(&url), open(&url), open(&url), open(&url));
        assert_eq!(opened.3.check().await, Ok(Vec::new()));
    }
}
