//! Guesses at the operator's token.

use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::wire::{Expect, Reply, Wire};

use super::Scene;

async fn ask(gateway: &GatewayProcess, path: &str, token: Option<&str>, source: [u8; 4]) -> Reply {
    let mut wire = Wire::connect_from(source.into(), gateway.console()).await.expect("the console listens");
    let field = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: console\r\n{field}\r\n").as_bytes()).await.expect("open");
    wire.reply(Expect::Body).await.expect("an answer")
}

#[tokio::test]
async fn guesses_at_the_admin_token_are_slowed_down() {
    let scene = Scene::set();
    let (gateway, right) = (&scene.gateway, scene.gateway.told("admin_token"));
    for (number, path) in ["/v1/keys", "/v1/locations"].into_iter().enumerate() {
        let source = [127, 0, 8, number as u8 + 1];
        for _ in 0..20 {
            assert_eq!(ask(gateway, "/v1/keys", None, source).await.status, 401, "who shows none guesses nothing");
        }
        assert_eq!(ask(gateway, path, Some(right), source).await.status, 200);
        for guess in 0..10 {
            assert_eq!(ask(gateway, path, Some(&format!("guess{guess}")), source).await.status, 401);
        }
        for token in ["guess", right] {
            let reply = ask(gateway, path, Some(token), source).await;
            let wait: u64 = reply.header("retry-after").and_then(|wait| wait.parse().ok()).expect("until the next guess");
            assert!(reply.status == 429 && (1..=11).contains(&wait), "{path}: {} {wait}", reply.status);
        }
        assert_eq!(ask(gateway, path, Some(right), [127, 0, 0, 1]).await.status, 200, "elsewhere nobody notices");
    }
}
