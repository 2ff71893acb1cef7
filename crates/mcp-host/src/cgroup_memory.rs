//! Memory use and memory limit of a process's control group, for both versions of cgroups. A limit of any ancestor counts.
//!
//! Must not know which process it is, nor what follows from a reading.

use std::fs;
use std::path::{Path, PathBuf};

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use, without the file cache that the kernel can free at once.
    pub used: u64,
    /// The limit in bytes.
    pub limit: u64,
}

/// Where `/proc` and the control groups are mounted. Tests replace both.
#[derive(Debug, Clone)]
pub struct Roots {
    proc: PathBuf,
    cgroup: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

/// The names of one version's files.
struct Files {
    used: &'static str,
    limit: &'static str,
    cached: &'static str,
}

const V2: Files = Files { used: "memory.current", limit: "memory.max", cached: "inactive_file" };
const V1: Files =
    Files { used: "memory.usage_in_bytes", limit: "memory.limit_in_bytes", cached: "total_inactive_file" };

/// Reads the group or ancestor that is nearest to its limit; without any limit, the process's share of the machine's
/// memory. `None` if the process has ended.
pub fn of_process(pid: u32, roots: &Roots) -> Option<Memory> {
    let groups = fs::read_to_string(roots.proc.join(pid.to_string()).join("cgroup")).ok()?;
    let mut tightest: Option<Memory> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, files) = match controllers {
            "" => (unified(&roots.cgroup), V2),
            _ if controllers.split(',').any(|name| name == "memory") => (roots.cgroup.join("memory"), V1),
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let reading = of_group(&mount.join(group), &files);
            tightest = tightest.into_iter().chain(reading).max_by(|a, b| a.part().total_cmp(&b.part()));
        }
    }
    tightest.or_else(|| of_machine(pid, roots))
}

impl Memory {
    /// Use divided by limit.
    pub fn part(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// Where the unified hierarchy is mounted: at the root, or beside the old ones.
fn unified(cgroup: &Path) -> PathBuf {
    let beside = cgroup.join("unified");
    if beside.is_dir() { beside } else { cgroup.to_owned() }
}

fn of_group(group: &Path, files: &Files) -> Option<Memory> {
    // Version 1 writes a larger number for "no limit"; version 2 writes "max", which does not parse.
    const NO_LIMIT: u64 = 1 << 60;
    let limit = number(&group.join(files.limit)).filter(|limit| *limit < NO_LIMIT)?;
    let used = number(&group.join(files.used))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(files.cached)?.trim().parse().ok());
    Some(Memory { used: used.saturating_sub(cached.unwrap_or(0)), limit })
}

fn of_machine(pid: u32, roots: &Roots) -> Option<Memory> {
    let kibibytes = |path: PathBuf, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let used = kibibytes(roots.proc.join(pid.to_string()).join("status"), "VmRSS:")?;
    let limit = kibibytes(roots.proc.join("meminfo"), "MemTotal:")?;
    Some(Memory { used, limit })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Tree {
            Tree(tempfile::tempdir().unwrap())
        }

        fn file(self, path: &str, text: &str) -> Tree {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn read(&self) -> Option<Memory> {
            of_process(7, &Roots { proc: self.0.path().join("proc"), cgroup: self.0.path().join("cgroup") })
        }
    }

    #[test]
    fn reads_the_group_without_what_the_kernel_caches_for_it() {
        let tree = Tree::new()
            .file("proc/7/cgroup", "0::/system.slice/tools.service\n")
            .file("cgroup/system.slice/tools.service/memory.current", "1000\n")
            .file("cgroup/system.slice/tools.service/memory.max", "1024\n")
            .file("cgroup/system.slice/tools.service/memory.stat", "anon 800\ninactive_file 200\n");
        assert_eq!(tree.read(), Some(Memory { used: 800, limit: 1024 }));
    }

    #[test]
    fn an_ancestor_that_is_nearer_to_its_limit_counts() {
        let tree = Tree::new()
            .file("proc/7/cgroup", "0::/system.slice/tools.service\n")
            .file("cgroup/system.slice/tools.service/memory.current", "100\n")
            .file("cgroup/system.slice/tools.service/memory.max", "max\n")
            .file("cgroup/system.slice/memory.current", "950\n")
            .file("cgroup/system.slice/memory.max", "1000\n");
        assert_eq!(tree.read(), Some(Memory { used: 950, limit: 1000 }));
    }

    #[test]
    fn the_old_version_is_read_as_well() {
        let tree = Tree::new()
            .file("proc/7/cgroup", "5:cpu:/\n4:memory:/tools\n0::/\n")
            .file("cgroup/memory/tools/memory.usage_in_bytes", "500\n")
            .file("cgroup/memory/tools/memory.limit_in_bytes", "1000\n")
            .file("cgroup/memory/tools/memory.stat", "total_inactive_file 50\n")
            .file("cgroup/memory/memory.usage_in_bytes", "9000\n")
            .file("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(tree.read(), Some(Memory { used: 450, limit: 1000 }));
    }

    #[test]
    fn without_a_limit_the_machine_is_the_limit() {
        let tree = Tree::new()
            .file("proc/7/cgroup", "0::/tools\n")
            .file("proc/7/status", "Name:\ttools\nVmRSS:\t    2048 kB\n")
            .file("proc/meminfo", "MemTotal:       4096 kB\nMemFree: 1 kB\n");
        assert_eq!(tree.read(), Some(Memory { used: 2 << 20, limit: 4 << 20 }));
    }

    #[test]
    fn a_process_that_is_gone_has_no_memory_and_this_one_has_some() {
        assert_eq!(Tree::new().read(), None);
        let ours = of_process(std::process::id(), &Roots::default()).unwrap();
        assert!(ours.used > 0 && ours.limit >= ours.used, "{ours:?}");
    }
}
