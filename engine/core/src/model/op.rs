use std::collections::BTreeMap;

use cooper_proto::Digest;

/// What identifies the work of one op for the cache (parity sheet B2: the solver's `CacheMap`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMap {
    /// Digest of everything in the op that can change its outputs, inputs aside. Byte-compatible with BuildKit's
    /// (parity sheet B3), so that caches written by either are warm for the other.
    pub digest: Digest,
    /// One rule an input, in the op's order.
    pub inputs: Vec<InputKeyRule>,
    /// What the worker wants to be given back when the op runs, such as the digest a tag resolved to.
    pub pin: Option<Pin>,
    /// Whether the op has a further cache map (an image has one by manifest and one by chain ID).
    pub more: bool,
}

/// How one input enters the key of an op.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputKeyRule {
    /// Digest of the part of the input that the op looks at; `None` when it is all of it.
    pub selector: Option<Digest>,
    /// Set when the op's dependence on this input can also be expressed by content: once the input is built, a
    /// digest over these paths is a second, slower key that often still matches when the first does not.
    pub content: Option<Vec<ContentSelector>>,
}

/// Paths of an input whose contents decide whether an op must run again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ContentSelector {
    /// Absolute path inside the input, or a pattern when `wildcard` is set.
    pub path: String,
    /// Whether `path` holds `*`, `?` or `[..]` to be matched.
    pub wildcard: bool,
    /// Whether a symbolic link at the end of `path` is followed.
    pub follow_links: bool,
    /// Only what matches one of these counts; all when empty.
    pub include_patterns: Vec<String>,
    /// What matches one of these does not count.
    pub exclude_patterns: Vec<String>,
    /// Paths that must exist below `path`.
    pub required_paths: Vec<String>,
}

/// What a source resolved to while its key was made, opaque to all but the worker.
///
/// Plain text so that a remote worker can carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pin(pub BTreeMap<String, String>);

/// Limits on the machine's resources for one op. Not part of any digest. Zero or empty means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinuxResources {
    /// Memory in bytes.
    pub memory: i64,
    /// Memory and swap together in bytes; -1 is unlimited.
    pub memory_swap: i64,
    /// Relative CPU weight, as `cpu.shares`.
    pub cpu_shares: u64,
    /// Length of a CPU period in microseconds.
    pub cpu_period: u64,
    /// CPU time an op may use in a period, in microseconds.
    pub cpu_quota: i64,
    /// CPUs the op may run on, such as `0-2,5`.
    pub cpuset_cpus: String,
    /// Memory nodes the op may use.
    pub cpuset_mems: String,
}
