//! The target's own answers, through a real gateway: forwarded, and in a tunnel.

use outgate_client::classify::{Confidence, Evidence, Fields, Provenance, Scope, Verdict, Wait, Way, classify};
use outgate_client::providers::Providers;
use outgate_faults::Slug;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Expect, Reply, Wire};

use super::expected;
use crate::OUTGATE;

/// An origin that says this to everybody.
fn says(status: &str, fields: &str, body: &str) -> Script {
    let answer = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
    Script::start(vec![Step::ReadHead, Step::Write(answer.into_bytes()), Step::Close])
}

/// The verdict on what came.
fn judge(reply: &Reply, way: Way, gateway: &GatewayProcess, target: &str) -> Verdict {
    let proxy = gateway.proxy().to_string();
    let evidence = Evidence {
        status: Some(reply.status),
        reason: Some(&reply.reason),
        headers: Fields::List(&reply.headers),
        body: Some(&reply.body),
        ..Evidence::of(way, &proxy, target)
    };
    classify(&evidence, Providers::builtin())
}

async fn forwarded(gateway: &GatewayProcess, target: &str) -> Reply {
    let user = gateway.user("");
    let login = gateway.credentials(&user).header_line();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{login}\r\n");
    wire.send(request.as_bytes()).await.expect("it reads");
    wire.reply(Expect::Body).await.expect("an answer")
}

async fn tunnelled(gateway: &GatewayProcess, target: &str) -> Reply {
    let user = gateway.user("");
    let (mut wire, reply) =
        Wire::connect_through(gateway.proxy(), Some(gateway.credentials(&user)), target).await.expect("an answer");
    assert_eq!(reply.status, 200);
    wire.send(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.expect("the tunnel is open");
    wire.reply(Expect::Body).await.expect("an answer")
}

#[tokio::test]
async fn every_answer_of_a_target_forwarded_and_tunnelled() {
    let gateway = Quickstart::new(OUTGATE).start();
    let page = "<html><title>Just a moment...</title><script>window._cf_chl_opt={}</script></html>";
    let rows = [
        ("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "", Slug::TargetUnauthorized, "itself asks for a login (401)", None),
        ("403 Forbidden", "", "no", Slug::TargetForbidden, "itself refused the request (403)", None),
        ("403 Forbidden", "", page, Slug::TargetChallenged, "answered with a challenge instead of the page", None),
        ("200 OK", "", page, Slug::TargetChallenged, "answered with a challenge instead of the page", None),
        ("429 Too Many Requests", "Retry-After: 7\r\n", "", Slug::TargetRateLimited, "itself limits the rate (429)", Some(7)),
        ("503 Service Unavailable", "Retry-After: 9\r\n", "", Slug::TargetUnavailable, "itself is not available (503)", Some(9)),
        ("502 Bad Gateway", "", "", Slug::TargetGatewayError, "", None),
        ("504 Gateway Timeout", "", "", Slug::TargetGatewayError, "", None),
        ("500 Internal Server Error", "", "", Slug::TargetError, "itself failed with 500", None),
    ];
    for (status, fields, body, slug, words, wait) in rows {
        let origin = says(status, fields, body);
        let target = origin.address().to_string();
        let number = &status[..3];
        let sentence = match slug {
            Slug::TargetGatewayError => format!("a gateway on the side of 127.0.0.1 failed ({number})"),
            _ => format!("127.0.0.1 {words}"),
        };
        for way in [Way::Forwarded, Way::Tunnelled] {
            let reply =
                if way == Way::Forwarded { forwarded(&gateway, &target).await } else { tunnelled(&gateway, &target).await };
            let verdict = judge(&reply, way, &gateway, &target);
            // The gateway says on its own that it passed this on; through a tunnel nobody else can have said it. A page is told
            // by its words.
            let sure = if way == Way::Tunnelled { Confidence::Certain } else { Confidence::Likely };
            let sure = if slug == Slug::TargetChallenged { Confidence::Likely } else { sure };
            expected(slug, Provenance::Origin, sure, sentence.clone()).check(&verdict);
            assert_eq!(verdict.wait, wait.map(|seconds| Wait::For(std::time::Duration::from_secs(seconds))), "{status}");
            match slug {
                Slug::TargetForbidden | Slug::TargetChallenged | Slug::TargetRateLimited => {
                    assert_eq!(verdict.scope, Scope::ExitOnDomain);
                }
                Slug::TargetUnavailable => assert_eq!(verdict.scope, Scope::Domain),
                _ => {}
            }
        }
    }
}

/// A target that writes our own fields convinces nobody: a gateway strips them, a tunnel is known to be the target's.
#[tokio::test]
async fn targets_that_forge_a_proxys_word() {
    let gateway = Quickstart::new(OUTGATE).start();
    let forged = "X-Proxy-Error: bandwidth_exhausted\r\nX-Outgate-Request-Id: r1\r\n\
                  Proxy-Status: outgate; error=http_request_denied; details=\"the plan's 1 GB of bandwidth are used up\"\r\n";
    let origin = says("403 Forbidden", forged, "the plan's 1 GB of bandwidth are used up\n");
    let target = origin.address().to_string();
    for way in [Way::Forwarded, Way::Tunnelled] {
        let reply = if way == Way::Forwarded { forwarded(&gateway, &target).await } else { tunnelled(&gateway, &target).await };
        // As any client of the gateway would have it, and as one that knows whose it is.
        let verdict = judge(&reply, way, &gateway, &target);
        assert_eq!((verdict.slug, verdict.provenance), (Some(Slug::TargetForbidden), Provenance::Origin), "{}", verdict.why);
    }
}
