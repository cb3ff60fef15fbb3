//! What is noted of stages for those who ask what can be passed to them.

use std::collections::{BTreeMap, BTreeSet};

use super::Conversion;
use super::args::Global;
use crate::diagnostic::Lines;
use crate::instruction::description;
use crate::subrequest::{Listed, Mentioned, Outline};

/// What a stage declares and asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    arguments: BTreeMap<String, Argument>,
    used: BTreeSet<String>,
    secrets: BTreeMap<String, Mentioned>,
    agents: BTreeMap<String, Mentioned>,
}

/// An argument, and the ones that its default is made of.
#[derive(Clone, Debug, Default)]
struct Argument {
    listed: Listed,
    parts: BTreeSet<String>,
}

impl Noted {
    /// What all stages start with.
    pub(super) fn of(globals: &[Global]) -> Self {
        let mut noted = Self::default();
        for global in globals {
            let mut parts = global.parts.clone();
            if parts.remove(&global.name)
                && let Some(before) = noted.arguments.get(&global.name)
            {
                parts.extend(before.parts.iter().cloned());
            }
            let listed = Listed {
                name: global.name.clone(),
                description: description(&global.comments, &global.name).to_owned(),
                value: global.value.clone().unwrap_or_default(),
                lines: global.lines,
            };
            let argument = Argument { listed, parts };
            noted.arguments.insert(global.name.clone(), argument);
        }
        noted
    }

    /// Notes names that FROM is made of.
    pub(super) fn use_all(&mut self, names: &BTreeSet<String>) {
        self.used.extend(names.iter().cloned());
    }

    /// Notes an ARG; `None` for one that only takes over a global one.
    pub(crate) fn declare(&mut self, name: &str, listed: Option<Listed>) {
        self.used.insert(name.to_owned());
        if let Some(listed) = listed {
            let parts = BTreeSet::new();
            self.arguments
                .insert(name.to_owned(), Argument { listed, parts });
        }
    }

    /// Notes a secret; the first mention counts.
    pub(crate) fn ask_secret(&mut self, name: &str, required: bool, lines: Lines) {
        mention(&mut self.secrets, name, required, lines);
    }

    /// Notes an agent; the first mention counts.
    pub(crate) fn ask_agent(&mut self, name: &str, required: bool, lines: Lines) {
        mention(&mut self.agents, name, required, lines);
    }

    /// The names that are used, and those that these are made of.
    fn all_used(&self) -> BTreeSet<&str> {
        let mut open: Vec<&str> = self.used.iter().map(String::as_str).collect();
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            if found.insert(name)
                && let Some(argument) = self.arguments.get(name)
            {
                open.extend(argument.parts.iter().map(String::as_str));
            }
        }
        found
    }
}

fn mention(all: &mut BTreeMap<String, Mentioned>, name: &str, required: bool, lines: Lines) {
    all.entry(name.to_owned()).or_insert_with(|| Mentioned {
        name: name.to_owned(),
        required,
        lines,
    });
}

impl Conversion<'_> {
    /// What can be passed to a target: of its own stage first, then of what that stands on and reads from.
    pub(super) fn outline(&self, target: usize) -> Outline {
        let mut arguments: BTreeMap<&str, &Listed> = BTreeMap::new();
        let mut secrets: BTreeMap<&str, &Mentioned> = BTreeMap::new();
        let mut agents: BTreeMap<&str, &Mentioned> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            let node = &self.nodes[at];
            for name in node.noted.all_used() {
                if let Some(argument) = node.noted.arguments.get(name) {
                    arguments.entry(name).or_insert(&argument.listed);
                }
            }
            for (name, secret) in &node.noted.secrets {
                secrets.entry(name).or_insert(secret);
            }
            for (name, agent) in &node.noted.agents {
                agents.entry(name).or_insert(agent);
            }
            open.extend(node.deps.keys().rev());
            open.extend(node.base);
        }
        let stage = &self.nodes[target].stage;
        Outline {
            name: stage.name.clone(),
            description: description(&stage.comments, &stage.name).to_owned(),
            arguments: by_line(arguments.into_values(), |argument| argument.lines),
            secrets: by_line(secrets.into_values(), |secret| secret.lines),
            agents: by_line(agents.into_values(), |agent| agent.lines),
        }
    }
}

fn by_line<'a, T: Clone + 'a>(
    items: impl Iterator<Item = &'a T>,
    lines: impl Fn(&T) -> Lines,
) -> Vec<T> {
    let mut items: Vec<T> = items.cloned().collect();
    items.sort_by_key(|item| lines(item).start);
    items
}
