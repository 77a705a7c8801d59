//! Both ends of a link in one thread over loopback TCP: how many bytes and set-ups per second the link itself carries.
//!
//! `cargo run --release -p outgate-link --example loop [SECONDS]`

#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{
    error::Error,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use outgate_link::{Connect, Connected, Hello, Incoming, Limits, Link, Welcome, shell};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let time = Duration::from_secs(seconds);
    LocalSet::new().run_until(measure(time)).await
}

async fn measure(time: Duration) -> Result<(), Box<dyn Error>> {
    let link = joined().await?;

    for tunnels in [1, 8] {
        let meter = Meter::start();
        let readers: Vec<_> = (0..tunnels).map(|_| tokio::task::spawn_local(download(link.clone(), meter.wall + time))).collect();
        let mut each = Vec::new();
        for reader in readers {
            each.push(reader.await?);
        }
        let total: u64 = each.iter().sum();
        let least = each.iter().min().copied().unwrap_or_default() as f64 * each.len() as f64 / total as f64;
        println!("{tunnels} tunnels down: {}, slowest has {least:.2} of its share", meter.rate(total));
    }

    for tunnels in [1, 8] {
        let meter = Meter::start();
        let before = link.stats().bytes_out;
        let writers: Vec<_> = (0..tunnels).map(|_| tokio::task::spawn_local(upload(link.clone(), meter.wall + time))).collect();
        for writer in writers {
            writer.await?;
        }
        println!("{tunnels} tunnels up: {}", meter.rate(link.stats().bytes_out - before));
    }

    for askers in [1, 64] {
        let meter = Meter::start();
        let before = link.stats();
        let tasks: Vec<_> =
            (0..askers).map(|_| tokio::task::spawn_local(ask_and_drop(link.clone(), meter.wall + time))).collect();
        let mut count = 0;
        for task in tasks {
            count += task.await?;
        }
        let after = link.stats();
        println!(
            "{askers} askers: {:.0} set-ups/s, {:.2} µs CPU each, {:.1} frames a message in",
            count as f64 / meter.wall.elapsed().as_secs_f64(),
            (cpu() - meter.cpu).as_secs_f64() * 1e6 / count as f64,
            (after.frames_in - before.frames_in) as f64 / (after.messages_in - before.messages_in) as f64,
        );
    }
    println!("{:?}", link.stats());
    Ok(())
}

/// Wall and processor time since a start: on a busy machine only the latter says much.
struct Meter {
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Meter {
        Meter { wall: Instant::now(), cpu: cpu() }
    }

    fn rate(&self, bytes: u64) -> String {
        let gbit = bytes as f64 * 8.0 / 1e9;
        format!(
            "{:.2} Gbit/s, {:.2} Gbit per CPU second",
            gbit / self.wall.elapsed().as_secs_f64(),
            gbit / (cpu() - self.cpu).as_secs_f64()
        )
    }
}

/// Processor time of this (only) thread; proc_pid_schedstat(5), zero elsewhere than on Linux.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

async fn joined() -> Result<Link, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (out, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (out, (inward, _)) = (out?, accepted?);
    out.set_nodelay(true)?;
    inward.set_nodelay(true)?;
    let hello = Hello { version: 1, agent: "loop".into(), max_tunnels: 4096, ..Hello::default() };
    let welcome = Welcome { exit_id: "x".into(), gateway: "loop".into(), heartbeat_ms: 3000, dead_ms: 9000 };
    let gateway = async {
        let pending = shell::accept(inward, Bytes::new()).await?;
        pending.welcome(&welcome, Limits::default()).await
    };
    let (gateway, exit) = tokio::join!(gateway, shell::join(out, Bytes::new(), &hello, Limits::default()));
    let ((link, driver), exit) = (gateway?, exit?);
    tokio::task::spawn_local(driver.run());
    tokio::task::spawn_local(exit.driver.run());
    tokio::task::spawn_local(serve(exit.incoming));
    Ok(link)
}

/// Port 1 sends for ever, port 2 swallows, any other just accepts.
async fn serve(mut incoming: Incoming) {
    let connected = Connected { address: SocketAddr::from(([127, 0, 0, 1], 80)), dns: Duration::ZERO, connect: Duration::ZERO };
    while let Some(asked) = incoming.next().await {
        let port = asked.connect.port;
        let mut tunnel = asked.accept(&connected);
        tokio::task::spawn_local(async move {
            match port {
                1 => {
                    let data = vec![7u8; 64 * 1024];
                    while tunnel.write_all(&data).await.is_ok() {}
                }
                2 => while let Ok(Some(_)) = tunnel.chunk().await {},
                _ => drop(tunnel.read(&mut [0; 16]).await),
            }
        });
    }
}

async fn download(link: Link, until: Instant) -> u64 {
    let Ok((mut tunnel, _)) = link.connect(to(1)).await else {
        return 0;
    };
    let mut total = 0;
    while Instant::now() < until
        && let Ok(Some(chunk)) = tunnel.chunk().await
    {
        total += chunk.len() as u64;
    }
    total
}

async fn upload(link: Link, until: Instant) {
    let Ok((mut tunnel, _)) = link.connect(to(2)).await else {
        return;
    };
    let data = vec![7u8; 64 * 1024];
    while Instant::now() < until && tunnel.write_all(&data).await.is_ok() {}
}

async fn ask_and_drop(link: Link, until: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < until && link.connect(to(3)).await.is_ok() {
        count += 1;
    }
    count
}

fn to(port: u16) -> Connect {
    Connect { request_id: "01J0000000000000".into(), host: "example.test".into(), port, ..Connect::default() }
}
