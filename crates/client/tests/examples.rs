//! The examples, run.

#[expect(dead_code, reason = "its main is not called here")]
#[path = "../examples/get.rs"]
mod get;
#[expect(dead_code, reason = "its main is not called here")]
#[path = "../examples/many.rs"]
mod many;

use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;

#[tokio::test]
async fn get_tells_what_came_and_what_went_wrong() {
    let origin = Origin::start();
    let proxy = FlakyProxy::start(|_, _| Fate::Serves);
    let text = get::get(&proxy.url(), &origin.url("/ok")).await.expect("a page");
    assert_eq!(text, "200 OK after 1 attempt(s)\nok\n");
    let refusing = FlakyProxy::start(|_, _| Fate::answer(403, "Forbidden (port_denied)", "X-Proxy-Error: port_denied"));
    let text = get::get(&refusing.url(), &origin.url("/ok")).await.expect_err("a refusal");
    assert!(text.contains("(port_denied, 1 attempt)"), "{text}");
    assert!(text.contains("the proxy said: 403 Forbidden (port_denied)"), "{text}");
}

#[tokio::test]
async fn many_goes_round_an_account_that_is_refused() {
    let origin = Origin::start();
    let refusing =
        FlakyProxy::start(|_, _| Fate::answer(407, "Proxy Authentication Required", "X-Proxy-Error: credentials_wrong"));
    let serving = FlakyProxy::start(|_, _| Fate::Serves);
    let proxies = [&refusing, &serving].map(|proxy| proxy.url().replace("http://", "http://key:secret@"));
    let outcomes = many::many(&origin.url("/ok"), proxies.into_iter()).await.expect("outcomes");
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [("200 OK".to_owned(), 50)]);
}
