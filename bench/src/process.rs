//! What processes use, out of `/proc`; cores and limits of the own one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::{During, Failure, Outcome};
use crate::measure::Reading;

/// Keeps the calling thread on one core.
pub(crate) fn pin(core: Option<usize>) -> Outcome<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).during(format_args!("pinning to core {core}"))
}

/// A runner that is killed leaves no origin or generator behind.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Raises the soft limit of open files to the hard one, for this process and its children. Returns the limit.
pub(crate) fn raise_open_files() -> Outcome<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).during("raising open files")?;
    Ok(limit.maximum.unwrap_or(1 << 20))
}

/// Waits before the next look at something that tells no event: another process getting ready, settling or ending.
#[expect(clippy::disallowed_methods, reason = "no event loop runs on this thread, and every caller looks again under a deadline")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// CPU time and memory of the watched processes and their descendants, and how busy the proxy's core was with anything.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    at: Instant,
    user_ticks: u64,
    system_ticks: u64,
    core: Option<CoreTicks>,
    pub(crate) resident_kib: u64,
}

#[derive(Clone, Copy)]
struct CoreTicks {
    busy: u64,
    total: u64,
}

/// Whose usage is read: process ids (with their descendants at that moment) and the core they are pinned to.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    pub(crate) pids: Vec<u32>,
    pub(crate) core: Option<usize>,
}

impl Watched {
    pub(crate) fn usage(&self) -> Outcome<Usage> {
        let mut usage = Usage { at: Instant::now(), user_ticks: 0, system_ticks: 0, core: None, resident_kib: 0 };
        if let Some(core) = self.core {
            let stat = fs::read_to_string("/proc/stat").during("reading /proc/stat")?;
            usage.core = core_ticks(&stat, core);
        }
        if self.pids.is_empty() {
            return Ok(usage);
        }
        let stats = all_stats().during("reading /proc")?;
        for pid in &self.pids {
            if !stats.contains_key(pid) {
                return Err(Failure::new(format!("the proxy is gone (pid {pid})")));
            }
        }
        for (pid, stat) in &stats {
            if self.pids.iter().any(|root| descends(*pid, *root, &stats)) {
                usage.user_ticks += stat.user_ticks;
                usage.system_ticks += stat.system_ticks;
                usage.resident_kib += resident_kib(*pid);
            }
        }
        Ok(usage)
    }

    /// Resident KiB once it hasn't changed for half a second, or after 5 s.
    pub(crate) fn settled_kib(&self) -> Outcome<u64> {
        let began = Instant::now();
        let mut same = 0;
        let mut last = self.usage()?.resident_kib;
        while same < 5 && began.elapsed() < Duration::from_secs(5) {
            pause(Duration::from_millis(100));
            let now = self.usage()?.resident_kib;
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }
}

impl Usage {
    /// Adds what was used since `before`: `seconds`, `cpu_user`, `cpu_system` (seconds), `rss_kib` (now), `core_share` (the
    /// proxy's part of its core, 0 to 1) and `core_foreign` (what others took of it: noise).
    pub(crate) fn since(&self, before: &Usage, reading: &mut Reading) {
        let tick = rustix::param::clock_ticks_per_second() as f64;
        let seconds = (self.at - before.at).as_secs_f64();
        let user = (self.user_ticks - before.user_ticks) as f64 / tick;
        let system = (self.system_ticks - before.system_ticks) as f64 / tick;
        let share = (user + system) / seconds;
        reading.insert("seconds".into(), seconds);
        reading.insert("cpu_user".into(), user);
        reading.insert("cpu_system".into(), system);
        reading.insert("rss_kib".into(), self.resident_kib as f64);
        reading.insert("core_share".into(), share);
        if let (Some(now), Some(then)) = (self.core, before.core)
            && now.total > then.total
        {
            let busy = (now.busy - then.busy) as f64 / (now.total - then.total) as f64;
            reading.insert("core_foreign".into(), (busy - share).max(0.0));
        }
    }
}

struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
}

fn all_stats() -> io::Result<HashMap<u32, Stat>> {
    let mut stats = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended since the listing.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if let Some(stat) = parse_stat(&stat) {
            stats.insert(pid, stat);
        }
    }
    Ok(stats)
}

/// proc_pid_stat(5): the name is in parentheses and may hold anything, so fields are counted after the last `)`:
/// state is 3, ppid 4, utime 14, stime 15.
fn parse_stat(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        user_ticks: fields.get(11)?.parse().ok()?,
        system_ticks: fields.get(12)?.parse().ok()?,
    })
}

fn descends(mut pid: u32, root: u32, stats: &HashMap<u32, Stat>) -> bool {
    loop {
        if pid == root {
            return true;
        }
        match stats.get(&pid) {
            Some(stat) if stat.parent != 0 => pid = stat.parent,
            _ => return false,
        }
    }
}

/// CPU time that each of a process's threads has used, in ticks, by the thread's name.
pub(crate) fn thread_ticks(pid: u32) -> Outcome<HashMap<String, u64>> {
    let mut ticks = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).during("reading the proxy's threads")? {
        let folder = entry.during("reading the proxy's threads")?.path();
        // It may have ended since the listing.
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        if let Some(stat) = parse_stat(&text("stat")) {
            *ticks.entry(text("comm").trim().to_owned()).or_default() += stat.user_ticks + stat.system_ticks;
        }
    }
    Ok(ticks)
}

/// The most that a process held at any time, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    kib(pid, "status", "VmHWM:").unwrap_or(0)
}

/// `smaps_rollup` counts pages; `VmRSS` in `status` is a cheaper approximation, used where the first isn't readable.
fn resident_kib(pid: u32) -> u64 {
    kib(pid, "smaps_rollup", "Rss:").or_else(|| kib(pid, "status", "VmRSS:")).unwrap_or(0)
}

fn kib(pid: u32, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// proc_stat(5): `cpuN user nice system idle iowait irq softirq steal ...`.
fn core_ticks(stat: &str, core: usize) -> Option<CoreTicks> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    let total = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(CoreTicks { busy: total - idle, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let stat = parse_stat("12 (a) b (c)) S 7 1 1 0 -1 4194304 1 2 3 4 55 66 7 8 20 0 1 0").expect("a good line");
        assert_eq!((stat.parent, stat.user_ticks, stat.system_ticks), (7, 55, 66));
    }

    #[test]
    fn cores() {
        let text = "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 0 0\ncpu1 0 0 0 9 0 0 0 0\n";
        let ticks = core_ticks(text, 0).expect("cpu0");
        assert_eq!((ticks.busy, ticks.total), (27, 72));
        assert!(core_ticks(text, 2).is_none());
    }

    #[test]
    fn own_usage_is_seen() {
        let watched = Watched { pids: vec![std::process::id()], core: Some(0) };
        let usage = watched.usage().expect("own /proc entries");
        assert!(usage.resident_kib > 100);
        let gone = Watched { pids: vec![u32::MAX], core: None };
        assert!(gone.usage().is_err());
    }
}
