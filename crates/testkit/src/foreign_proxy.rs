//! Other people's proxies as Debian packages them: squid, tinyproxy, dante and mitmproxy, each with a throw-away configuration.
//!
//! They run in a folder of their own, on a free port of 127.0.0.1, as children that end with their handle. None of them takes
//! port 0, so a port is looked for first; should somebody else get it in between, another one is tried.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod};
use tempfile::TempDir;

use crate::daemon::{Daemon, Signal};
use crate::patience::wait_for;

/// How often another port is tried.
const ATTEMPTS: usize = 5;

/// A running proxy of another make.
#[derive(Debug)]
pub struct ForeignProxy {
    daemon: Daemon,
    address: SocketAddr,
    /// What it leaves elsewhere.
    leftovers: Vec<PathBuf>,
    folder: TempDir,
}

/// How to start one at a given port, in a folder that is its own.
struct Start {
    executable: &'static str,
    arguments: Vec<OsString>,
    leftovers: Vec<PathBuf>,
}

impl ForeignProxy {
    /// Squid, with these lines in its configuration behind what keeps it small and alone. Without any `http_access` it refuses all.
    ///
    /// # Panics
    /// If squid is not installed or does not start; its output is in the message.
    #[must_use]
    pub fn squid(lines: &str) -> Self {
        Self::start(|folder, port| {
            let user = if rustix::process::getuid().is_root() { "cache_effective_user proxy\n" } else { "" };
            let config = format!(
                "http_port 127.0.0.1:{port}\n{user}pid_filename none\naccess_log none\ncache_log /dev/null\ncache deny all\n\
                 cache_mem 4 MB\nnetdb_filename none\npinger_enable off\nshutdown_lifetime 0 seconds\nvisible_hostname squid.test\n\
                 {lines}\n"
            );
            let file = write(folder, "squid.conf", &config);
            // Its shared memory is named after the service and outlives a kill.
            let name = format!("outgate{port}");
            let leftovers =
                ["metadata", "queues", "readers"].map(|part| PathBuf::from(format!("/dev/shm/{name}-cf__{part}.shm"))).to_vec();
            let arguments = ["-n".into(), name.into(), "-N".into(), "-f".into(), file.into_os_string()].to_vec();
            Start { executable: "squid", arguments, leftovers }
        })
    }

    /// Tinyproxy, with these lines in its configuration.
    ///
    /// # Panics
    /// As [`ForeignProxy::squid`].
    #[must_use]
    pub fn tinyproxy(lines: &str) -> Self {
        Self::start(|folder, port| {
            let config = format!("Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 50\n{lines}\n");
            let file = write(folder, "tinyproxy.conf", &config);
            Start {
                executable: "tinyproxy",
                arguments: ["-d".into(), "-c".into(), file.into_os_string()].to_vec(),
                leftovers: Vec::new(),
            }
        })
    }

    /// Dante, with these lines in its configuration: methods and rules.
    ///
    /// # Panics
    /// As [`ForeignProxy::squid`].
    #[must_use]
    pub fn dante(lines: &str) -> Self {
        Self::start(|folder, port| {
            let me = user_name();
            let config = format!(
                "logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nuser.privileged: {me}\nuser.unprivileged: {me}\n\
                 {lines}\n"
            );
            let file = write(folder, "danted.conf", &config);
            let pid = folder.join("danted.pid").into_os_string();
            let arguments = ["-N".into(), "1".into(), "-p".into(), pid, "-f".into(), file.into_os_string()].to_vec();
            Start { executable: "danted", arguments, leftovers: Vec::new() }
        })
    }

    /// mitmproxy without its screen, with these options besides its port and folder, and an addon in Python.
    ///
    /// # Panics
    /// As [`ForeignProxy::squid`].
    #[must_use]
    pub fn mitmproxy(options: &[&str], addon: Option<&str>) -> Self {
        Self::start(|folder, port| {
            let port = port.to_string();
            let confdir = format!("confdir={}", folder.display());
            let mut arguments: Vec<OsString> =
                ["--listen-host", "127.0.0.1", "--listen-port", &port, "--set", &confdir].map(OsString::from).to_vec();
            arguments.extend(options.iter().map(OsString::from));
            if let Some(addon) = addon {
                arguments.extend(["-s".into(), write(folder, "addon.py", addon).into_os_string()]);
            }
            Start { executable: "mitmdump", arguments, leftovers: Vec::new() }
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its folder; mitmproxy's authority is `mitmproxy-ca-cert.pem` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes connections, and answers nobody from here on.
    pub fn freeze(&self) {
        self.daemon.signal(Signal::STOP);
    }

    /// SIGKILL: its port refuses from here on.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    fn start(prepare: impl Fn(&Path, u16) -> Start) -> Self {
        let mut told = String::new();
        for _ in 0..ATTEMPTS {
            let folder = TempDir::new().expect("the machine has a temporary folder");
            // Some of them drop their rights and read their files as somebody else.
            chmod(folder.path(), Mode::from_raw_mode(0o755)).expect("the folder is ours");
            let port = free_port();
            let Start { executable, arguments, leftovers } = prepare(folder.path(), port);
            remove(&leftovers);
            // The folder of daemons is not in everybody's path.
            let daemons = format!("/usr/sbin/{executable}");
            let path = if Path::new(&daemons).exists() { &daemons } else { executable };
            let mut daemon = Daemon::start(path, &arguments, &[]);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let listens = wait_for(&format!("{executable} to listen"), || {
                if daemon.ended().is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).is_ok().then_some(true)
            });
            if listens {
                return Self { daemon, address, leftovers, folder };
            }
            told = format!("{executable}:\n{}{}", daemon.stdout(), daemon.stderr());
        }
        panic!("it ends before it listens; {told}");
    }
}

impl Drop for ForeignProxy {
    fn drop(&mut self) {
        self.daemon.kill();
        remove(&self.leftovers);
    }
}

fn remove(files: &[PathBuf]) {
    for file in files {
        // Mostly it isn't there.
        drop(std::fs::remove_file(file));
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// The name of whoever runs this: dante can't take any other.
fn user_name() -> String {
    let me = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == me).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| "root".to_owned())
}
