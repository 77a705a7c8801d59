//! Hook: how an exit changes its own address when asked to: a command, or a URL to call (a modem's own page).

use std::{fmt, net::IpAddr, process::Stdio, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process_group};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::transport::client_config;

/// Of a command's output so many lines are logged …
const MOST_LINES: usize = 200;
/// … and so many bytes of each.
const LONGEST_LINE: u64 = 500;
/// After a command's end, for what it wrote last; what it left running may keep its pipe open for ever.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Of an answer's body, in bytes.
const MOST_BODY: usize = 64 * 1024;
/// What a command of the operator's has no business with.
const KEPT_FROM_IT: [&str; 5] = ["OUTGATE_EXIT_TOKEN", "OUTGATE_EXIT_PROXY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// How to change the address.
#[derive(Clone)]
pub enum Hook {
    /// Run by `/bin/sh -c`; exit code 0 says that the new address is in use.
    Command(String),
    /// Called with POST; a status of 2xx says that the new address is in use.
    Url(HookUrl),
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hook::Command(_) => f.write_str("the rotate command"),
            Hook::Url(url) => write!(f, "the rotate URL at {}", url.authority()),
        }
    }
}

impl Hook {
    /// Runs to its end, at most this long. The error is for the operator.
    pub(crate) async fn run(&self, id: &str, limit: Duration) -> Result<(), String> {
        match self {
            Hook::Command(command) => run_command(command, id, limit).await,
            Hook::Url(url) => match timeout(limit, url.call(id)).await {
                Ok(done) => done,
                Err(_) => Err(format!("{} did not answer within {}", url.authority(), Told(limit))),
            },
        }
    }
}

/// A time as `--rotate-timeout` takes it.
struct Told(Duration);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 { write!(f, "{} s", self.0.as_secs()) } else { write!(f, "{} ms", self.0.as_millis()) }
    }
}

// ---- a command ---------------------------------------------------------------------------------------------------

/// A command with everything it started: killed together when the time is up, or when the agent ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // An error means that they are gone.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn run_command(command: &str, id: &str, limit: Duration) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).env("OUTGATE_ROTATE_ID", id);
    for name in KEPT_FROM_IT {
        shell.env_remove(name);
    }
    // A group of its own: it can be killed with all its children, and a terminal's Ctrl-C is not for it.
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("the command could not be started: {error}"))?;
    let mut group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = std::pin::pin!(async { tokio::join!(log("stdout", stdout), log("stderr", stderr)).1 });
    let mut said = None;
    let ended = timeout(limit, async {
        loop {
            tokio::select! {
                last = &mut output, if said.is_none() => said = Some(last),
                status = child.wait() => break status,
            }
        }
    })
    .await;
    let Ok(status) = ended else {
        drop(group);
        // Reaped, so that it does not stay as a zombie.
        let _ = child.wait().await;
        return Err(format!("the command was killed: it had not ended after {}", Told(limit)));
    };
    // What it left running on purpose goes on.
    group.0 = None;
    let last = match said {
        Some(last) => last,
        None => timeout(LAST_LINES, output).await.unwrap_or_default(),
    };
    let status = status.map_err(|error| format!("the command's end is unknown: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let last = last.map(|line| format!(": {line}")).unwrap_or_default();
    Err(format!("the command ended with {status}{last}"))
}

/// Logs what a command writes; returns its last line that is not blank.
async fn log(stream: &'static str, pipe: Option<impl AsyncRead + Unpin>) -> Option<String> {
    let mut pipe = BufReader::new(pipe?);
    let mut last = None;
    let mut lines = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line goes on in the next one; memory is bounded either way.
        match (&mut pipe).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let text: String = String::from_utf8_lossy(&line).trim().chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            continue;
        }
        lines += 1;
        if lines <= MOST_LINES {
            tracing::info!(stream, "rotate command: {text}");
        }
        last = Some(text);
    }
}

// ---- a URL -------------------------------------------------------------------------------------------------------

/// `http[s]://[USER:PASSWORD@]HOST[:PORT]/PATH`. Only its host is ever shown: the rest may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    secure: bool,
    host: String,
    port: u16,
    target: String,
    authorization: Option<String>,
}

impl FromStr for HookUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HookUrl, &'static str> {
        const FORM: &str = "a rotate URL is http[s]://[USER:PASSWORD@]HOST[:PORT]/PATH";
        let uri: Uri = text.parse().map_err(|_| FORM)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(FORM),
        };
        let authority = uri.authority().ok_or(FORM)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(FORM);
        }
        let port = match (authority.port_u16(), secure) {
            (Some(port), _) => port,
            (None, true) => 443,
            (None, false) => 80,
        };
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| credentials);
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let authorization = credentials.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
        Ok(HookUrl { secure, host: host.to_owned(), port, target, authorization })
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookUrl").field(&self.authority()).finish()
    }
}

