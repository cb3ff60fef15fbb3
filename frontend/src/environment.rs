//! The environment of a stage: ordered by the last time a name was set.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::expand::Variables;

/// Names and values. Setting a name again moves it to the end, as LLB's environments do.
///
/// Stages that stand on each other have a copy each, so that what is shared is shared: a copy costs no text.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// In order; a name that was set again or removed leaves a gap.
    entries: Vec<Option<Entry>>,
    at: HashMap<Rc<str>, usize>,
    /// Counts changes, so that what was made of it can be known to be old.
    version: u64,
    written: OnceCell<Rc<[u8]>>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Rc<str>,
    value: Rc<str>,
}

impl Environment {
    /// Sets a name.
    pub fn set(&mut self, name: impl Into<Rc<str>>, value: impl Into<Rc<str>>) {
        let name = name.into();
        self.changed();
        if let Some(old) = self.at.insert(name.clone(), self.entries.len()) {
            self.entries[old] = None;
        }
        let value = value.into();
        self.entries.push(Some(Entry { name, value }));
        if self.entries.len() > 2 * self.at.len() + 16 {
            self.close_gaps();
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        self.changed();
        if let Some(old) = self.at.remove(name) {
            self.entries[old] = None;
        }
    }

    fn changed(&mut self) {
        self.version += 1;
        self.written.take();
    }

    /// A number that is another one after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn close_gaps(&mut self) {
        self.entries.retain(Option::is_some);
        self.at = self
            .entries
            .iter()
            .flatten()
            .enumerate()
            .map(|(at, entry)| (entry.name.clone(), at))
            .collect();
    }

    fn ordered(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// `NAME=value` in order.
    #[must_use]
    pub fn to_list(&self) -> Vec<String> {
        self.ordered()
            .map(|entry| format!("{}={}", entry.name, entry.value))
            .collect()
    }

    /// `NAME=value` in order as the repeated field `tag` of a protobuf message; always the same `tag` for one environment.
    /// Many steps carry the same variables, so that it is written once.
    pub(crate) fn as_field(&self, tag: u32) -> Rc<[u8]> {
        let write = || {
            let mut out = Vec::new();
            for entry in self.ordered() {
                let length = entry.name.len() + 1 + entry.value.len();
                crate::llb::begin_field(&mut out, tag, length);
                out.extend_from_slice(entry.name.as_bytes());
                out.push(b'=');
                out.extend_from_slice(entry.value.as_bytes());
            }
            out.into()
        };
        self.written.get_or_init(write).clone()
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries[*self.at.get(name)?].as_ref()?;
        Some(&entry.value)
    }

    fn names(&self) -> Vec<&str> {
        self.ordered().map(|entry| &*entry.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

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

    #[test]
    fn gaps_are_closed_and_nothing_is_lost() {
        let mut environment = Environment::default();
        environment.set("KEPT", "1");
        for round in 0..1000 {
            environment.set("AGAIN", round.to_string());
        }
        assert!(environment.entries.len() < 100);
        assert_eq!(environment.to_list(), ["KEPT=1", "AGAIN=999"]);
        assert_eq!(environment.get("KEPT"), Some("1"));
    }

    #[test]
    fn written_bytes_are_those_of_the_message() {
        let mut environment = Environment::default();
        environment.set("A", "x".repeat(200));
        environment.as_field(2);
        environment.set("B", "");
        let meta = cooper_proto::pb::Meta {
            env: environment.to_list(),
            ..Default::default()
        };
        assert_eq!(*environment.as_field(2), *meta.encode_to_vec());
    }
}
