//! A real PostgreSQL server for one test: its own folder and socket, stopped, killed and started at will, gone at the end.
//!
//! A small shell stands between: it reads orders and, when the test's process has ended however it ended, stops the server and removes
//! its folder. PostgreSQL refuses to run as root, so for root it runs as the user `postgres` or `nobody`.

mod place;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use self::place::{Place, ServerUser};
use crate::dead::RefusingPort;
use crate::patience::wait_for;

/// `$1` the programs, `$2` the folder. Each order is answered with `done` or `failed`.
const KEEPER: &str = r#"
cd "$2" || exit 1
# All of its processes at once, as a power cut does: the children of a killed postmaster go on for a moment otherwise.
signal_all() {
    parent=$(head -n 1 data/postmaster.pid) && kill -0 "$parent" || return
    pids=$parent
    for stat in /proc/[0-9]*/stat; do
        read -r pid _ _ ppid _ <"$stat" && [ "$ppid" = "$parent" ] && pids="$pids $pid"
    done
    # One of them may have ended since.
    kill -"$1" $pids || true
}
kill_all() {
    signal_all KILL || return
    for pid in $pids; do
        while read -r _ _ state _ <"/proc/$pid/stat" && [ "$state" != Z ]; do :; done
    done
    return 0
}
while read -r order; do
    case $order in
    start) "$1/pg_ctl" -D data -s -w -t 60 -l log start ;;
    stop) "$1/pg_ctl" -D data -s -w -m fast stop ;;
    kill) kill_all ;;
    promote) "$1/pg_ctl" -D data -s -w -t 60 promote ;;
    fill) ! cat /dev/zero >disk/filler ;;
    empty) rm disk/filler ;;
    freeze) signal_all STOP ;;
    thaw) signal_all CONT ;;
    esac >/dev/null 2>&1 </dev/null && echo 'done' || echo failed
done
signal_all CONT >/dev/null 2>&1
"$1/pg_ctl" -D data -s -m immediate stop >/dev/null 2>&1
# All but a disk that is mounted in it; that goes with this shell.
cd / && rm -rf "$2" 2>/dev/null
"#;

/// A running server. The folder is removed when it drops.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    databases: AtomicU32,
    port: u16,
    folder: TempDir,
}

