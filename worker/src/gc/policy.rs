use std::path::Path;
use std::time::Duration;

use cooper_core::filters::Filters;
use cooper_core::model::PruneRule;

use super::GcError;

const GB: u64 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is collected without being asked (parity sheet C6).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum GcPolicy {
    /// Only what nothing needs any more.
    #[default]
    Unneeded,
    /// BuildKit's four rules with its bounds for a disk of this size.
    Usual,
    /// BuildKit's four rules with other bounds.
    Bounds {
        /// So much is always left alone.
        reserved: DiskSpace,
        /// At most so much is kept.
        max_used: DiskSpace,
        /// So much of the disk is to stay free.
        min_free: DiskSpace,
    },
    /// Rules of the owner's own, applied one after another.
    Rules(Vec<GcRule>),
}

/// One rule as a configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GcRule {
    /// Only records that one of these takes.
    pub filters: Filters,
    /// Internal and shared records too.
    pub all: bool,
    /// Only records that were not used for so long.
    pub keep_duration: Duration,
    /// So much is always left alone.
    pub reserved: DiskSpace,
    /// At most so much is kept; no bound when it is nothing.
    pub max_used: DiskSpace,
    /// So much of the disk is to stay free; no aim when it is nothing.
    pub min_free: DiskSpace,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskSpace {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of all of it.
    Percent(u64),
}

/// How full a disk is.
///
/// # Units
/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DiskState {
    /// All of it.
    pub total: u64,
    /// What is free.
    pub free: u64,
}

impl Default for DiskSpace {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl DiskState {
    /// Of the disk that has this path.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn of(path: &Path) -> Result<Self, GcError> {
        let stat = rustix::fs::statvfs(path).map_err(|error| GcError::Disk(error.into()))?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bfree.saturating_mul(stat.f_frsize),
        })
    }
}

impl DiskSpace {
    /// In bytes. A part of a disk is rounded up to whole GB, as BuildKit does; of a disk of unknown size it is 2 GB.
    #[must_use]
    pub fn bytes(self, disk: DiskState) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(0) => 0,
            Self::Percent(_) if disk.total == 0 => 2 * GB,
            Self::Percent(percent) => {
                let part = u128::from(disk.total) * u128::from(percent) / 100;
                let whole = u64::try_from(part >> 30).unwrap_or(u64::MAX / GB - 1);
                (whole + 1) * GB
            }
        }
    }
}

impl GcPolicy {
    /// The rules for a disk.
    #[must_use]
    pub fn rules(&self, disk: DiskState) -> Vec<PruneRule> {
        match self {
            Self::Unneeded => Vec::new(),
            Self::Usual => four_rules(
                disk,
                at_most(DiskSpace::Percent(10), 10 * GB, disk),
                at_most(DiskSpace::Percent(80), 100 * GB, disk),
                DiskSpace::Percent(20),
            ),
            Self::Bounds {
                reserved,
                max_used,
                min_free,
            } => four_rules(disk, *reserved, *max_used, *min_free),
            Self::Rules(rules) => rules.iter().map(|rule| rule.of(disk)).collect(),
        }
    }
}

impl GcRule {
    fn of(&self, disk: DiskState) -> PruneRule {
        PruneRule {
            filters: self.filters.clone(),
            all: self.all,
            keep_duration_ns: nanoseconds(self.keep_duration),
            reserved_bytes: self.reserved.bytes(disk),
            max_used_bytes: self.max_used.bytes(disk),
            min_free_bytes: self.min_free.bytes(disk),
        }
    }
}

fn at_most(space: DiskSpace, bytes: u64, disk: DiskState) -> DiskSpace {
    match space.bytes(disk) > bytes {
        true => DiskSpace::Bytes(bytes),
        false => space,
    }
}

fn four_rules(
    disk: DiskState,
    reserved: DiskSpace,
    max_used: DiskSpace,
    min_free: DiskSpace,
) -> Vec<PruneRule> {
    let bounded = GcRule {
        reserved,
        max_used,
        min_free,
        ..GcRule::default()
    };
    let easily_made_again = [
        "type==source.local",
        "type==exec.cachemount",
        "type==source.git.checkout",
    ];
    let first = GcRule {
        filters: Filters::parse(&easily_made_again.map(String::from)).expect("these are filters"),
        keep_duration: 2 * DAY,
        max_used: DiskSpace::Bytes(512_000_000),
        ..GcRule::default()
    };
    let long_unused = GcRule {
        keep_duration: 60 * DAY,
        ..bounded.clone()
    };
    let all = GcRule {
        all: true,
        ..bounded.clone()
    };
    [first, long_unused, bounded, all]
        .iter()
        .map(|rule| rule.of(disk))
        .collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_bounds_follow_the_disk_up_to_a_cap() {
        let bounds = |total: u64| {
            let rules = GcPolicy::Usual.rules(DiskState { total, free: 0 });
            let last = rules.last().unwrap();
            assert!(last.all && rules.len() == 4);
            (
                last.reserved_bytes,
                last.max_used_bytes,
                last.min_free_bytes,
            )
        };
        assert_eq!(bounds(50 << 30), (6 * GB, 41 * GB, 11 * GB));
        assert_eq!(bounds(1000 << 30), (10 * GB, 100 * GB, 201 * GB));
        assert_eq!(bounds(0), (2 * GB, 2 * GB, 2 * GB));
    }

    #[test]
    fn what_is_easily_made_again_goes_first() {
        let first = &GcPolicy::Usual.rules(DiskState::default())[0];
        assert_eq!(first.max_used_bytes, 512_000_000);
        assert_eq!(first.keep_duration_ns, 48 * 3600 * GB);
        assert_eq!(first.filters.texts().len(), 3);
        assert!(GcPolicy::Unneeded.rules(DiskState::default()).is_empty());
    }
}
