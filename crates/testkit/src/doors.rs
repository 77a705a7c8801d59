//! The real binary with a door for each way in: one port for HTTP/1.1 and SOCKS5, one for TLS with HTTP/1.1 and HTTP/2, and one
//! for each dialect that its faults can be told in.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ca::Ca;
use crate::daemon::Daemon;
use crate::gateway_process::{GatewayProcess, Quickstart};
use crate::h2_client::H2Client;
use crate::patience::wait_for;
use crate::wire::Wire;

/// The name in the certificate of the door with TLS.
const NAME: &str = "localhost";

/// The dialects with a door of their own; the last is an operator's, whose statuses are nobody's else.
pub const DIALECTS: [&str; 4] = ["rfc", "atlasvpn", "proxies.fo", OPERATORS];
/// The operator's dialect: as `atlasvpn`, but 403 is told as 451 and 502 as 520.
pub const OPERATORS: &str = "of-an-operator";

/// A running gateway with a plan, a key and, as in quickstart, an exit named `local` in the pool `residential`.
#[derive(Debug)]
pub struct Doors {
    gateway: GatewayProcess,
    tls: SocketAddr,
    dialects: Vec<SocketAddr>,
    ca: Ca,
    _local_exit: Daemon,
}

/// What quickstart's flags say, as a configuration says it.
#[derive(Default)]
struct Flags {
    targets: Vec<String>,
    ports: Vec<String>,
    dialect: Option<String>,
}

impl Flags {
    fn of(arguments: &[OsString]) -> Self {
        let mut flags = Self::default();
        for pair in arguments.windows(2) {
            let [flag, value] = pair else { continue };
            let value = value.to_string_lossy().into_owned();
            match flag.to_str() {
                Some("--allow-target") => flags.targets.push(value),
                Some("--allow-port") => flags.ports.push(value),
                Some("--dialect") => flags.dialect = Some(value),
                _ => {}
            }
        }
        flags
    }

    fn list(values: &[String]) -> String {
        values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ")
    }

    /// The configuration; `more` is what it says beside.
    fn configuration(&self, data: &str, certificate: &str, key: &str, more: &str) -> String {
        let ports = [&["80", "443", "8080", "8443"].map(str::to_owned)[..], &self.ports].concat();
        let dialect = self.dialect.as_ref().map(|name| format!("dialect = \"{name}\"\n")).unwrap_or_default();
        let others = DIALECTS.map(|name| format!("[[listen]]\naddress = \"127.0.0.1:0\"\ndialect = \"{name}\"\n")).concat();
        format!(
            "data = \"{data}\"\nconsole.address = \"127.0.0.1:0\"\nexits.address = \"127.0.0.1:0\"\n\
             policy.ports = [{}]\npolicy.allow_targets = [{}]\n{more}\
             [[listen]]\naddress = \"127.0.0.1:0\"\n{dialect}\
             [[listen]]\naddress = \"127.0.0.1:0\"\n{dialect}certificate = \"{certificate}\"\nkey = \"{key}\"\n\
             {others}[dialects.{OPERATORS}]\nbase = \"atlasvpn\"\n[dialects.{OPERATORS}.statuses]\n403 = 451\n502 = 520\n",
            Self::list(&ports),
            Self::list(&self.targets),
        )
    }
}

