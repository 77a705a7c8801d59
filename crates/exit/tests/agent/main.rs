//! The agent against a gateway of a few lines, over real sockets.

mod proxied;
mod rotate;
mod several;

use std::{error::Error, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use outgate_exit::{Event, ExitEnd, Reconnect, Settings, Token, run};
use outgate_link::{
    Connect, ConnectError, Connected, Goodbye, Hello, Limits, Link, LinkEnd, ResetReason, Tunnel, Welcome, shell, upgrade,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, LocalSet, spawn_local},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

type Outcome = Result<(), Box<dyn Error>>;

/// Nothing here takes long; a test that hangs must say where.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "token-of-a-test";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened for {PATIENCE:?}"),
    }
}

/// What the gateway saw of one link.
struct Linked {
    hello: Hello,
    link: Link,
    driver: JoinHandle<LinkEnd>,
}

struct Gateway {
    address: SocketAddr,
    links: mpsc::UnboundedReceiver<Linked>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Welcome,
    Revoked,
}

impl Gateway {
    async fn start(answer: Answer, tls: Option<TlsAcceptor>) -> io::Result<Gateway> {
        Gateway::start_at("127.0.0.1:0", answer, tls).await
    }

    async fn start_at(address: &str, answer: Answer, tls: Option<TlsAcceptor>) -> io::Result<Gateway> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (found, links) = mpsc::unbounded_channel();
        let task = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (found, tls) = (found.clone(), tls.clone());
                // A visitor that fails is the visitor's problem; the tests look at the agent.
                spawn_local(async move {
                    let _ = match tls {
                        None => visit(stream, answer, found).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => visit(stream, answer, found).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        Ok(Gateway { address, links, task })
    }

    async fn link(&mut self) -> Linked {
        within("a link", self.links.recv()).await.expect("the gateway runs")
    }
}

async fn visit<IO>(mut stream: IO, answer: Answer, found: mpsc::UnboundedSender<Linked>) -> Outcome
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (request, behind) = upgrade::read_request(&mut stream).await?;
    if upgrade::bearer(request.headers()) != Some(TOKEN) {
        let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 14\r\n\r\nunknown token\n";
        stream.write_all(refusal).await?;
        return Ok(());
    }
    if request.uri().path() == "/v1/echo" {
        let told = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("?");
        let first = format!("{} {} ", told("x-outgate-request-id"), told("x-outgate-target-port"));
        // The first bytes ride behind the head, in one write.
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: outgate-echo\r\n\r\n";
        stream.write_all(format!("{head}{first}").as_bytes()).await?;
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::io::copy(&mut read, &mut write).await?;
        write.shutdown().await?;
        return Ok(());
    }
    assert_eq!(request.uri().path(), "/v1/link");
    stream.write_all(&upgrade::link_answer(&request)?).await?;
    let pending = shell::accept(stream, behind).await?;
    if answer == Answer::Revoked {
        return Ok(pending.goodbye(Goodbye::new("revoked", "by the operator")).await?);
    }
    let hello = pending.hello().clone();
    let welcome = Welcome { exit_id: "x1".into(), gateway: "gw".into(), heartbeat_ms: 1000, dead_ms: 3000 };
    let (link, driver) = pending.welcome(&welcome, Limits::default()).await?;
    let driver = spawn_local(driver.run());
    found.send(Linked { hello, link, driver }).map_err(|_| "the test is over")?;
    Ok(())
}

struct Agent {
    stop: oneshot::Sender<()>,
    at_once: oneshot::Sender<()>,
    task: JoinHandle<ExitEnd>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Agent {
    fn start(address: SocketAddr, adjust: impl FnOnce(&mut Settings)) -> Agent {
        let url = format!("ws://{address}").parse().expect("an address makes a URL");
        let mut settings = Settings::new(url, Token::new(TOKEN));
        let (tell, events) = mpsc::unbounded_channel();
        settings.on_event = Some(Arc::new(move |event: &Event| {
            let _ = tell.send(event.clone());
        }));
        settings.reconnect = Reconnect {
            least: Duration::from_millis(10),
            most: Duration::from_millis(50),
            refused: Duration::from_millis(100),
            ..Reconnect::default()
        };
        settings.links = 1;
        settings.grace = Duration::from_millis(200);
        settings.allow_targets = vec!["127.0.0.0/8".parse().expect("a range")];
        adjust(&mut settings);
        let (stop, stopped) = oneshot::channel();
        let (at_once, ended) = oneshot::channel::<()>();
        let when = async |told: oneshot::Receiver<()>| match told.await {
            Ok(()) => {}
            Err(_) => std::future::pending().await,
        };
        let task = spawn_local(async move { run(settings, when(stopped), when(ended)).await });
        Agent { stop, at_once, task, events }
    }

    async fn event(&mut self) -> Event {
        within("an event", self.events.recv()).await.expect("the agent runs")
    }

    async fn stop(self) -> Result<ExitEnd, Box<dyn Error>> {
        let _ = self.stop.send(());
        let end = within("the end", self.task).await?;
        drop(self.at_once);
        Ok(end)
    }
}

/// Echoes every connection.
async fn echo_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let (mut read, mut write) = stream.split();
                if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                    let _ = write.shutdown().await;
                }
            });
        }
    });
    Ok(address)
}

