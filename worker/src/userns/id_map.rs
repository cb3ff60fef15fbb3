/// Which ids a user namespace has, and what they are outside (user_namespaces(7), `/proc/self/uid_map`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    pub(super) ranges: Vec<IdRange>,
}

/// Ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdRange {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
}

impl IdMap {
    /// Reads the kernel's own form; a line that is none is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some(IdRange {
                inside: numbers.next()??,
                outside: numbers.next()??,
                count: numbers.next()??,
            })
        };
        Self {
            ranges: text.lines().filter_map(range).collect(),
        }
    }

    /// Whether every id is there and means itself, as outside of all user namespaces.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        // The last number means "no id", and is in no map.
        self.ranges
            == [IdRange {
                inside: 0,
                outside: 0,
                count: u32::MAX,
            }]
    }

    /// Whether there is such an id.
    #[must_use]
    pub fn has(&self, id: u32) -> bool {
        self.ranges
            .iter()
            .any(|range| id >= range.inside && id - range.inside < range.count)
    }

    /// How many ids there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.count)).sum()
    }

    /// One id, which is 0 inside.
    pub(super) fn single(outside: u32) -> Self {
        Self {
            ranges: vec![IdRange {
                inside: 0,
                outside,
                count: 1,
            }],
        }
    }

    /// One id, which is 0 inside, and after it all of `further` (first id and count) in their order.
    pub(super) fn with_further(outside: u32, further: &[(u32, u32)]) -> Self {
        let mut map = Self::single(outside);
        let mut next = 1_u32;
        for &(first, count) in further {
            let count = count.min(u32::MAX - next);
            if count > 0 {
                map.ranges.push(IdRange {
                    inside: next,
                    outside: first,
                    count,
                });
                next += count;
            }
        }
        map
    }

    /// All ids of this namespace, for a child in which they mean themselves.
    pub(super) fn for_child(&self) -> Self {
        let ranges = self.ranges.iter().map(|range| IdRange {
            outside: range.inside,
            ..*range
        });
        Self {
            ranges: ranges.collect(),
        }
    }

    /// The kernel's form.
    pub(super) fn text(&self) -> String {
        self.ranges
            .iter()
            .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count))
            .collect()
    }

    /// The numbers as newuidmap(1) takes them.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        self.ranges
            .iter()
            .flat_map(|range| [range.inside, range.outside, range.count].map(|n| n.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_map_are_those_of_its_ranges() {
        let whole = IdMap::parse("         0          0 4294967295\n");
        assert!(whole.is_whole() && whole.has(70_000));
        let mapped = IdMap::parse("0 1000 1\n1 100000 65536\n");
        assert!(!mapped.is_whole());
        assert_eq!(mapped.count(), 65_537);
        for (id, is_there) in [(0, true), (1, true), (65_536, true), (65_537, false)] {
            assert_eq!(mapped.has(id), is_there, "{id}");
        }
        assert!(!IdMap::parse("").has(0));
    }

    #[test]
    fn further_ids_follow_the_own_one() {
        let map = IdMap::with_further(1000, &[(100_000, 10), (200_000, 5)]);
        assert_eq!(map.text(), "0 1000 1\n1 100000 10\n11 200000 5\n");
        let words: Vec<_> = map.arguments().take(6).collect();
        assert_eq!(words, ["0", "1000", "1", "1", "100000", "10"]);
        let huge = IdMap::with_further(1000, &[(1, u32::MAX), (5, 5)]);
        assert_eq!(
            huge.count(),
            u64::from(u32::MAX),
            "what does not fit is left out"
        );
        assert_eq!(map.for_child().text(), "0 0 1\n1 1 10\n11 11 5\n");
    }
}