impl PostgresServer {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_, _| String::new(), 5432)
    }

    /// The same, which keeps tables on a small disk of its own, for [`Self::fill_disk`]. The disk is mounted for the server alone.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start, or this process may make no namespaces.
    #[must_use]
    pub fn start_on_small_disk() -> Self {
        let place = Place::new();
        place.make_cluster();
        // Passed over until there is one of that name.
        place.set("default_tablespace = 'small'\n");
        let disk = place.folder.path().join("disk");
        std::fs::create_dir(&disk).expect("the folder is there");
        let keeper = place.user.shell_with_disk(&disk);
        let server = Self::keep(place, keeper, 5432);
        let _made = server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()));
        server
    }

    /// A copy of it on a socket of its own, which follows it until [`Self::promote`]; with all of its databases, as they are.
    ///
    /// # Panics
    /// If it can't be copied, or the copy does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let place = Place::new();
        let mut copy = place.command("pg_basebackup");
        copy.args(["--username=outgate", "--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--pgdata"]);
        place.make(copy.arg(place.data()).arg("--host").arg(self.folder.path()).args(["--port", &self.port.to_string()]));
        place.set(&place.socket());
        let keeper = place.user.shell();
        Self::keep(place, keeper, self.port)
    }

    /// The same, which also listens on a port of 127.0.0.1 and has this certificate with its key (PEM files).
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        // Free a moment ago: the server takes a number, not a socket.
        let port = RefusingPort::reserve().address().port();
        let settings = |user: &ServerUser, folder: &Path| {
            for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
                let to = folder.join("data").join(to);
                std::fs::copy(from, &to).expect("the files are there");
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("ours");
                user.give(&to);
            }
            format!("listen_addresses = '127.0.0.1'\nport = {port}\nssl = on\n")
        };
        Self::start_with(settings, port)
    }

    fn start_with(settings: impl FnOnce(&ServerUser, &Path) -> String, port: u16) -> Self {
        let place = Place::new();
        place.make_cluster();
        place.set(&settings(&place.user, place.folder.path()));
        let keeper = place.user.shell();
        Self::keep(place, keeper, port)
    }

    /// Starts what was made at a place; `keeper` is a shell that sees it.
    fn keep(place: Place, mut keeper: Command, port: u16) -> Self {
        keeper.args(["-c", KEEPER, "keeper"]).arg(&place.programs).arg(place.folder.path());
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().expect("stdout is piped"));
        let Place { programs, folder, .. } = place;
        let mut server = Self { programs, keeper, orders, answers, databases: AtomicU32::new(0), port, folder };
        server.start_again();
        server
    }

    /// Starts it after [`Self::stop`] or [`Self::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        // After a kill its shared memory may still be in use for a moment, and the server waits for nobody.
        wait_for("PostgreSQL to start", || self.order("start").then_some(()));
    }

    /// Stops it as an administrator would; connections are cut, transactions rolled back.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&mut self) {
        assert!(self.order("stop"), "PostgreSQL did not stop: {}", self.log());
    }

    /// SIGKILL to all of its processes.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self) {
        assert!(self.order("kill"), "PostgreSQL was not running: {}", self.log());
    }

    /// It answers nothing more, as behind a broken network, until [`Self::thaw`].
    ///
    /// # Panics
    /// If it is not running.
    pub fn freeze(&mut self) {
        assert!(self.order("freeze"), "PostgreSQL was not running: {}", self.log());
    }

    /// It goes on as if nothing had been.
    ///
    /// # Panics
    /// If it is not there.
    pub fn thaw(&mut self) {
        assert!(self.order("thaw"), "PostgreSQL is gone: {}", self.log());
    }

    /// A standby stops following and takes writes.
    ///
    /// # Panics
    /// If it is no standby, or is not running.
    pub fn promote(&mut self) {
        assert!(self.order("promote"), "PostgreSQL was not promoted: {}", self.log());
    }

    /// Takes all room on the disk of [`Self::start_on_small_disk`].
    ///
    /// # Panics
    /// If it has none.
    pub fn fill_disk(&mut self) {
        assert!(self.order("fill"), "the disk takes it all");
    }

    /// Gives back what [`Self::fill_disk`] took.
    ///
    /// # Panics
    /// If it took nothing.
    pub fn empty_disk(&mut self) {
        assert!(self.order("empty"), "the disk was not filled");
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn database(&self) -> String {
        self.database_at(&self.host())
    }

    /// The same, whichever of this server and its standby takes writes.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn database_or(&self, standby: &Self) -> String {
        let url = self.database_at(&format!("{}:{},{}", self.host(), self.port, standby.host()));
        format!("{url}?target_session_attrs=read-write")
    }

    /// The socket's folder, as a URL has it.
    fn host(&self) -> String {
        self.folder.path().display().to_string().replace('/', "%2F")
    }

    /// The same, over TCP at the name or address of this machine; for a server from [`Self::start_tls`].
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn database_at(&self, host: &str) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let _nothing = self.sql("postgres", &format!("CREATE DATABASE {name}"));
        format!("postgres://outgate:a-secret-password@{host}:{}/{name}", self.port)
    }

    /// The rows of a statement in the database of a URL or name, a line each, columns separated by `|`.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let (url, _options) = database.split_once('?').unwrap_or((database, ""));
        let database = url.rsplit('/').next().unwrap_or(url);
        let ran = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-U", "outgate", "-d", database, "-c", statement, "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()])
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    fn order(&mut self, order: &str) -> bool {
        let orders = self.orders.as_mut().expect("held until the end");
        writeln!(orders, "{order}").expect("the keeper lives");
        let mut answer = String::new();
        let _length = self.answers.read_line(&mut answer).expect("the keeper lives");
        answer.trim() == "done"
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // No more orders: the keeper stops the server, removes the folder and ends.
        drop(self.orders.take());
        drop(self.keeper.wait());
    }
}