fn to(address: SocketAddr) -> Connect {
    Connect {
        request_id: "r1".into(),
        host: address.ip().to_string(),
        port: address.port(),
        deadline: Some(Duration::from_secs(5)),
        ..Connect::default()
    }
}

async fn open(link: &Link, address: SocketAddr) -> Result<(Tunnel, Connected), ConnectError> {
    within("a tunnel", link.connect(to(address))).await
}

/// Bytes that differ everywhere.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

async fn send(mut tunnel: impl AsyncWrite + Unpin, length: usize) -> io::Result<()> {
    let mut at = 0;
    // Sizes that fit no boundary.
    let mut size = 1;
    while at < length {
        size = (size * 7 + 13) % 100_000;
        let part: Vec<u8> = (at..(at + size).min(length)).map(pattern).collect();
        tunnel.write_all(&part).await?;
        at += part.len();
    }
    tunnel.shutdown().await
}

async fn receive(mut tunnel: impl AsyncRead + Unpin) -> io::Result<usize> {
    let mut buffer = vec![0; 50_000];
    let mut at = 0;
    loop {
        let count = tunnel.read(&mut buffer).await?;
        if count == 0 {
            return Ok(at);
        }
        if buffer[..count].iter().enumerate().any(|(offset, byte)| *byte != pattern(at + offset)) {
            return Err(io::Error::other(format!("a wrong byte after {at}")));
        }
        at += count;
    }
}

async fn local(test: impl Future<Output = Outcome>) -> Outcome {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn fifty_mebibytes_through_a_target_and_back() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| {
            settings.labels.country = Some("de".into());
            settings.labels.pool = Some("residential".into());
        });
        let Linked { hello, link, .. } = gateway.link().await;
        assert_eq!((hello.country.as_deref(), hello.pool.as_deref()), (Some("de"), Some("residential")));
        let target = echo_server().await?;
        let (tunnel, connected) = open(&link, target).await?;
        assert_eq!(connected.address, target);
        let (read, write) = tokio::io::split(tunnel);
        let both = async { tokio::try_join!(send(write, 50 << 20), receive(read)) };
        assert_eq!(within("50 MiB", both).await?.1, 50 << 20);
        within("the tunnel's end", link.idle()).await;
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 });
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_found_at_the_exit_have_their_slug_and_facts() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let Linked { link, .. } = gateway.link().await;
        let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let Err(ConnectError::Refused(refusal)) = open(&link, closed).await else {
            return Err("a closed port accepted".into());
        };
        assert_eq!(refusal.slug, "target_refused");
        let port = closed.port().to_string();
        assert!(refusal.facts.iter().any(|(_, value)| *value == port), "{refusal:?}");

        let cases = [
            ("10.0.0.1", "target_private"),
            ("[::1]", "target_private"),
            ("169.254.169.254", "target_metadata"),
            ("0x7f.1", "malformed_target"),
        ];
        for (host, slug) in cases {
            let connect = Connect { host: host.into(), ..to(closed) };
            let answer = within(host, link.connect(connect)).await;
            assert!(matches!(&answer, Err(ConnectError::Refused(refusal)) if refusal.slug == slug), "{host}: {answer:?}");
        }
        agent.stop().await?;

        // Loopback is private too unless it is opened.
        let agent = Agent::start(gateway.address, |settings| settings.allow_targets.clear());
        let Linked { link, .. } = gateway.link().await;
        let answer = open(&link, closed).await;
        assert!(matches!(answer, Err(ConnectError::Refused(refusal)) if refusal.slug == "target_private"));
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_slow_reader_does_not_stall_its_neighbour() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let Linked { link, .. } = gateway.link().await;
        let target = echo_server().await?;
        let (slow, _) = open(&link, target).await?;
        let (quick, _) = open(&link, target).await?;
        let (slow_read, slow_write) = tokio::io::split(slow);
        // More than every buffer on the way holds together: it comes to a stop.
        let stuck = spawn_local(send(slow_write, 64 << 20));
        let (read, write) = tokio::io::split(quick);
        let both = async { tokio::try_join!(send(write, 16 << 20), receive(read)) };
        assert_eq!(within("the quick one", both).await?.1, 16 << 20);
        assert!(!stuck.is_finished());
        assert_eq!(within("the slow one", receive(slow_read)).await?, 64 << 20);
        stuck.await??;
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn resets_go_through_in_both_directions() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let Linked { link, .. } = gateway.link().await;
        let listener = TcpListener::bind("127.0.0.1:0").await?;

        let (mut tunnel, _) = open(&link, listener.local_addr()?).await?;
        let (target, _) = within("the target", listener.accept()).await?;
        target.set_zero_linger()?;
        drop(target);
        let error = within("the reset", tunnel.read_u8()).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let reason = tunnel.reset_reason().ok_or("a reason")?;
        assert_eq!(reason.slug.as_deref(), Some("target_reset"));

        let (tunnel, _) = open(&link, listener.local_addr()?).await?;
        let (mut target, _) = within("the target", listener.accept()).await?;
        drop(tunnel);
        let error = within("the reset", target.read_u8()).await.expect_err("reset, not ended");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        agent.stop().await?;
        Ok(())
    })
    .await
}

