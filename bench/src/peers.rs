//! Who is measured: one row each, and how it is started.
//!
//! All proxies are given what a user who wants speed gives them: one worker, no cache, no access log. Outgate alone runs as
//! `quickstart` sets it up, with everything on: authentication, plan limits, metering, guard, records, metrics.

mod configs;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::{Output, Running};
use crate::failure::{During, Failure, Outcome};
use crate::measure::Measure;
use crate::route::{Route, origin_addresses};
use crate::setup::{Mode, open_all};
use crate::stage::{self, Doors};

pub(crate) use configs::CONFIGS;

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// For the page: what it is and what it doesn't do.
    pub(crate) what: &'static str,
    pub(crate) measures: &'static [Measure],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Direct,
    Outgate,
    OutgateExit,
    Squid,
    Tinyproxy,
    HaproxyTcp,
    HaproxyHttp,
    Nginx,
    Rathole,
}

use Measure::{Down, Gets, Idle, Latency, Setups, Up};

pub(crate) static PEERS: &[Peer] = &[
    Peer { name: "outgate", what: "Outgate, `direct` pool, everything on", measures: Measure::ALL, kind: Kind::Outgate },
    Peer { name: "squid", what: "full proxy; no credentials asked", measures: Measure::ALL, kind: Kind::Squid },
    Peer {
        name: "tinyproxy",
        what: "full proxy, a thread per connection, no keep-alive; no credentials asked",
        measures: Measure::ALL,
        kind: Kind::Tinyproxy,
    },
    Peer {
        name: "haproxy-tcp",
        what: "bare relay to the origin: parses nothing, asks nobody",
        measures: &[Setups, Down, Up, Latency, Idle],
        kind: Kind::HaproxyTcp,
    },
    Peer {
        name: "haproxy-http",
        what: "bare HTTP relay to the origin: parses requests, chooses nothing, asks nobody",
        measures: &[Gets],
        kind: Kind::HaproxyHttp,
    },
    Peer {
        name: "nginx",
        what: "bare stream relay to the origin: parses nothing, asks nobody",
        measures: &[Setups, Down, Up, Latency, Idle],
        kind: Kind::Nginx,
    },
    Peer {
        name: "outgate-exit",
        what: "Outgate through an exit, gateway and exit in one process",
        measures: Measure::ALL,
        kind: Kind::OutgateExit,
    },
    Peer {
        name: "rathole",
        what: "bare relay through a client that dials in; both ends on the core",
        measures: Measure::ALL,
        kind: Kind::Rathole,
    },
    Peer {
        name: "direct",
        what: "no proxy: the generator's and origin's own ceiling on their shared core",
        measures: &[Setups, Gets, Down, Up, Latency],
        kind: Kind::Direct,
    },
];

pub(crate) fn named(name: &str) -> Outcome<&'static Peer> {
    PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| {
        let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        Failure::new(format!("there is no peer {name}; there are {}", names.join(", ")))
    })
}

/// What all peers are started with.
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    pub(crate) origin_port: u16,
    pub(crate) core: usize,
    pub(crate) outgate: PathBuf,
    pub(crate) peers_dir: Option<PathBuf>,
}

/// A peer that answered its first set-up. Dropping it ends its processes.
pub(crate) struct Started {
    pub(crate) peer: &'static Peer,
    /// The arguments that lead `load` through it.
    pub(crate) way: Vec<String>,
    processes: Vec<Running>,
}

impl Started {
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Running::pid).collect()
    }
}

impl Peer {
    /// Its program, or `None` if it isn't installed. `direct` has none and is always there.
    pub(crate) fn is_installed(&self, ground: &Ground) -> bool {
        self.kind == Kind::Direct || self.program(ground).is_some()
    }

