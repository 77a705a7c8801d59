//! Links over real loopback sockets: both ends of ours, and each of ours against a general WebSocket library.

use std::{
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use outgate_link::{
    Asked, Connect, ConnectError, Connected, Goodbye, Hello, Incoming, Limits, Link, LinkEnd, Refusal, ResetReason, Tunnel,
    Welcome, frame, shell, upgrade,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::tungstenite;

type Outcome = Result<(), Box<dyn Error>>;

/// Nothing here takes long; a test that hangs must say where.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened for {PATIENCE:?}"),
    }
}

struct Pair {
    link: Link,
    gateway: JoinHandle<LinkEnd>,
    exit: JoinHandle<LinkEnd>,
    exit_link: Link,
    incoming: Incoming,
}

async fn sockets() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (out, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    Ok((out?, accepted?.0))
}

fn hello() -> Hello {
    Hello { version: 1, agent: "test".into(), country: Some("de".into()), max_tunnels: 600, ..Hello::default() }
}

fn welcome() -> Welcome {
    Welcome { exit_id: "x1".into(), gateway: "gw".into(), heartbeat_ms: 3000, dead_ms: 9000 }
}

async fn pair() -> Result<Pair, Box<dyn Error>> {
    let (out, inward) = sockets().await?;
    pair_over(out, inward, welcome()).await
}

async fn pair_over<IO>(out: TcpStream, inward: IO, welcome: Welcome) -> Result<Pair, Box<dyn Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gateway = async {
        let pending = shell::accept(inward, Bytes::new()).await?;
        assert_eq!(pending.hello(), &hello());
        pending.welcome(&welcome, Limits::default()).await
    };
    let hello = hello();
    let (gateway, exit) = tokio::join!(gateway, shell::join(out, Bytes::new(), &hello, Limits::default()));
    let ((link, driver), exit) = (gateway?, exit?);
    assert_eq!(exit.welcome, welcome);
    Ok(Pair {
        link,
        gateway: tokio::spawn(driver.run()),
        exit: tokio::spawn(exit.driver.run()),
        exit_link: exit.link,
        incoming: exit.incoming,
    })
}

fn to(host: &str) -> Connect {
    Connect { request_id: "r1".into(), host: host.into(), port: 80, ..Connect::default() }
}

fn connected() -> Connected {
    Connected {
        address: SocketAddr::from(([192, 0, 2, 7], 80)),
        dns: Duration::from_millis(1),
        connect: Duration::from_millis(2),
    }
}

async fn open(pair: &mut Pair) -> Result<(Tunnel, Tunnel), Box<dyn Error>> {
    let (asked, near) = tokio::join!(
        async { pair.incoming.next().await.map(|asked: Asked| asked.accept(&connected())) },
        pair.link.connect(to("example.test")),
    );
    let (near, told) = near?;
    assert_eq!(told, connected());
    Ok((near, asked.ok_or("a question")?))
}

/// Bytes that differ everywhere, and their sum as they pass.
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
        for (offset, byte) in buffer[..count].iter().enumerate() {
            if *byte != pattern(at + offset) {
                return Err(io::Error::other(format!("byte {} is wrong", at + offset)));
            }
        }
        at += count;
    }
}

#[tokio::test]
async fn fifty_mebibytes_both_ways_at_once() -> Outcome {
    const LENGTH: usize = 50 << 20;
    let mut pair = pair().await?;
    let (near, far) = open(&mut pair).await?;
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let all =
        async { tokio::try_join!(send(near_write, LENGTH), send(far_write, LENGTH), receive(near_read), receive(far_read)) };
    let ((), (), down, up) = within("100 MiB", all).await?;
    assert_eq!((down, up), (LENGTH, LENGTH));
    within("the end", pair.exit_link.idle()).await;
    assert_eq!(pair.link.open_tunnels(), 0);
    Ok(())
}

