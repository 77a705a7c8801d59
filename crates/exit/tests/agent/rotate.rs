//! The gateway asks for another address.

use outgate_exit::{Hook, Rotation};
use outgate_link::{Rotate, Rotated};

use super::*;

fn command(command: &str) -> Option<Rotation> {
    Some(Rotation { hook: Hook::Command(command.to_owned()), timeout: PATIENCE })
}

#[tokio::test]
async fn the_hook_runs_and_links_are_made_anew_from_the_new_address() -> Outcome {
    local(async {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("address");
        std::fs::write(&file, "127.0.0.1")?;
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.links = 2;
            settings.source = Some(format!("@{}", file.display()).parse().expect("a file"));
            settings.rotate = command(&format!("echo 127.0.0.9 > {}", file.display()));
        });
        let old = [gateway.link().await, gateway.link().await];
        assert_eq!(old[0].hello.rotate_ms, Some(PATIENCE.as_millis() as u32));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut tunnel, _) = open(&old[0].link, listener.local_addr()?).await?;
        let (mut target, from) = within("the target", listener.accept()).await?;
        assert_eq!(from.ip(), std::net::IpAddr::from([127, 0, 0, 1]));

        old[0].link.ask_rotate(&Rotate { id: "r1".into() });
        let rotated = Rotated { id: "r1".into(), ok: true, why: None };
        assert_eq!(within("the answer", old[0].link.rotated()).await, Some(rotated.clone()));
        for _ in 0..2 {
            let new = gateway.link().await;
            assert_eq!(new.hello.rotated, Some(rotated.clone()), "said again, if the answer was lost");
            let (_tunnel, _) = open(&new.link, listener.local_addr()?).await?;
            let (_, from) = within("the target", listener.accept()).await?;
            assert_eq!(from.ip(), std::net::IpAddr::from([127, 0, 0, 9]));
        }
        // What was open goes on as long as its way does, and its link as long as it.
        assert!(old[0].link.is_draining());
        tunnel.write_all(b"hello").await?;
        let mut heard = [0; 5];
        within("the bytes", target.read_exact(&mut heard)).await?;
        drop(tunnel);
        for old in old {
            assert!(matches!(within("the end", old.link.closed()).await, LinkEnd::Goodbye(why) if why.slug == "replaced"));
        }
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hook_that_fails_or_is_missing_or_still_runs_is_told() -> Outcome {
    local(async {
        for (hook, part) in [(None, "no rotate hook"), (command("echo 'no carrier' >&2; exit 7"), "7: no carrier")] {
            let mut gateway = Gateway::start(Answer::Welcome, None).await?;
            let has_hook = hook.is_some();
            let agent = Agent::start(gateway.address, |settings| settings.rotate = hook);
            let linked = gateway.link().await;
            assert_eq!(linked.hello.rotate_ms.is_some(), has_hook);
            linked.link.ask_rotate(&Rotate { id: "r1".into() });
            let answer = within("the answer", linked.link.rotated()).await.ok_or("the link lives")?;
            assert!(!answer.ok && answer.why.as_deref().is_some_and(|why| why.contains(part)), "{answer:?}");
            assert!(!linked.link.is_draining(), "nothing changed");
            agent.stop().await?;
        }
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.links = 2;
            settings.rotate = command("sleep 1000");
        });
        let (first, second) = (gateway.link().await, gateway.link().await);
        first.link.ask_rotate(&Rotate { id: "r1".into() });
        // Over the other link, which may be read first: one of the two is told.
        second.link.ask_rotate(&Rotate { id: "r2".into() });
        let answer = within("the refusal", async {
            tokio::select! {
                answer = second.link.rotated() => answer,
                answer = first.link.rotated() => answer,
            }
        })
        .await
        .ok_or("the link lives")?;
        assert!(answer.why.as_deref().is_some_and(|why| why.contains("still running")), "{answer:?}");
        // The end does not wait for the hook.
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 });
        Ok(())
    })
    .await
}
