//! One structured record per request: what happened, who it was, how long each step took.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_faults::{Fault, Layer};
use serde::Serialize;

/// The version of the schema; a field never changes its meaning within one.
const SCHEMA: u8 = 1;
/// Records of one event loop are handed over in blocks of this size, or when [`FLUSH`] has passed.
const BLOCK: usize = 32 * 1024;
/// The longest a record waits in its event loop, and in the writer.
const FLUSH: Duration = Duration::from_millis(200);
/// Blocks that wait for the disk; beyond them records are dropped and counted, never waited for.
const QUEUE: usize = 256;

/// How far a request came: the verbs of `session`, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    #[default]
    Read,
    Identify,
    Admit,
    Choose,
    Dial,
    Accept,
    Relay,
    Settle,
}

/// A request's record, filled in on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    /// What the client spoke to the gateway.
    pub(crate) protocol: &'static str,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) key: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) exit: Option<String>,
    /// The gateway that the exit is linked to, when it is another one.
    pub(crate) gateway: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) session: Option<String>,
    /// The exit that the session was with before.
    pub(crate) session_moved: Option<String>,
    /// The status the client got, if it got one.
    pub(crate) status: Option<u16>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) attempts: u16,
    pub(crate) address: Option<Rc<str>>,
    /// Why it ended, in words of [`crate::relay::Ended`], when no fault did.
    pub(crate) ended_by: Option<&'static str>,
    pub(crate) times: Times,
}

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
    pub(crate) first_byte: Option<Duration>,
}

/// The line as it is written. Times are milliseconds.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    time: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: &'a Option<String>,
    client: &'a str,
    protocol: &'a str,
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_moved: &'a Option<String>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'a str>,
    stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'a str>,
    bytes_up: u64,
    bytes_down: u64,
    attempts: u16,
    ms: Milliseconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Milliseconds {
    dns: f64,
    connect: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<f64>,
    total: f64,
}

fn ms(duration: Duration) -> f64 {
    (duration.as_micros() as f64) / 1000.0
}

/// Hands the records of one event loop to the writer.
pub(crate) struct Recorder {
    writer: Option<Arc<Writer>>,
    access: Vec<u8>,
    auth: Vec<u8>,
    handed_over: Instant,
    clock: Clock,
}

/// Writes times as RFC 3339 with milliseconds. Most requests share their second with the one before.
#[derive(Default)]
struct Clock {
    second: i64,
    text: String,
}

impl Clock {
    fn show(&mut self, time: Timestamp) -> &str {
        let (second, millisecond) = (time.as_second(), time.subsec_millisecond());
        if self.second != second || self.text.is_empty() || millisecond < 0 {
            (self.second, self.text) = (second, format!("{time:.3}"));
            return &self.text;
        }
        // …:SS.mmmZ
        self.text.truncate(self.text.len() - "mmmZ".len());
        for unit in [100, 10, 1] {
            self.text.push(char::from(b'0' + (millisecond / unit % 10) as u8));
        }
        self.text.push('Z');
        &self.text
    }
}

/// The thread that writes the files.
pub(crate) struct Writer {
    sender: SyncSender<Block>,
    /// Records lost because the disk could not keep up.
    dropped: AtomicU64,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

enum Block {
    Access(Vec<u8>),
    Auth(Vec<u8>),
    Stop,
}

impl Recorder {
    pub(crate) fn new(writer: Option<Arc<Writer>>) -> Self {
        Self { writer, access: Vec::new(), auth: Vec::new(), handed_over: Instant::now(), clock: Clock::default() }
    }