impl HookUrl {
    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    async fn call(&self, id: &str) -> Result<(), String> {
        let failed = |error: &dyn fmt::Display| format!("{} could not be asked: {error}", self.authority());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| failed(&error))?;
        if !self.secure {
            return self.exchange(stream, id).await;
        }
        let config = client_config(None).map_err(|error| failed(&error))?;
        let name = match self.host.parse::<IpAddr>() {
            Ok(ip) => ServerName::from(ip),
            Err(_) => ServerName::try_from(self.host.clone()).map_err(|error| failed(&error))?,
        };
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed(&error))?;
        self.exchange(stream, id).await
    }

    async fn exchange<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO, id: &str) -> Result<(), String> {
        let failed = |error: &dyn fmt::Display| format!("{} gave no answer: {error}", self.authority());
        let mut request = Request::post(&self.target)
            .header(header::HOST, self.authority())
            .header(header::USER_AGENT, concat!("outgate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_LENGTH, 0)
            .header("X-Outgate-Rotate-Id", id);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|error| failed(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            // Read whole where it is short: a page that is broken off may take that for a change of mind.
            let body = Limited::new(response.into_body(), MOST_BODY).collect().await;
            Ok::<_, hyper::Error>((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        let (status, body) = tokio::select! {
            done = &mut exchange => done,
            // The connection may end first; what it has read is still the exchange's to take.
            _ = &mut connection => exchange.await,
        }
        .map_err(|error| failed(&error))?;
        if status.is_success() {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&body);
        let line: String = line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        let line = if line.is_empty() { line } else { format!(": {line}") };
        Err(format!("{} answered {status}{line}", self.authority()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn commands() {
        let run = |command: &'static str| async move { run_command(command, "r1", LONG).await };
        assert_eq!(run("exit 0").await, Ok(()));
        assert_eq!(run("test \"$OUTGATE_ROTATE_ID\" = r1").await, Ok(()));
        let error = run("echo fine; echo 'no carrier' >&2; exit 3").await.expect_err("3");
        assert!(error.contains("3") && error.ends_with(": no carrier"), "{error}");
        let error = run("kill -9 $$").await.expect_err("a signal");
        assert!(error.contains("signal"), "{error}");
        // What it leaves behind does not hold it up, though it keeps the pipe.
        assert_eq!(run("sleep 100 & echo $! ; exit 0").await, Ok(()));
        // Output without an end and without lines.
        assert_eq!(run("head -c 3000000 /dev/zero | tr '\\0' x; yes | head -n 100000").await, Ok(()));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let command = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = run_command(&command, "r1", Duration::from_millis(300)).await.expect_err("killed");
        assert!(error.contains("killed") && error.contains("300 ms"), "{error}");
        let pid = std::fs::read_to_string(&file).expect("it got so far");
        let alive = || {
            // Nobody reaps an orphan in a container without an init: a zombie is dead, too.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        timeout(LONG, async {
            while alive() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the child is gone, too");
    }

    #[tokio::test]
    async fn urls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = async {
            let mut heads = Vec::new();
            for answer in ["204 No Content\r\n\r\n", "500 X\r\nContent-Length: 15\r\n\r\nmodem is\nasleep", "", "-"] {
                let (mut stream, _) = listener.accept().await.expect("a caller");
                let mut head = [0; 2048];
                let length = stream.read(&mut head).await.expect("a request");
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                if answer == "-" {
                    // Silent, until the caller gives up.
                    let _ = stream.read(&mut head).await;
                } else if !answer.is_empty() {
                    stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.expect("it listens");
                }
            }
            heads
        };
        let client = async {
            let url: HookUrl = format!("http://me:pass@{address}/api/reboot?x=secret").parse().expect("a URL");
            let hook = Hook::Url(url);
            let mut ends = Vec::new();
            for limit in [LONG, LONG, LONG, Duration::from_millis(100)] {
                ends.push(hook.run("r7", limit).await);
            }
            ends
        };
        let (heads, ends) = tokio::join!(server, client);
        assert!(heads[0].starts_with("POST /api/reboot?x=secret HTTP/1.1\r\n"), "{}", heads[0]);
        let lower = heads[0].to_ascii_lowercase();
        assert!(lower.contains("x-outgate-rotate-id: r7") && lower.contains("authorization: basic bwu6cgfzcw=="), "{lower}");
        assert_eq!(ends[0], Ok(()));
        for (end, part) in ends[1..].iter().zip(["500", "no answer", "within 100 ms"]) {
            let why = end.as_ref().expect_err(part);
            assert!(why.contains(part) && !why.contains("secret") && !why.contains("pass"), "{why}");
        }
        assert!(ends[1].as_ref().expect_err("500").ends_with("modem is"), "{:?}", ends[1]);
        for wrong in ["ftp://x/", "http://", "x", "http:///a"] {
            assert!(wrong.parse::<HookUrl>().is_err(), "{wrong}");
        }
    }
}