/// While it waits for the target nothing is read of the tunnel; that this was broken off must be noticed all the same.
#[tokio::test]
async fn a_stalled_target_is_let_go_with_its_tunnel() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let Linked { link, .. } = gateway.link().await;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut tunnel, _) = open(&link, listener.local_addr()?).await?;
        let (target, _) = within("the target", listener.accept()).await?;
        let full = async { while tunnel.write(&[7; 65_536]).await.is_ok() {} };
        assert!(timeout(Duration::from_secs(1), full).await.is_err(), "nobody reads, so it comes to a stop");
        tunnel.reset(ResetReason::default());
        within("the target's reset", target.ready(Interest::ERROR)).await?;
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn half_close_goes_through() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let Linked { link, .. } = gateway.link().await;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut tunnel, _) = open(&link, listener.local_addr()?).await?;
        let (mut target, _) = within("the target", listener.accept()).await?;
        tunnel.write_all(b"question").await?;
        tunnel.shutdown().await?;
        let mut heard = String::new();
        within("the question", target.read_to_string(&mut heard)).await?;
        assert_eq!(heard, "question");
        target.write_all(b"answer").await?;
        drop(target);
        let mut heard = String::new();
        within("the answer", tunnel.read_to_string(&mut heard)).await?;
        assert_eq!(heard, "answer");
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_killed_link_resets_targets_and_the_agent_comes_back() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let mut agent = Agent::start(gateway.address, |_| {});
        let Linked { link, driver, .. } = gateway.link().await;
        assert!(matches!(agent.event().await, Event::Connected { exit_id, .. } if exit_id == "x1"));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut tunnel, _) = open(&link, listener.local_addr()?).await?;
        let (mut target, _) = within("the target", listener.accept()).await?;
        driver.abort();
        let error = within("the loss", tunnel.read_u8()).await.expect_err("aborted");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let error = within("the target's loss", target.read_u8()).await.expect_err("reset, not ended");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(agent.event().await, Event::Lost { .. }));
        assert!(matches!(agent.event().await, Event::Retry { .. }));

        let Linked { link, .. } = gateway.link().await;
        let (mut tunnel, _) = open(&link, echo_server().await?).await?;
        tunnel.write_all(b"again").await?;
        let mut heard = [0; 5];
        within("an echo", tunnel.read_exact(&mut heard)).await?;
        assert_eq!(&heard, b"again");
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 1 }, "the tunnel was still open");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_wrong_token_is_told_and_a_revoked_one_ends_it() -> Outcome {
    local(async {
        let gateway = Gateway::start(Answer::Welcome, None).await?;
        let mut agent = Agent::start(gateway.address, |settings| settings.token = Token::new("a-wrong-one"));
        for _ in 0..2 {
            let Event::Failed { why, .. } = agent.event().await else { return Err("linked".into()) };
            assert!(why.contains("401") && why.contains("unknown token"), "{why}");
            assert!(!why.contains("a-wrong-one"));
            assert_eq!(agent.event().await, Event::Retry { link: 1, wait: Duration::from_millis(100) });
        }
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 });

        let gateway = Gateway::start(Answer::Revoked, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        let end = within("the end", agent.task).await?;
        assert_eq!(end, ExitEnd::Revoked { text: "by the operator".into() });

        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |_| {});
        gateway.link().await.link.close(Goodbye::new("revoked", "just now"));
        let end = within("the end", agent.task).await?;
        assert_eq!(end, ExitEnd::Revoked { text: "just now".into() });
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_draining_gateway_is_left_without_cutting_tunnels() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let mut agent = Agent::start(gateway.address, |_| {});
        let old = gateway.link().await;
        assert!(matches!(agent.event().await, Event::Connected { .. }));
        let (mut tunnel, _) = open(&old.link, echo_server().await?).await?;
        // The old process stops listening, the new one takes its address.
        gateway.task.abort();
        let _ = gateway.task.await;
        let address = gateway.address.to_string();
        let mut gateway = Gateway::start_at(&address, Answer::Welcome, None).await?;
        old.link.drain();
        let new = gateway.link().await;
        assert_eq!(agent.event().await, Event::GatewayDraining { link: 1 });
        assert!(!old.link.is_closed() && !new.link.is_draining());
        tunnel.write_all(b"still here").await?;
        let mut heard = [0; 10];
        within("an echo", tunnel.read_exact(&mut heard)).await?;
        drop(tunnel);
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 });
        Ok(())
    })
    .await
}

