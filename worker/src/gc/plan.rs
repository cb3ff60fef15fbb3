//! Which records go, as a function of plain data.

use std::collections::{BTreeMap, BTreeSet};

use cooper_core::model::{PruneRule, UsageRecord};

/// Internal records go only when all may (parity sheet C6).
const KEPT_TYPES: [&str; 2] = ["internal", "frontend"];

/// The records that a rule looks at, and what is left of them as they go.
pub(super) struct Plan<'a> {
    rule: &'a PruneRule,
    now_ns: u64,
    records: BTreeMap<String, UsageRecord>,
    /// How many records stand on a record.
    children: BTreeMap<String, usize>,
    total: u64,
    /// How much is to be left; `None` when size does not matter.
    keep: Option<u64>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        rule: &'a PruneRule,
        records: Vec<UsageRecord>,
        free_bytes: u64,
        now_ns: u64,
    ) -> Self {
        let total = records
            .iter()
            .filter(|it| !it.shared)
            .map(|it| it.size)
            .sum();
        let mut children = BTreeMap::new();
        for parent in records.iter().flat_map(|record| &record.parents) {
            *children.entry(parent.clone()).or_insert(0) += 1;
        }
        Self {
            rule,
            now_ns,
            total,
            keep: bytes_to_keep(rule, total, free_bytes),
            records: records.into_iter().map(|it| (it.id.clone(), it)).collect(),
            children,
        }
    }

    /// The ids that may go next: all that can when size does not matter, one when it does, none at the end.
    pub(super) fn next(&self) -> Vec<String> {
        let possible = || self.records.values().filter(|record| self.may_go(record));
        match self.keep {
            None => possible().map(|record| record.id.clone()).collect(),
            Some(keep) if self.total < keep => Vec::new(),
            Some(_) => least_useful(possible().collect()).into_iter().collect(),
        }
    }

    /// Notes that a record went, and returns it.
    pub(super) fn gone(&mut self, id: &str) -> Option<UsageRecord> {
        let record = self.records.remove(id)?;
        for parent in &record.parents {
            if let Some(count) = self.children.get_mut(parent) {
                *count -= 1;
            }
        }
        if !record.shared {
            self.total -= record.size;
        }
        Some(record)
    }

    /// Notes that a record could not go.
    pub(super) fn stays(&mut self, id: &str) {
        if let Some(record) = self.records.get_mut(id) {
            record.in_use = true;
        }
    }

    fn may_go(&self, record: &UsageRecord) -> bool {
        let rule = self.rule;
        let stands_alone = self
            .children
            .get(&record.id)
            .is_none_or(|count| *count == 0);
        let is_kept = KEPT_TYPES.contains(&record.record_type.as_str()) || record.shared;
        let latest = self.now_ns.saturating_sub(rule.keep_duration_ns);
        let is_fresh =
            rule.keep_duration_ns != 0 && record.last_used_ns.is_some_and(|last| last > latest);
        !record.in_use
            && stands_alone
            && (rule.all || !is_kept)
            && !is_fresh
            && rule.filters.take(record)
    }
}

/// How much a rule leaves: as much as it may, less what the disk lacks, and never less than is reserved.
fn bytes_to_keep(rule: &PruneRule, total: u64, free: u64) -> Option<u64> {
    if rule.max_used_bytes == 0 && rule.reserved_bytes == 0 && rule.min_free_bytes == 0 {
        return None;
    }
    let lacking = rule.min_free_bytes.saturating_sub(free);
    let after_freeing = total.saturating_sub(lacking);
    let wanted = match (rule.max_used_bytes, rule.min_free_bytes) {
        (0, 0) => 0,
        (0, _) if lacking == 0 => u64::MAX,
        (0, _) => after_freeing,
        (most, _) if lacking > 0 => most.min(after_freeing),
        (most, _) => most,
    };
    Some(wanted.max(rule.reserved_bytes))
}

/// Of what may go, what was used longest ago and least often, both counted by rank.
fn least_useful(mut candidates: Vec<&UsageRecord>) -> Option<String> {
    let times: BTreeSet<_> = candidates.iter().map(|it| it.last_used_ns).collect();
    let counts: BTreeSet<_> = candidates.iter().map(|it| it.usage_count).collect();
    let (times, counts): (Vec<_>, Vec<_>) = (Vec::from_iter(times), Vec::from_iter(counts));
    let rank = |record: &UsageRecord| {
        let time = times.partition_point(|it| *it < record.last_used_ns);
        let count = counts.partition_point(|it| *it < record.usage_count);
        // Both as parts of the same whole, without fractions.
        time * counts.len() + count * times.len()
    };
    candidates.sort_by_key(|it| it.created_ns);
    let first = candidates.into_iter().min_by_key(|it| rank(it))?;
    Some(first.id.clone())
}

