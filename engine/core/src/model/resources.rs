use std::collections::BTreeSet;

use super::op::LinuxResources;

/// Numbers that a set of CPUs or memory nodes may name; no machine has as many.
const MOST: u32 = 1 << 16;

impl LinuxResources {
    /// The limits of one run for two builds that want it: in each, the one that leaves more (BuildKit's rule), so that no
    /// build is slowed by what another one asked for.
    #[must_use]
    pub fn relaxed(&self, other: &Self) -> Self {
        let (period, quota) = bandwidth(self, other);
        Self {
            memory: match (self.memory, other.memory) {
                (0, _) | (_, 0) => 0,
                (one, two) => one.max(two),
            },
            memory_swap: match (self.memory_swap, other.memory_swap) {
                // Nothing said is not "no limit" here: it leaves what goes with the memory.
                (0, said) | (said, 0) => said,
                (-1, _) | (_, -1) => -1,
                (one, two) => one.max(two),
            },
            cpu_shares: match (self.cpu_shares, other.cpu_shares) {
                (0, said) | (said, 0) => said,
                (one, two) => one.max(two),
            },
            cpu_period: period,
            cpu_quota: quota,
            cpuset_cpus: union(&self.cpuset_cpus, &other.cpuset_cpus),
            cpuset_mems: union(&self.cpuset_mems, &other.cpuset_mems),
        }
    }
}

/// The period and quota of whichever leaves more of a CPU; of equals, the one with the shorter period.
fn bandwidth(one: &LinuxResources, two: &LinuxResources) -> (u64, i64) {
    let of = |it: &LinuxResources| (it.cpu_period, it.cpu_quota);
    match (one.cpu_quota, two.cpu_quota) {
        (0, 0) => return (0, 0),
        (0, _) => return of(one),
        (_, 0) => return of(two),
        _ => {}
    }
    let (periods, quotas) = (
        (i128::from(one.cpu_period), i128::from(two.cpu_period)),
        (i128::from(one.cpu_quota), i128::from(two.cpu_quota)),
    );
    let (first, second) = match periods {
        (0, _) | (_, 0) => quotas,
        _ => (quotas.0 * periods.1, quotas.1 * periods.0),
    };
    match first.cmp(&second) {
        std::cmp::Ordering::Greater => of(one),
        std::cmp::Ordering::Less => of(two),
        std::cmp::Ordering::Equal if one.cpu_period == 0 => of(two),
        std::cmp::Ordering::Equal if two.cpu_period == 0 || one.cpu_period <= two.cpu_period => {
            of(one)
        }
        std::cmp::Ordering::Equal => of(two),
    }
}

/// All of both sets, such as `0-2,5`. Empty is every one; a text that is no set counts for nothing beside one that is.
fn union(one: &str, two: &str) -> String {
    if one.is_empty() || two.is_empty() {
        return String::new();
    }
    match (numbers(one), numbers(two)) {
        (Some(one), Some(two)) => text(&one.union(&two).copied().collect()),
        (None, Some(_)) => two.to_owned(),
        (_, None) => one.to_owned(),
    }
}

fn numbers(set: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in set.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn text(numbers: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let written = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    written.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_limit_the_one_that_leaves_more_holds() {
        let one = LinuxResources {
            memory: 10,
            memory_swap: 20,
            cpu_shares: 0,
            cpu_period: 100,
            cpu_quota: 50,
            cpuset_cpus: "0-2".into(),
            cpuset_mems: "0".into(),
        };
        let two = LinuxResources {
            memory: 30,
            memory_swap: -1,
            cpu_shares: 7,
            cpu_period: 1000,
            cpu_quota: 400,
            cpuset_cpus: "2,3,9".into(),
            cpuset_mems: String::new(),
        };
        let both = LinuxResources {
            memory: 30,
            memory_swap: -1,
            cpu_shares: 7,
            cpu_period: 100,
            cpu_quota: 50,
            cpuset_cpus: "0-3,9".into(),
            cpuset_mems: String::new(),
        };
        assert_eq!(one.relaxed(&two), both);
        assert_eq!(two.relaxed(&one), both);
        let none = LinuxResources::default();
        assert_eq!(one.relaxed(&none).memory, 0);
        assert_eq!(one.relaxed(&none).cpu_quota, 0);
    }

    #[test]
    fn a_set_that_is_none_counts_for_nothing() {
        assert_eq!(union("0-1", "x"), "0-1");
        assert_eq!(union("4-2", "1"), "1");
        assert_eq!(union("0-4294967295", "1"), "1");
        assert_eq!(union("x", "y"), "x");
    }
}