#[tokio::test]
async fn five_hundred_tunnels() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        let agent = Agent::start(gateway.address, |settings| settings.max_tunnels = 500);
        let Linked { hello, link, .. } = gateway.link().await;
        assert_eq!(hello.max_tunnels, 500);
        let target = echo_server().await?;
        let mut tunnels = Vec::new();
        for _ in 0..500 {
            tunnels.push(open(&link, target).await?.0);
        }
        assert!(matches!(open(&link, target).await, Err(ConnectError::Full)));
        for (at, tunnel) in tunnels.iter_mut().enumerate() {
            let text = format!("tunnel {at}");
            tunnel.write_all(text.as_bytes()).await?;
            let mut heard = vec![0; text.len()];
            within("an echo", tunnel.read_exact(&mut heard)).await?;
            assert_eq!(heard, text.as_bytes());
        }
        drop(tunnels);
        within("all gone", link.idle()).await;
        agent.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_echo_is_dialed_back_over_tls_too() -> Outcome {
    local(async {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, certified.cert.pem())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())?;
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        for tls in [None, Some(TlsAcceptor::from(Arc::new(config)))] {
            let secure = tls.is_some();
            let mut gateway = Gateway::start(Answer::Welcome, tls).await?;
            let port = gateway.address.port();
            let url = if secure { format!("wss://localhost:{port}") } else { format!("ws://127.0.0.1:{port}") };
            let ca_file = ca_file.clone();
            let agent = Agent::start(gateway.address, |settings| {
                settings.gateway = url.parse().expect("a URL");
                settings.ca_file = Some(ca_file);
                // The gateway is at a private address: the echo needs no hole in the guard.
                settings.allow_targets.clear();
            });
            let Linked { link, .. } = gateway.link().await;
            let connect = Connect { echo: true, host: "echo.outgate".into(), port: 443, ..to(gateway.address) };
            let (mut tunnel, connected) = within("a tunnel", link.connect(connect)).await?;
            assert_eq!(connected.address, gateway.address);
            tunnel.write_all(b"hello").await?;
            tunnel.shutdown().await?;
            let mut heard = String::new();
            within("the echo", tunnel.read_to_string(&mut heard)).await?;
            assert_eq!(heard, "r1 443 hello");
            agent.stop().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_silent_target_times_out_or_is_given_up_with_its_question() -> Outcome {
    local(async {
        let mut gateway = Gateway::start(Answer::Welcome, None).await?;
        // A listener that never accepts and whose backlog is full leaves further SYNs unanswered.
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut fillers = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            fillers.push(stream?);
        }
        let agent = Agent::start(gateway.address, |settings| settings.connect_timeout = PATIENCE);
        let Linked { link, .. } = gateway.link().await;
        let asker = link.clone();
        let question = spawn_local(async move { asker.connect(to(address)).await.map(|_| ()) });
        within("asked", async {
            while link.open_tunnels() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        question.abort();
        let _ = question.await;
        assert_eq!(link.open_tunnels(), 0);
        let short = Connect { deadline: Some(Duration::from_millis(300)), ..to(address) };
        let answer = within("an answer", link.connect(short)).await;
        assert!(matches!(&answer, Err(ConnectError::Refused(refusal)) if refusal.slug == "connect_timeout"), "{answer:?}");
        assert_eq!(agent.stop().await?, ExitEnd::Shutdown { cut: 0 }, "nobody still dials");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn settings_that_cannot_work_end_it_at_once() -> Outcome {
    let mut settings = Settings::new("wss://gw.example.test".parse()?, Token::new(TOKEN));
    settings.ca_file = Some("/nonexistent/ca.pem".into());
    let end = LocalSet::new().run_until(run(settings, std::future::pending(), std::future::pending())).await;
    assert!(matches!(end, ExitEnd::Unusable { why } if why.contains("/nonexistent/ca.pem")));
    Ok(())
}