#[cfg(test)]
mod tests {
    use cooper_core::filters::Filters;

    use super::*;

    fn record(id: &str, size: u64, parents: &[&str]) -> UsageRecord {
        UsageRecord {
            id: id.to_owned(),
            record_type: "regular".to_owned(),
            size,
            parents: parents.iter().map(ToString::to_string).collect(),
            ..UsageRecord::default()
        }
    }

    fn pruned(rule: &PruneRule, records: Vec<UsageRecord>, free: u64) -> Vec<String> {
        let mut plan = Plan::new(rule, records, free, 1000);
        let mut went = Vec::new();
        loop {
            let next = plan.next();
            if next.is_empty() {
                return went;
            }
            for id in next {
                plan.gone(&id).unwrap();
                went.push(id);
            }
        }
    }

    #[test]
    fn a_record_goes_after_what_stands_on_it() {
        let records = vec![
            record("base", 1, &[]),
            record("middle", 1, &["base"]),
            record("top", 1, &["middle"]),
        ];
        let went = pruned(&PruneRule::default(), records.clone(), 0);
        assert_eq!(went, ["top", "middle", "base"]);
        let mut in_use = records;
        in_use[1].in_use = true;
        assert_eq!(pruned(&PruneRule::default(), in_use, 0), ["top"]);
    }

    #[test]
    fn internal_and_shared_records_go_only_with_all() {
        let mut records = vec![
            record("a", 1, &[]),
            record("b", 1, &[]),
            record("c", 1, &[]),
        ];
        records[0].record_type = "internal".to_owned();
        records[1].shared = true;
        assert_eq!(pruned(&PruneRule::default(), records.clone(), 0), ["c"]);
        let all = PruneRule {
            all: true,
            ..PruneRule::default()
        };
        assert_eq!(pruned(&all, records, 0).len(), 3);
    }

    #[test]
    fn filters_and_age_choose() {
        let mut records = vec![
            record("old", 1, &[]),
            record("new", 1, &[]),
            record("never", 1, &[]),
        ];
        records[0].last_used_ns = Some(100);
        records[1].last_used_ns = Some(990);
        let rule = PruneRule {
            keep_duration_ns: 500,
            ..PruneRule::default()
        };
        assert_eq!(pruned(&rule, records.clone(), 0), ["never", "old"]);
        let rule = PruneRule {
            filters: Filters::parse(&["id==new".to_owned()]).unwrap(),
            ..PruneRule::default()
        };
        assert_eq!(pruned(&rule, records, 0), ["new"]);
    }

    #[test]
    fn a_bound_takes_the_least_useful_until_it_is_met() {
        let mut records: Vec<_> = ["a", "b", "c"].map(|id| record(id, 10, &[])).into();
        for (record, (last, count)) in records.iter_mut().zip([(10, 9), (20, 1), (30, 1)]) {
            record.last_used_ns = Some(last);
            record.usage_count = count;
        }
        let bound = |max_used_bytes| PruneRule {
            max_used_bytes,
            ..PruneRule::default()
        };
        assert_eq!(pruned(&bound(25), records.clone(), 0), ["b"]);
        assert_eq!(pruned(&bound(15), records.clone(), 0), ["b", "a"]);
        assert!(pruned(&bound(31), records.clone(), 0).is_empty());
        records[1].shared = true;
        // What is shared does not count and stays.
        assert_eq!(pruned(&bound(15), records, 0), ["a"]);
    }

    #[test]
    fn free_space_is_an_aim_and_reserved_space_a_bound() {
        let rule = |max_used_bytes, min_free_bytes, reserved_bytes| PruneRule {
            max_used_bytes,
            min_free_bytes,
            reserved_bytes,
            ..PruneRule::default()
        };
        for (rule, kept) in [
            (rule(0, 0, 0), None),
            (rule(50, 0, 0), Some(50)),
            (rule(0, 100, 0), Some(30)),
            (rule(0, 30, 0), Some(u64::MAX)),
            (rule(50, 100, 0), Some(30)),
            (rule(50, 30, 0), Some(50)),
            (rule(50, 100, 40), Some(40)),
            (rule(0, 0, 40), Some(40)),
            (rule(0, 999, 0), Some(0)),
        ] {
            assert_eq!(bytes_to_keep(&rule, 100, 30), kept, "{rule:?}");
        }
    }
}
