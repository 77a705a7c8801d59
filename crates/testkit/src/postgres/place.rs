//! Where a PostgreSQL server is made, and as whom: PostgreSQL refuses to run as root.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Safe to lose: a test's data is gone with the test. Few buffers and connections start faster.
const SETTINGS: &str = "
listen_addresses = ''
fsync = off
full_page_writes = off
max_connections = 60
shared_buffers = 32MB
autovacuum = off
log_min_messages = warning
";

/// `$1` where to mount a small disk of the owner `$2` for the command that follows.
const MOUNT: &str = r#"mount -t tmpfs -o size=16m,uid="$2",gid="$3" none "$1" && shift 3 && exec "$@""#;

/// Where a server is made, and as whom.
pub(super) struct Place {
    pub(super) programs: PathBuf,
    pub(super) folder: TempDir,
    pub(super) user: ServerUser,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let user = ServerUser::own(folder.path());
        Self { programs: programs(), folder, user }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn command(&self, program: &str) -> Command {
        self.user.command(&self.programs.join(program))
    }

    pub(super) fn make_cluster(&self) {
        let options = ["--username=outgate", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"];
        self.make(self.command("initdb").args(options).arg(self.data()));
        self.set(&format!("{SETTINGS}{}", self.socket()));
    }

    pub(super) fn make(&self, command: &mut Command) {
        let made = command.current_dir(self.folder.path()).output().expect("it runs");
        assert!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// The setting that has it listen here.
    pub(super) fn socket(&self) -> String {
        format!("unix_socket_directories = '{}'\n", self.folder.path().display())
    }

    /// Adds settings; the later of two counts.
    pub(super) fn set(&self, text: &str) {
        let file = OpenOptions::new().append(true).open(self.data().join("postgresql.auto.conf"));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the folder is there");
    }
}

/// Who a server runs as: oneself, unless that is root.
pub(super) struct ServerUser(Option<(u32, u32)>);

impl ServerUser {
    /// The folder becomes its own.
    pub(super) fn own(folder: &Path) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let ids = ["postgres", "nobody"].into_iter().find_map(|name| Some((id("-u", name)?, id("-g", name)?)));
        let user = Self(Some(ids.expect("a user nobody")));
        user.give(folder);
        user
    }

    pub(super) fn give(&self, file: &Path) {
        if let Some((user, group)) = self.0 {
            chown(file, Some(user), Some(group)).expect("root may");
        }
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let Some((user, group)) = self.0 else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into(), "--".into()]).arg(program);
        command
    }

    pub(super) fn shell(&self) -> Command {
        self.command(Path::new("/bin/sh"))
    }

    /// A shell that alone sees a small disk at `disk`. Who isn't root is so in a user namespace, for as long as the mounting takes.
    pub(super) fn shell_with_disk(&self, disk: &Path) -> Command {
        let mut command = Command::new("unshare");
        let owner = self.0.unwrap_or((0, 0));
        command.args(if self.0.is_some() { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
        command.args(["--", "/bin/sh", "-c", MOUNT, "mount"]).arg(disk).args([owner.0.to_string(), owner.1.to_string()]);
        if self.0.is_none() {
            let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            command.args(["unshare", &format!("--map-user={user}"), &format!("--map-group={group}"), "--"]);
        }
        let shell = self.shell();
        command.arg(shell.get_program()).args(shell.get_args());
        command
    }
}

fn id(option: &str, name: &str) -> Option<u32> {
    let told = Command::new("id").args([option, name]).output().ok().filter(|told| told.status.success())?;
    String::from_utf8_lossy(&told.stdout).trim().parse().ok()
}

/// The folder with initdb, pg_ctl, postgres and psql: the newest of Debian's, or where `initdb` of PATH really is.
fn programs() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        debian.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&path).map(|folder| folder.join("initdb")).find_map(|file| file.canonicalize().ok());
    let folder = found.pop().or_else(|| in_path().and_then(|file| file.parent().map(Path::to_owned)));
    folder.expect("PostgreSQL's server is installed (Debian: apt-get install postgresql; ./test does it)")
}
