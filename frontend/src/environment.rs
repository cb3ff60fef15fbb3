//! The environment of a stage: ordered by the last time a name was set.

use std::collections::BTreeMap;

use crate::expand::Variables;

/// Names and values. Setting a name again moves it to the end, as LLB's environments do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    entries: BTreeMap<String, (u64, String)>,
    clock: u64,
}

impl Environment {
    /// Sets a name.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.clock += 1;
        self.entries.insert(name.into(), (self.clock, value.into()));
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    fn ordered(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<(u64, &str, &str)> = self
            .entries
            .iter()
            .map(|(name, (at, value))| (*at, name.as_str(), value.as_str()))
            .collect();
        all.sort_unstable_by_key(|(at, ..)| *at);
        all.into_iter()
            .map(|(_, name, value)| (name, value))
            .collect()
    }

    /// `NAME=value` in order.
    #[must_use]
    pub fn to_list(&self) -> Vec<String> {
        self.ordered()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|(_, value)| value.as_str())
    }

    fn names(&self) -> Vec<&str> {
        self.ordered().into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_moves_to_the_end() {
        let mut environment = Environment::default();
        environment.set("A", "1");
        environment.set("B", "2");
        environment.set("A", "3");
        assert_eq!(environment.to_list(), ["B=2", "A=3"]);
        environment.remove("B");
        assert_eq!(environment.get("B"), None);
    }
}
