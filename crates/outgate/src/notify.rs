//! What a service manager is told: one datagram per message (sd_notify(3)), without a library for it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager.
pub(crate) struct Notify {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The manager that `NOTIFY_SOCKET` names; `None` without one.
    pub(crate) fn of_environment() -> io::Result<Option<Notify>> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        let microseconds = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        // Said to one process; a child that inherited it is not meant.
        let ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        Ok(Some(Notify::to(name, microseconds.filter(|_| ours).map(Duration::from_micros))?))
    }

    fn to(name: OsString, watchdog: Option<Duration>) -> io::Result<Notify> {
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not stop us.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address(&name)?)?;
        Ok(Notify { socket, watchdog })
    }

    /// The manager takes us for dead when it hears nothing for so long.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends `NAME=value` lines; one that is lost is followed by others.
    pub(crate) fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

/// A path, or `@NAME` in the abstract namespace.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', abstract_name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("outgate-test-{}", std::process::id());
        let by_name = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).expect("short enough");
        let managers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).expect("ours")),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&by_name).expect("ours")),
        ];
        for (name, manager) in managers {
            let notify = Notify::to(name, None).expect("it listens");
            notify.send("READY=1");
            let mut told = [0; 64];
            let length = manager.recv(&mut told).expect("told");
            assert_eq!(&told[..length], b"READY=1");
            drop(manager);
            notify.send("STOPPING=1");
        }
        assert!(Notify::to("/nonexistent/notify".into(), None).is_err());
    }
}