    /// Writes the record of a request that ended, well or with a fault.
    pub(crate) fn write(
        &mut self,
        record: &Record,
        id: &str,
        client: &str,
        started: Timestamp,
        total: Duration,
        fault: Option<&Fault>,
    ) {
        if self.writer.is_none() {
            return;
        }
        let layer = fault.map(|f| f.row().layer);
        let line = Line {
            v: SCHEMA,
            time: self.clock.show(started),
            request_id: id,
            key: &record.key,
            client,
            protocol: record.protocol,
            method: &record.method,
            target: &record.target,
            address: record.address.as_deref(),
            pool: &record.pool,
            exit: &record.exit,
            gateway: &record.gateway,
            country: &record.country,
            session: &record.session,
            session_moved: &record.session_moved,
            outcome: fault.map_or("ok", |f| f.slug().name()),
            layer: layer.map(Layer::name),
            stage: record.stage,
            status: record.status,
            ended_by: record.ended_by,
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            attempts: record.attempts,
            ms: Milliseconds {
                dns: ms(record.times.dns),
                connect: ms(record.times.connect),
                first_byte: record.times.first_byte.map(ms),
                total: ms(total),
            },
            sentence: fault.map(Fault::sentence),
            detail: fault.and_then(Fault::detail),
        };
        // Authentication failures lie apart: they fill up when somebody guesses, and matter to other people.
        let buffer = if layer == Some(Layer::Auth) { &mut self.auth } else { &mut self.access };
        if serde_json::to_writer(&mut *buffer, &line).is_ok() {
            buffer.push(b'\n');
        }
        if buffer.len() >= BLOCK {
            self.hand_over();
        }
    }

    /// Hands over what waits, if it waited long enough.
    pub(crate) fn tick(&mut self) {
        if self.handed_over.elapsed() >= FLUSH {
            self.hand_over();
        }
    }

    /// Hands over what waits.
    pub(crate) fn hand_over(&mut self) {
        self.handed_over = Instant::now();
        let Some(writer) = &self.writer else { return };
        for (buffer, block) in [(&mut self.access, Block::Access as fn(Vec<u8>) -> Block), (&mut self.auth, Block::Auth)] {
            if !buffer.is_empty() {
                writer.send(block(std::mem::take(buffer)));
            }
        }
    }
}

impl Writer {
    /// Opens `access.jsonl` and `auth.jsonl` in a folder and starts to write.
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>, String> {
        let fail = |e: std::io::Error| format!("the records folder {} can't be written: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(fail)?;
        // Who went where is nobody else's business; a group may ship the files.
        let open = |name: &str| OpenOptions::new().create(true).append(true).mode(0o640).open(folder.join(name)).map_err(fail);
        let (access, auth) = (open("access.jsonl")?, open("auth.jsonl")?);
        let (sender, receiver) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("records".into()).spawn(move || write_all(&receiver, access, auth)).map_err(fail)?;
        Ok(Arc::new(Self { sender, dropped: AtomicU64::new(0), thread: std::sync::Mutex::new(Some(thread)) }))
    }

    /// Records dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn send(&self, block: Block) {
        if let Err(refused) = self.sender.try_send(block) {
            let (std::sync::mpsc::TrySendError::Full(block) | std::sync::mpsc::TrySendError::Disconnected(block)) = refused;
            if let Block::Access(lines) | Block::Auth(lines) = block {
                let lost = lines.iter().filter(|b| **b == b'\n').count() as u64;
                if self.dropped.fetch_add(lost, Ordering::Relaxed) == 0 {
                    tracing::error!(lost, "records are dropped: the disk doesn't keep up");
                }
            }
        }
    }

    /// Writes what was handed over and stops.
    pub(crate) fn close(&self) {
        // The thread reads until it sees this; a full queue is being emptied by it.
        let _gone_already = self.sender.send(Block::Stop);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }
}

fn write_all(blocks: &Receiver<Block>, mut access: File, mut auth: File) {
    let mut complained = false;
    loop {
        let (file, lines) = match blocks.recv_timeout(Duration::from_secs(3600)) {
            Ok(Block::Access(lines)) => (&mut access, lines),
            Ok(Block::Auth(lines)) => (&mut auth, lines),
            Err(RecvTimeoutError::Timeout) => continue,
            Ok(Block::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = file.write_all(&lines)
            && !std::mem::replace(&mut complained, true)
        {
            tracing::error!(%error, "records can't be written; traffic goes on without them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_whatever_came_before() {
        let mut clock = Clock::default();
        for time in ["2026-01-02T03:04:05.006Z", "2026-01-02T03:04:05.999Z", "2026-01-02T03:04:06Z", "2026-01-02T03:04:06.1Z"] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(clock.show(time), format!("{time:.3}"));
        }
        let truncated: Timestamp = "2026-01-02T03:04:06.9999Z".parse().unwrap();
        assert_eq!(clock.show(truncated), "2026-01-02T03:04:06.999Z");
    }
}