    fn program(&self, ground: &Ground) -> Option<PathBuf> {
        let name = match self.kind {
            Kind::Direct => return None,
            Kind::Outgate | Kind::OutgateExit => {
                return ground.outgate.is_file().then(|| ground.outgate.clone());
            }
            Kind::Squid => "squid",
            Kind::Tinyproxy => "tinyproxy",
            Kind::HaproxyTcp | Kind::HaproxyHttp => "haproxy",
            Kind::Nginx => "nginx",
            Kind::Rathole => "rathole",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = ground.peers_dir.iter().cloned().chain(std::env::split_paths(&path));
        folders.chain(["/usr/sbin".into(), "/usr/bin".into()]).map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// The first line it says about its version.
    pub(crate) fn version(&self, ground: &Ground) -> Option<String> {
        let flag = match self.kind {
            Kind::Direct => return None,
            Kind::Outgate | Kind::OutgateExit | Kind::Rathole => "--version",
            _ => "-v",
        };
        let said = Command::new(self.program(ground)?).arg(flag).output().ok()?;
        // nginx tells on standard error.
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = match self.kind {
            Kind::Rathole => text.lines().find_map(|line| line.strip_prefix("Build Version:"))?,
            _ => text.lines().next()?,
        };
        Some(line.trim().to_string())
    }

    /// Starts it and waits until a set-up through it works.
    pub(crate) fn start(&'static self, ground: &Ground) -> Outcome<Started> {
        self.start_unnamed(ground).during(format_args!("starting {}", self.name))
    }

    fn start_unnamed(&'static self, ground: &Ground) -> Outcome<Started> {
        let origins = origin_addresses(ground.origin_port);
        let mut started = Started { peer: self, way: Vec::new(), processes: Vec::new() };
        let port = free_port()?;
        let entry = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        match self.kind {
            Kind::Direct => {
                let entries: Vec<String> = origins.iter().map(ToString::to_string).collect();
                started.way = vec!["--relay".into(), entries.join(",")];
                return Ok(started);
            }
            Kind::Outgate | Kind::OutgateExit => return self.start_outgate(ground, entry, started),
            Kind::Rathole => {
                let bridge = free_port()?;
                let fill = |name| configs::fill(name, &ground.folder, port, bridge, &origins);
                for (role, name) in [("--server", "rathole-server.toml"), ("--client", "rathole-client.toml")] {
                    let config = self.write(ground, name, &fill(name)?)?;
                    started.processes.push(self.launch(ground, name, &[role.into(), config])?);
                }
            }
            _ => {
                let name = match self.kind {
                    Kind::Squid => "squid.conf",
                    Kind::Tinyproxy => "tinyproxy.conf",
                    Kind::HaproxyTcp => "haproxy-tcp.cfg",
                    Kind::HaproxyHttp => "haproxy-http.cfg",
                    _ => "nginx.conf",
                };
                let config = self.write(ground, name, &configs::fill(name, &ground.folder, port, 0, &origins)?)?;
                let arguments: &[&str] = match self.kind {
                    Kind::Squid => &["-N", "-f"],
                    Kind::Tinyproxy => &["-d", "-c"],
                    Kind::HaproxyTcp | Kind::HaproxyHttp => &["-f"],
                    _ => &["-e", "stderr", "-c"],
                };
                let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                arguments.push(config);
                started.processes.push(self.launch(ground, name, &arguments)?);
            }
        }
        let route = match self.kind {
            Kind::Squid | Kind::Tinyproxy => {
                started.way = vec!["--proxy".into(), format!("http://{entry}")];
                Route::proxy(&started.way[1], origins)?
            }
            _ => {
                started.way = vec!["--relay".into(), entry.to_string()];
                Route::relay(vec![entry], origins)
            }
        };
        let first = started.processes.first_mut().ok_or_else(|| Failure::new("nothing was started"))?;
        first.await_ready(|| match self.kind {
            // It takes only HTTP, so the first byte of a set-up would be an error to it.
            Kind::HaproxyHttp => TcpStream::connect(entry).map(drop).during("connecting"),
            _ => open_all(&route, 1, Mode::Echo).map(drop),
        })?;
        Ok(started)
    }

    /// By its command-line contract: one line of JSON once it is ready.
    fn start_outgate(&self, ground: &Ground, entry: SocketAddrV4, mut started: Started) -> Outcome<Started> {
        let data = ground.folder.join(format!("{}-data-{}", self.name, entry.port()));
        let log = ground.folder.join(format!("{}.log", self.name));
        let (mut process, told) = stage::quickstart(&ground.outgate, Doors::any(), &data, ground.core, log)?;
        let url = told["proxy_url"].as_str().ok_or_else(|| Failure::new("quickstart's line has no proxy_url"))?;
        let url = if self.kind == Kind::OutgateExit { through_exit(url)? } else { url.to_string() };
        let route = Route::proxy(&url, origin_addresses(ground.origin_port))?;
        process.await_ready(|| open_all(&route, 1, Mode::Echo).map(drop))?;
        started.way = vec!["--proxy".into(), url];
        started.processes.push(process);
        Ok(started)
    }

    fn launch(&self, ground: &Ground, log: &str, arguments: &[String]) -> Outcome<Running> {
        let program = self.program(ground).ok_or_else(|| Failure::new("it is not installed"))?;
        let log = ground.folder.join(format!("{log}.log"));
        Running::start(&program, arguments, ground.core, log, Output::Logged)
    }

    fn write(&self, ground: &Ground, name: &str, text: &str) -> Outcome<String> {
        let file = ground.folder.join(name);
        fs::write(&file, text).during(format_args!("writing {name}"))?;
        Ok(file.display().to_string())
    }
}

/// `http://key:secret@...` with the modifier that chooses the exit's pool.
fn through_exit(url: &str) -> Outcome<String> {
    let parts = url.strip_prefix("http://").and_then(|rest| rest.split_once(':'));
    let (key, rest) = parts
        .filter(|(key, rest)| !key.contains('@') && rest.contains('@'))
        .ok_or_else(|| Failure::new("proxy_url has no key"))?;
    Ok(format!("http://{key}-pool-residential:{rest}"))
}

/// Free now; taken by a peer a moment later.
fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("looking for a free port")?;
    Ok(listener.local_addr().during("looking for a free port")?.port())
}

/// nginx's stream module is a file of its own on Debian and built in elsewhere.
fn nginx_stream_module() -> Option<&'static Path> {
    Some(Path::new("/usr/lib/nginx/modules/ngx_stream_module.so")).filter(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_is_chosen_in_the_user_name() {
        let url = through_exit("http://k1:s3@127.0.0.1:8080").expect("a URL with a key");
        assert_eq!(url, "http://k1-pool-residential:s3@127.0.0.1:8080");
        assert!(through_exit("http://127.0.0.1:8080").is_err());
    }

    #[test]
    fn names_are_unique_and_measures_are_given() {
        for (index, peer) in PEERS.iter().enumerate() {
            assert!(!peer.measures.is_empty(), "{}", peer.name);
            assert!(PEERS[index + 1..].iter().all(|other| other.name != peer.name), "{}", peer.name);
        }
    }
}
