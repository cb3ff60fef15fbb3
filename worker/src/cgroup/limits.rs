use cooper_core::model::LinuxResources;

/// One limit: who keeps it, and what is written where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    /// The limit in words, for errors.
    pub(super) wanted: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
}

fn setting(
    controller: &'static str,
    wanted: &'static str,
    file: &'static str,
    value: impl ToString,
) -> Setting {
    Setting {
        controller,
        wanted,
        file,
        value: value.to_string(),
    }
}

const MEMORY: &str = "a memory limit";
const SWAP: &str = "a swap limit";
const SHARES: &str = "CPU shares";
const QUOTA: &str = "a CPU quota";
const CPUS: &str = "a set of CPUs";
const NODES: &str = "a set of memory nodes";

/// What control groups of version 1 are told, in this order (cgroup-v1/memory: memory before memory and swap together).
pub(super) fn version_one(limits: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if !limits.cpuset_cpus.is_empty() {
        settings.push(setting("cpuset", CPUS, "cpuset.cpus", &limits.cpuset_cpus));
    }
    if !limits.cpuset_mems.is_empty() {
        settings.push(setting("cpuset", NODES, "cpuset.mems", &limits.cpuset_mems));
    }
    if limits.memory > 0 {
        let file = "memory.limit_in_bytes";
        settings.push(setting("memory", MEMORY, file, limits.memory));
    }
    if limits.memory_swap != 0 {
        let file = "memory.memsw.limit_in_bytes";
        settings.push(setting("memory", SWAP, file, limits.memory_swap));
    }
    if limits.cpu_shares > 0 {
        settings.push(setting("cpu", SHARES, "cpu.shares", limits.cpu_shares));
    }
    if limits.cpu_period > 0 {
        settings.push(setting(
            "cpu",
            QUOTA,
            "cpu.cfs_period_us",
            limits.cpu_period,
        ));
    }
    if limits.cpu_quota != 0 {
        settings.push(setting("cpu", QUOTA, "cpu.cfs_quota_us", limits.cpu_quota));
    }
    settings
}

/// What a control group of version 2 is told (admin-guide/cgroup-v2; runtime-spec's meaning of the numbers).
pub(super) fn version_two(limits: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if !limits.cpuset_cpus.is_empty() {
        settings.push(setting("cpuset", CPUS, "cpuset.cpus", &limits.cpuset_cpus));
    }
    if !limits.cpuset_mems.is_empty() {
        settings.push(setting("cpuset", NODES, "cpuset.mems", &limits.cpuset_mems));
    }
    if limits.memory > 0 {
        settings.push(setting("memory", MEMORY, "memory.max", limits.memory));
    }
    if limits.memory_swap != 0 {
        // The request counts memory and swap together, the group swap alone.
        let swap = match limits.memory_swap {
            ..0 => "max".to_owned(),
            both => both.saturating_sub(limits.memory).max(0).to_string(),
        };
        settings.push(setting("memory", SWAP, "memory.swap.max", swap));
    }
    if limits.cpu_shares > 0 {
        // Shares are 2 to 262144, weights 1 to 10000 (runtime-tools' conversion, which runc and systemd share).
        let weight = 1 + (limits.cpu_shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        settings.push(setting("cpu", SHARES, "cpu.weight", weight));
    }
    if limits.cpu_quota != 0 || limits.cpu_period > 0 {
        const DEFAULT_PERIOD: u64 = 100_000;
        let period = match limits.cpu_period {
            0 => DEFAULT_PERIOD,
            period => period,
        };
        let quota = match limits.cpu_quota {
            ..=0 => "max".to_owned(),
            quota => quota.to_string(),
        };
        settings.push(setting(
            "cpu",
            QUOTA,
            "cpu.max",
            format!("{quota} {period}"),
        ));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(settings: &[Setting]) -> Vec<(&str, &str)> {
        settings
            .iter()
            .map(|setting| (setting.file, setting.value.as_str()))
            .collect()
    }

    #[test]
    fn both_versions_are_told_the_same_in_their_own_words() {
        let limits = LinuxResources {
            memory: 64 << 20,
            memory_swap: 96 << 20,
            cpu_shares: 1024,
            cpu_period: 50_000,
            cpu_quota: 25_000,
            cpuset_cpus: "0-1".into(),
            cpuset_mems: "0".into(),
        };
        assert_eq!(
            files(&version_one(&limits)),
            [
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
                ("memory.limit_in_bytes", "67108864"),
                ("memory.memsw.limit_in_bytes", "100663296"),
                ("cpu.shares", "1024"),
                ("cpu.cfs_period_us", "50000"),
                ("cpu.cfs_quota_us", "25000"),
            ]
        );
        assert_eq!(
            files(&version_two(&limits)),
            [
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
                ("memory.max", "67108864"),
                ("memory.swap.max", "33554432"),
                ("cpu.weight", "39"),
                ("cpu.max", "25000 50000"),
            ]
        );
    }

    #[test]
    fn what_is_not_limited_is_not_written() {
        let none = LinuxResources::default();
        assert_eq!(version_one(&none), []);
        assert_eq!(version_two(&none), []);
        let free = LinuxResources {
            memory_swap: -1,
            cpu_quota: -1,
            ..none
        };
        assert_eq!(
            files(&version_two(&free)),
            [("memory.swap.max", "max"), ("cpu.max", "max 100000")]
        );
    }
}