/// Whatever a burst leaves for the last message of a turn, nothing waits for the next burst.
#[tokio::test]
async fn bursts_of_any_size_arrive() -> Outcome {
    let mut pair = pair().await?;
    let (mut near, mut far) = open(&mut pair).await?;
    for size in (1..60).map(|step| step * 16 * 1024) {
        let burst = vec![1; size];
        let mut heard = vec![0; size];
        let both = async { tokio::try_join!(near.write_all(&burst), far.read_exact(&mut heard)) };
        within("a burst", both).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_does_not_stall_its_neighbour() -> Outcome {
    let mut pair = pair().await?;
    let (mut slow, slow_far) = open(&mut pair).await?;
    let (quick, quick_far) = open(&mut pair).await?;
    let stuck = tokio::spawn(send(slow_far, 8 << 20));
    let sender = tokio::spawn(send(quick_far, 8 << 20));
    assert_eq!(within("the quick one", receive(quick)).await?, 8 << 20);
    sender.await??;
    assert!(!stuck.is_finished(), "nobody has read it");
    assert!(pair.link.stats().buffered <= 1 << 20, "and little of it is held here");
    assert_eq!(within("the slow one", receive(&mut slow)).await?, 8 << 20);
    stuck.await??;
    Ok(())
}

#[tokio::test]
async fn five_hundred_tunnels_talk() -> Outcome {
    let mut pair = pair().await?;
    let mut tunnels = Vec::new();
    for _ in 0..500 {
        tunnels.push(open(&mut pair).await?);
    }
    assert_eq!(pair.link.open_tunnels(), 500);
    for (at, (near, far)) in tunnels.iter_mut().enumerate() {
        let text = format!("tunnel {at}");
        near.write_all(text.as_bytes()).await?;
        let mut heard = vec![0; text.len()];
        within("a word", far.read_exact(&mut heard)).await?;
        assert_eq!(heard, text.as_bytes());
    }
    drop(tunnels);
    within("all gone", pair.exit_link.idle()).await;
    within("all gone", pair.link.idle()).await;
    Ok(())
}

#[tokio::test]
async fn refusals_and_resets_say_why() -> Outcome {
    let mut pair = pair().await?;
    let refusal = Refusal {
        slug: "target_refused".into(),
        facts: vec![("host".into(), "example.test".into())],
        detail: Some("os error 111".into()),
    };
    let (answer, ()) = tokio::join!(pair.link.connect(to("example.test")), async {
        if let Some(asked) = pair.incoming.next().await {
            asked.refuse(refusal.clone());
        }
    });
    assert!(matches!(answer, Err(ConnectError::Refused(told)) if told == refusal));

    let (mut near, far) = open(&mut pair).await?;
    far.reset(ResetReason::new("target_reset").with_detail("os error 104"));
    let error = within("the reset", near.read_u8()).await.expect_err("broken off");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(near.reset_reason(), Some(ResetReason::new("target_reset").with_detail("os error 104")));
    Ok(())
}

#[tokio::test]
async fn a_dropped_question_is_taken_back() -> Outcome {
    let mut pair = pair().await?;
    let link = pair.link.clone();
    let question = tokio::spawn(async move { link.connect(to("slow.test")).await.map(|_| ()) });
    let asked = within("the question", pair.incoming.next()).await.ok_or("a question")?;
    assert_eq!(asked.connect, to("slow.test"));
    question.abort();
    within("taken back", asked.cancelled()).await;
    drop(asked);
    within("forgotten", pair.exit_link.idle()).await;
    assert_eq!(pair.link.open_tunnels(), 0);
    Ok(())
}

#[tokio::test]
async fn a_killed_link_aborts_its_tunnels() -> Outcome {
    let mut pair = pair().await?;
    let (mut near, mut far) = open(&mut pair).await?;
    pair.exit.abort();
    let error = within("the loss, here", near.read_u8()).await.expect_err("aborted");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let error = within("the loss, there", far.read_u8()).await.expect_err("aborted");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert!(matches!(within("the end", pair.gateway).await?, LinkEnd::PeerClosed | LinkEnd::Io(_)));
    assert!(pair.link.is_closed());
    assert!(matches!(pair.link.connect(to("x")).await, Err(ConnectError::Lost(_))));
    assert!(pair.incoming.next().await.is_none());
    Ok(())
}

#[tokio::test]
async fn a_goodbye_arrives_and_drains_do_not_cut() -> Outcome {
    let mut pair = pair().await?;
    let (mut near, mut far) = open(&mut pair).await?;
    pair.exit_link.drain();
    within("the drain", pair.link.draining()).await;
    assert!(matches!(pair.link.connect(to("x")).await, Err(ConnectError::Draining)));
    far.write_all(b"still here").await?;
    let mut heard = [0; 10];
    within("a word", near.read_exact(&mut heard)).await?;
    let why = Goodbye::new("revoked", "the token was revoked");
    pair.link.close(why.clone());
    assert_eq!(within("the end", pair.gateway).await?, LinkEnd::Closed(why.clone()));
    assert_eq!(within("the goodbye", pair.exit).await?, LinkEnd::Goodbye(why));
    Ok(())
}

/// Lets nothing through in either direction once frozen, like a peer that vanished without a FIN.
struct Freezing {
    io: TcpStream,
    frozen: Arc<AtomicUsize>,
}

impl AsyncRead for Freezing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.frozen.load(Ordering::Relaxed) == 1 {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Freezing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.frozen.load(Ordering::Relaxed) == 1 {
            return Poll::Ready(Ok(data.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn silence_is_noticed_at_both_ends() -> Outcome {
    let (out, inward) = sockets().await?;
    // Kept open behind the gateway's back: whoever dies first must not tell the other by a reset.
    let inward = inward.into_std()?;
    let _kept = inward.try_clone()?;
    let inward = TcpStream::from_std(inward)?;
    let frozen = Arc::new(AtomicUsize::new(0));
    let inward = Freezing { io: inward, frozen: Arc::clone(&frozen) };
    let mut pair = pair_over(out, inward, Welcome { heartbeat_ms: 50, dead_ms: 300, ..welcome() }).await?;
    let (mut near, _far) = open(&mut pair).await?;
    // Longer than the dead interval: heartbeats keep it.
    let quiet = timeout(Duration::from_millis(900), pair.link.closed()).await;
    assert!(quiet.is_err(), "a quiet link lives");
    assert!(pair.link.rtt().is_some() && pair.exit_link.rtt().is_some());
    frozen.store(1, Ordering::Relaxed);
    let start = Instant::now();
    assert_eq!(within("death, here", pair.gateway).await?, LinkEnd::Dead);
    assert_eq!(within("death, there", pair.exit).await?, LinkEnd::Dead);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let error = near.read_u8().await.expect_err("aborted");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    Ok(())
}

#[tokio::test]
async fn handshakes_refuse_what_is_no_hello() -> Outcome {
    let cases: [(&str, &[u8]); 4] = [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        ("unmasked", &[0x82, 0]),
        ("a long message", &[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0]),
        ("an empty message", &[0x82, 0x80, 1, 2, 3, 4]),
    ];
    for (name, bytes) in cases {
        let (mut out, inward) = sockets().await?;
        out.write_all(bytes).await?;
        out.shutdown().await?;
        assert!(within(name, shell::accept(inward, Bytes::new())).await.is_err(), "{name}");
    }
    let (_out, inward) = sockets().await?;
    assert!(shell::accept(inward, Bytes::from_static(b"x")).await.is_err(), "bytes before the 101");
    let (out, inward) = sockets().await?;
    let gateway = async {
        let pending = shell::accept(inward, Bytes::new()).await?;
        pending.goodbye(Goodbye::new("revoked", "no longer")).await
    };
    let (hello, limits) = (hello(), Limits::default());
    let (declined, joined) = tokio::join!(gateway, shell::join(out, Bytes::new(), &hello, limits));
    declined?;
    assert!(matches!(joined, Err(shell::HandshakeError::Goodbye(why)) if why == Goodbye::new("revoked", "no longer")));
    Ok(())
}

/// Every ping makes the WebSocket queue a pong: a peer that reads none of them must not fill the memory.
#[tokio::test]
async fn pings_that_nobody_reads_the_answers_of_end_the_link() -> Outcome {
    let (mut peer, inward) = tokio::io::duplex(1024);
    let json = br#"{"version":1,"agent":"flood","max_tunnels":5}"#;
    let mut hello = Vec::new();
    frame::encode(&mut hello, frame::Kind::Hello, 0, json);
    // Masked with zeros.
    peer.write_all(&[0x82, 0x80 | hello.len() as u8, 0, 0, 0, 0]).await?;
    peer.write_all(&hello).await?;
    let pending = within("a hello", shell::accept(inward, Bytes::new())).await?;
    let (_link, driver) = pending.welcome(&welcome(), Limits::default()).await?;
    let driver = tokio::spawn(driver.run());
    let ping = [&[0x89, 0x80 | 100, 0, 0, 0, 0][..], &[7; 100]].concat();
    let flood = async { while peer.write_all(&ping).await.is_ok() {} };
    let (end, ()) = tokio::join!(within("the end", driver), flood);
    assert_eq!(end?, LinkEnd::Protocol("a flood of pings".into()));
    Ok(())
}

/// A general library dials our gateway: says hello, pings, is asked for a tunnel in a fragmented exchange.
#[tokio::test]
async fn a_general_library_as_the_exit() -> Outcome {
    use tungstenite::{
        Message,
        protocol::frame::Frame,
        protocol::frame::coding::{Data, OpCode},
    };

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let peer = std::thread::spawn(move || -> Result<Vec<u8>, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let stream = std::net::TcpStream::connect(address).map_err(|error| told(&error))?;
        let request = http::Request::get("ws://gw.test/v1/link")
            .header("Host", "gw.test")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key())
            .header("Sec-WebSocket-Protocol", "outgate-link.1")
            .header("Authorization", "Bearer secret")
            .body(())
            .map_err(|error| told(&error))?;
        let (mut socket, _) = tungstenite::client(request, stream).map_err(|error| told(&error))?;
        let mut out = Vec::new();
        let json = br#"{"version":1,"agent":"general","max_tunnels":5}"#;
        frame::encode(&mut out, frame::Kind::Hello, 0, json);
        // In three fragments, with a ping between.
        let (first, rest) = out.split_at(10);
        let (second, third) = rest.split_at(10);
        let part = |data: &[u8], opcode, last| Message::Frame(Frame::message(data.to_vec(), OpCode::Data(opcode), last));
        for message in [
            part(first, Data::Binary, false),
            Message::Ping(Bytes::from_static(b"?")),
            part(second, Data::Continue, false),
            part(third, Data::Continue, true),
        ] {
            socket.send(message).map_err(|error| told(&error))?;
        }
        let mut all = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Binary(message)) => {
                    // A welcome, then a question: refuse it.
                    let mut message = message;
                    while let Some(frame) = frame::decode(&mut message).map_err(|error| told(&error))? {
                        all.push(frame.kind as u8);
                        if frame.kind == frame::Kind::Connect {
                            let mut out = Vec::new();
                            let json = br#"{"slug":"exit_refused"}"#;
                            frame::encode(&mut out, frame::Kind::Refused, frame.tunnel, json);
                            socket.send(Message::Binary(out.into())).map_err(|error| told(&error))?;
                        }
                    }
                }
                Ok(Message::Pong(_)) => all.push(b'!'),
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return Ok(all),
                Err(error) => return Err(told(&error)),
            }
        }
    });
    let (mut stream, _) = listener.accept().await?;
    let (request, behind) = upgrade::read_request(&mut stream).await?;
    assert_eq!(request.uri().path(), "/v1/link");
    assert_eq!(upgrade::bearer(request.headers()), Some("secret"));
    stream.write_all(&upgrade::link_answer(&request)?).await?;
    let pending = within("a hello", shell::accept(stream, behind)).await?;
    assert_eq!(pending.hello().agent, "general");
    let (link, driver) = pending.welcome(&welcome(), Limits::default()).await?;
    let driver = tokio::spawn(driver.run());
    assert_eq!(link.max_tunnels(), 5);
    let answer = within("an answer", link.connect(to("example.test"))).await;
    assert!(matches!(answer, Err(ConnectError::Refused(refusal)) if refusal.slug == "exit_refused"));
    link.close(Goodbye::new("done", "done"));
    within("the end", driver).await?;
    let seen = tokio::task::spawn_blocking(|| peer.join()).await?.map_err(|_| "the peer panicked")??;
    assert_eq!(seen, [b'!', frame::Kind::Welcome as u8, frame::Kind::Connect as u8, frame::Kind::Goodbye as u8]);
    Ok(())
}

/// Our exit dials a general library's server, which opens a tunnel by hand.
#[tokio::test]
async fn a_general_library_as_the_gateway() -> Outcome {
    use tungstenite::Message;

    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (done, finished) = oneshot::channel::<()>();
    let peer = std::thread::spawn(move || -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let (stream, _) = listener.accept().map_err(|error| told(&error))?;
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let protocol = |_: &_, mut answer: tungstenite::handshake::server::Response| {
            let name = http::HeaderValue::from_static("outgate-link.1");
            answer.headers_mut().insert("Sec-WebSocket-Protocol", name);
            Ok(answer)
        };
        let mut socket = tungstenite::accept_hdr(stream, protocol).map_err(|error| told(&error))?;
        let mut kinds = Vec::new();
        loop {
            let Message::Binary(mut message) = socket.read().map_err(|error| told(&error))? else {
                continue;
            };
            while let Some(frame) = frame::decode(&mut message).map_err(|error| told(&error))? {
                kinds.push(frame.kind);
                let mut out = Vec::new();
                match frame.kind {
                    frame::Kind::Hello => {
                        let json = br#"{"exit_id":"x1","gateway":"gw","heartbeat_ms":3000,"dead_ms":9000}"#;
                        frame::encode(&mut out, frame::Kind::Welcome, 0, json);
                        let json = br#"{"request_id":"r","host":"h","port":1,"window":1000}"#;
                        frame::encode(&mut out, frame::Kind::Connect, 1, json);
                        // A message holds one Welcome and nothing else.
                        let rest = out.split_off(out.len() - json.len() - frame::HEADER);
                        socket.send(Message::Binary(out.into())).map_err(|error| told(&error))?;
                        out = rest;
                    }
                    frame::Kind::Connected => {
                        frame::encode(&mut out, frame::Kind::Data, 1, b"hello");
                        frame::encode(&mut out, frame::Kind::End, 1, b"");
                    }
                    frame::Kind::End => {
                        assert!(kinds.contains(&frame::Kind::Data), "{kinds:?}");
                        let _ = done.send(());
                        return Ok(());
                    }
                    _ => continue,
                }
                socket.send(Message::Binary(out.into())).map_err(|error| told(&error))?;
            }
        }
    });
    let mut stream = TcpStream::connect(address).await?;
    let behind = within("101", upgrade::ask_link(&mut stream, "gw.test", "/v1/link", "secret")).await?;
    let mut joined = within("welcome", shell::join(stream, behind, &hello(), Limits::default())).await?;
    let driver = tokio::spawn(joined.driver.run());
    let asked = within("a question", joined.incoming.next()).await.ok_or("a question")?;
    let mut tunnel = asked.accept(&connected());
    let mut heard = String::new();
    within("a word", tunnel.read_to_string(&mut heard)).await?;
    assert_eq!(heard, "hello");
    tunnel.write_all(b"world").await?;
    tunnel.shutdown().await?;
    within("the end", finished).await?;
    tokio::task::spawn_blocking(|| peer.join()).await?.map_err(|_| "the peer panicked")??;
    within("the end", driver).await?;
    Ok(())
}
