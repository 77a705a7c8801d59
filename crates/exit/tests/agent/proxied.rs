//! The way to the gateway through an HTTP proxy of a few lines.

use super::*;

/// A proxy that answers like `answer` to whoever does not bring `authorization`, and else makes the tunnel.
async fn proxy(authorization: &'static str, answer: &'static str) -> io::Result<(SocketAddr, mpsc::UnboundedReceiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (tell, asked) = mpsc::unbounded_channel();
    spawn_local(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let tell = tell.clone();
            spawn_local(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let authority = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let allowed = head.contains(&format!("Proxy-Authorization: {authorization}\r\n"));
                let _ = tell.send(head);
                if !allowed {
                    client.write_all(answer.as_bytes()).await?;
                    return client.shutdown().await;
                }
                let mut target = TcpStream::connect(authority).await?;
                client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut client, &mut target).await.map(|_| ())
            });
        }
    });
    Ok((address, asked))
}

#[tokio::test]
async fn link_and_echo_go_through_the_proxy() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nX-Proxy-Error: credentials_missing\r\n\r\n";
        let (address, mut asked) = proxy("Basic bWU6c2VjcmV0", refusal).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.proxy = Some(format!("http://me:secret@{address}").parse().expect("a proxy"));
        });
        let Linked { link, .. } = gateway.link().await;
        let connect = Connect { echo: true, host: "echo.outgate".into(), port: 80, ..to(gateway.address) };
        let (mut tunnel, _) = within("a tunnel", link.connect(connect)).await?;
        tunnel.write_all(b"hello").await?;
        tunnel.shutdown().await?;
        let mut heard = String::new();
        within("the echo", tunnel.read_to_string(&mut heard)).await?;
        assert_eq!(heard, "r1 80 hello");
        for what in ["the link", "the echo"] {
            let head = within(what, asked.recv()).await.ok_or("the proxy runs")?;
            assert!(head.starts_with(&format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", gateway.address)), "{head}");
        }
        // Targets are not the proxy's business.
        let (_tunnel, _) = open(&link, echo_server().await?).await?;
        assert!(asked.try_recv().is_err());
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_without_the_password() -> Outcome {
    local(async {
        let gateway = Gateway::start(Answer::Welcome, None).await?;
        let cases = [
            (
                "HTTP/1.1 407 Who are you\r\nX-Proxy-Error: credentials_wrong\r\nContent-Length: 3\r\n\r\nno\n",
                "407 credentials_wrong; are its user",
            ),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden; its operator"),
            ("HTTP/1.1 502 Bad Gateway\r\nX-Squid-Error: ERR_CONNECT_FAIL \u{9b}31m111\r\n\r\n", "502 ERR_CONNECT_FAIL 31m111"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
            ("", "without an answer"),
        ];
        for (answer, part) in cases {
            let (address, _asked) = proxy("nobody", answer).await?;
            let mut agent = Agent::start(gateway.address, |settings| {
                settings.proxy = Some(format!("http://me:secret@{address}").parse().expect("a proxy"));
            });
            let Event::Failed { why, .. } = agent.event().await else { return Err("linked".into()) };
            assert!(why.contains(part) && why.contains(&address.to_string()), "{why}");
            assert!(!why.contains("secret") && !why.contains("bWU6") && why.is_ascii(), "{why}");
            agent.stop().await?;
        }
        Ok(())
    })
    .await
}
