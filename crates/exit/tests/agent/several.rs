//! Several links at once, the caps over all of them, and the end in a hurry.

use super::*;

#[tokio::test]
async fn several_links_come_back_each_on_its_own() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| settings.links = 3);
        let mut links = Vec::new();
        for _ in 0..3 {
            links.push(gateway.link().await);
        }
        let target = echo_server().await?;
        let (mut kept, _) = open(&links[0].link, target).await?;
        // Two of them are lost; the third carries on, and both come back.
        for lost in links.drain(1..) {
            lost.driver.abort();
        }
        for _ in 0..2 {
            links.push(gateway.link().await);
        }
        for linked in &links {
            let (mut tunnel, _) = open(&linked.link, target).await?;
            tunnel.write_all(b"hello").await?;
            let mut heard = [0; 5];
            within("an echo", tunnel.read_exact(&mut heard)).await?;
        }
        kept.write_all(b"still").await?;
        let mut heard = [0; 5];
        within("an echo", kept.read_exact(&mut heard)).await?;
        drop(kept);
        for linked in &links {
            within("idle", linked.link.idle()).await;
        }
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 });
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_revoked_link_ends_the_exit() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| settings.links = 2);
        let (first, second) = (gateway.link().await, gateway.link().await);
        second.link.close(Goodbye::new("revoked", "just now"));
        assert_eq!(within("the end", agent.task).await?, ExitEnd::Revoked { text: "just now".into() });
        assert!(matches!(within("the other link's end", first.link.closed()).await, LinkEnd::Goodbye(_)));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_tunnel_cap_is_over_all_links() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.links = 2;
            settings.max_tunnels = 3;
        });
        let (first, second) = (gateway.link().await, gateway.link().await);
        assert_eq!((first.hello.max_tunnels, first.hello.tunnels_in_all), (3, Some(3)));
        let target = echo_server().await?;
        let mut open_now = vec![open(&first.link, target).await?.0, open(&second.link, target).await?.0];
        open_now.push(open(&second.link, target).await?.0);
        for link in [&first.link, &second.link] {
            let refused = open(link, target).await.expect_err("a fourth");
            let ConnectError::Refused(refusal) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal.slug, "exit_refused");
            assert!(refusal.detail.is_some_and(|detail| detail.contains("tunnel limit")));
        }
        open_now.clear();
        // The exit hears of the end a little later than we.
        within("room again", async {
            while open(&first.link, target).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_speed_cap_is_shared_by_all_tunnels_and_both_ways() -> Outcome {
    local(async {
        const SPEED: u64 = 400_000;
        const EACH: usize = 100_000;
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.links = 2;
            settings.speed = Some(SPEED);
        });
        let (first, second) = (gateway.link().await, gateway.link().await);
        let target = echo_server().await?;
        let start = std::time::Instant::now();
        let mut tasks = Vec::new();
        for link in [&first.link, &second.link, &first.link] {
            let (tunnel, _) = open(link, target).await?;
            let (read, write) = tokio::io::split(tunnel);
            tasks.push(spawn_local(async move {
                let (sent, received) = tokio::join!(send(write, EACH), receive(read));
                sent?;
                let received = received?;
                Ok::<_, io::Error>((received, start.elapsed()))
            }));
        }
        let mut took = Vec::new();
        for task in tasks {
            let (received, after) = within("an echo", task).await??;
            assert_eq!(received, EACH);
            took.push(after);
        }
        // 600,000 bytes in all, less what the bucket held at the start: no faster than the cap, whatever the machine.
        let least = Duration::from_secs_f64((6 * EACH) as f64 / SPEED as f64 * 0.85);
        assert!(took.iter().max() >= Some(&least), "{took:?}");
        // An idle tunnel beside them held nothing up, and nobody was starved: they end together.
        assert!(took.iter().min() >= Some(&(least / 2)), "{took:?}");
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn asked_twice_it_ends_at_once_and_counts_what_it_cut() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let mut agent = Agent::start(gateway.address, |settings| settings.grace = Duration::from_secs(3600));
        let linked = gateway.link().await;
        assert!(matches!(agent.event().await, Event::Connected { .. }));
        let target = echo_server().await?;
        let (mut one, _) = open(&linked.link, target).await?;
        let (_other, _) = open(&linked.link, target).await?;
        agent.stop.send(()).map_err(|()| "it runs")?;
        within("the drain", linked.link.draining()).await;
        let Some(Event::Stopping { tunnels: 2, .. }) = within("an event", agent.events.recv()).await else {
            return Err("not stopping".into());
        };
        one.write_all(b"hello").await?;
        let mut heard = [0; 5];
        within("what is open goes on", one.read_exact(&mut heard)).await?;
        agent.at_once.send(()).map_err(|()| "it runs")?;
        assert_eq!(within("the end", agent.task).await?, ExitEnd::Shutdown { cut: 2 });
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_status_tells_links_tunnels_and_bytes() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let (tell, mut told) = mpsc::unbounded_channel();
        let agent = Agent::start(gateway.address, |settings| {
            settings.links = 2;
            let tell = Arc::new(move |status: &outgate_exit::Status| {
                let _ = tell.send(status.clone());
            });
            settings.watch = Some(outgate_exit::Watch { every: Duration::from_millis(10), tell });
        });
        let (first, _second) = (gateway.link().await, gateway.link().await);
        let (mut tunnel, _) = open(&first.link, echo_server().await?).await?;
        tunnel.write_all(b"hello").await?;
        let mut heard = [0; 5];
        within("an echo", tunnel.read_exact(&mut heard)).await?;
        within("the status", async {
            while let Some(status) = told.recv().await {
                if (status.links, status.tunnels, status.up, status.down) == (2, 1, 5, 5) && status.rtt.is_some() {
                    assert_eq!((status.exit_id.as_deref(), status.gateway.as_deref()), (Some("x1"), Some("gw")));
                    assert_eq!(status.links_wanted, 2);
                    return;
                }
            }
        })
        .await;
        agent.stop().await?;
        Ok(())
    })
    .await
}