impl Doors {
    /// Starts what `quickstart` describes with all doors. `more` is added to the configuration.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn open(quickstart: Quickstart, more: &str) -> Self {
        let (executable, arguments, environment) = quickstart.into_parts();
        let flags = Flags::of(&arguments);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (ca, folder) = (Ca::new(), TempDir::new().expect("the machine has a temporary folder"));
        let (certificate, key) = ca.server_files(&[NAME], folder.path());
        let file = folder.path().join("outgate.toml");
        let text = |path: &std::path::Path| path.to_str().expect("temporary paths are UTF-8").to_owned();
        let configuration = flags.configuration(&text(folder.path()), &text(&certificate), &text(&key), more);
        std::fs::write(&file, configuration).expect("the folder is ours");
        let arguments = [OsString::from("gateway"), "--config".into(), file.into()];
        let mut daemon = Daemon::start(&executable, &arguments, &environment);
        let line = daemon.line("the line that says where it listens", |line| line.contains("listen=").then(|| line.to_owned()));
        let listeners: Vec<SocketAddr> =
            said(&line, "listen").split(", ").map(|address| address.parse().expect("an address")).collect();
        let (proxy, tls, dialects) = (listeners[0], listeners[1], listeners[2..].to_vec());
        let console_file = std::fs::read(folder.path().join("console.json")).expect("a gateway that is ready can be found");
        let console: Value = serde_json::from_slice(&console_file).expect("it is JSON");
        let ready = json!({
            "console_url": said(&line, "console"),
            "admin_token": console["admin_token"],
            "exit_gateway_url": format!("ws://{}", said(&line, "exits")),
        });
        let mut gateway = GatewayProcess::running(executable.clone(), ready, daemon, Arc::new(folder));
        let made = |arguments: &[&str]| -> Value {
            serde_json::from_str(&gateway.admin(&[arguments, &["--json"]].concat())).expect("--json prints JSON")
        };
        made(&["plans", "create", "quickstart"]);
        let key = made(&["keys", "create", "--plan", "quickstart"]);
        let exit = made(&["exits", "enroll", "--name", "local", "--pool", "residential"]);
        gateway.say("key_id", key["id"].clone());
        gateway.say("secret", key["secret"].clone());
        gateway.say("exit_token", exit["token"].clone());
        gateway.say("proxy_url", json!(format!("http://{proxy}")));
        let local_exit = local_exit(&executable, &gateway, &flags.targets, &environment);
        Self { gateway, tls, dialects, ca, _local_exit: local_exit }
    }

    /// Where TLS is spoken.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        self.tls
    }

    /// The authority of the certificate there; the name in it is `localhost`.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Where faults are told in this dialect, one of [`DIALECTS`].
    ///
    /// # Panics
    /// If it has no door.
    #[must_use]
    pub fn in_dialect(&self, name: &str) -> SocketAddr {
        let at = DIALECTS.iter().position(|known| *known == name).unwrap_or_else(|| panic!("no door for {name}"));
        self.dialects[at]
    }

    /// A connection to the door with TLS, offering `alpn`.
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn over_tls(&self, alpn: &[&str]) -> Wire {
        let wire = Wire::connect(self.tls).await.expect("it listens");
        wire.tls(NAME, self.ca.client(alpn)).await.expect("it speaks TLS")
    }

    /// A connection of HTTP/2.
    ///
    /// # Panics
    /// If the gateway does not speak it.
    pub async fn over_h2(&self) -> H2Client {
        H2Client::over(self.over_tls(&["h2"]).await).await
    }
}

/// Runs the exit, and waits until the gateway counts on it.
fn local_exit(executable: &str, gateway: &GatewayProcess, targets: &[String], environment: &[(&str, &str)]) -> Daemon {
    let (url, token) = (gateway.told("exit_gateway_url"), gateway.told("exit_token"));
    let mut arguments: Vec<OsString> =
        ["exit", "--gateway", url, "--token", token, "--links", "1"].iter().map(OsString::from).collect();
    arguments.extend(targets.iter().flat_map(|target| ["--allow-target".into(), target.into()]));
    // As in quickstart it asks the same resolver in the same way.
    let dns: Vec<_> = environment.iter().filter(|(name, _)| name.starts_with("OUTGATE_DNS_")).copied().collect();
    let daemon = Daemon::start(executable, &arguments, &dns);
    wait_for("the local exit to be online", || {
        let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("--json prints JSON");
        let online = |exit: &Value| exit["name"] == "local" && !exit["online"].is_null();
        exits.as_array().is_some_and(|exits| exits.iter().any(online)).then_some(())
    });
    daemon
}

/// `NAME="VALUE"` in a line of the log.
fn said<'l>(line: &'l str, name: &str) -> &'l str {
    let value = line.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or_else(|| panic!("no {name} in {line}"))
}

impl Deref for Doors {
    type Target = GatewayProcess;

    fn deref(&self) -> &GatewayProcess {
        &self.gateway
    }
}

impl DerefMut for Doors {
    fn deref_mut(&mut self) -> &mut GatewayProcess {
        &mut self.gateway
    }
}
