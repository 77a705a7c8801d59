//! How much memory this process holds, and how much its control group or the machine has for it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Bytes that are resident now (proc(5)); none on a system that does not say.
pub(crate) fn resident() -> Option<u64> {
    kilobytes(&read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes that this process can have: the least of the machine's and of its control groups' limits.
pub(crate) fn available() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:"));
    let groups = limit_files(&read_to_string("/proc/self/cgroup").unwrap_or_default());
    // Where there is no limit the file says "max" or does not exist.
    let groups = groups.iter().filter_map(|file| read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(groups).min()
}

/// The number behind a name in a file of proc(5), in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the limits of the groups in /proc/self/cgroup stand (cgroups(7)): those of a group's parents hold too, and in a
/// container's own name space only the outermost path exists.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            listed if listed.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let ancestors = Path::new(path).ancestors().filter_map(|path| path.strip_prefix("/").ok());
        files.extend(ancestors.map(|path| Path::new(root).join(path).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says() {
        let status = "Name:\toutgate\nVmHWM:\t  20480 kB\nVmRSS:\t   18432 kB\nThreads:\t4\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(18_432 * 1024));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(kilobytes("VmRSS: many kB\n", "VmRSS:"), None);
        let (resident, available) = (resident().unwrap(), available().unwrap());
        assert!(resident > 0 && resident < available, "{resident} of {available}");
    }

    #[test]
    fn where_the_limits_stand() {
        let cases: [(&str, &[&str]); 4] = [
            ("0::/\n", &["/sys/fs/cgroup/memory.max"]),
            (
                "0::/system.slice/outgate.service\n",
                &[
                    "/sys/fs/cgroup/system.slice/outgate.service/memory.max",
                    "/sys/fs/cgroup/system.slice/memory.max",
                    "/sys/fs/cgroup/memory.max",
                ],
            ),
            (
                "5:cpu,cpuacct:/a\n4:memory:/docker\n",
                &["/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"],
            ),
            ("nonsense\n", &[]),
        ];
        for (groups, expected) in cases {
            assert_eq!(limit_files(groups), expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{groups:?}");
        }
    }
}
