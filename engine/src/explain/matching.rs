//! Which step of one build is which of another.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::RecordedVertex;

/// For each vertex of `after`, its counterpart in `before`.
///
/// The same digest is the same step. Else steps are known by their names, best first: the whole name; the instruction
/// within the stage, wherever it stands; the place within the stage, whatever it says.
pub(super) fn matched(before: &[RecordedVertex], after: &[RecordedVertex]) -> Vec<Option<usize>> {
    let mut found = vec![None; after.len()];
    let mut taken = BTreeSet::new();
    let rules: [fn(&RecordedVertex) -> Option<String>; 4] = [
        |vertex| Some(vertex.digest.clone()),
        |vertex| Some(vertex.name.clone()),
        |vertex| {
            let step = Step::of(&vertex.name)?;
            Some(format!("{}\0{}", step.stage, step.text))
        },
        |vertex| {
            let step = Step::of(&vertex.name)?;
            let keyword = step.text.split(' ').next().unwrap_or_default();
            Some(format!("{}\0{}\0{keyword}", step.stage, step.number))
        },
    ];
    for rule in rules {
        let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, vertex) in before.iter().enumerate().rev() {
            if let (false, Some(key)) = (taken.contains(&at), rule(vertex)) {
                places.entry(key).or_default().push(at);
            }
        }
        for (at, vertex) in after.iter().enumerate() {
            if found[at].is_some() {
                continue;
            }
            let place = rule(vertex).and_then(|key| places.get_mut(&key)?.pop());
            if let Some(place) = place {
                taken.insert(place);
                found[at] = Some(place);
            }
        }
    }
    found
}

/// A name such as `[linux/amd64 build 2/7] RUN make` taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    /// All in the brackets but the numbers.
    pub(super) stage: &'a str,
    /// The number of the step.
    pub(super) number: &'a str,
    /// The instruction.
    pub(super) text: &'a str,
}

impl<'a> Step<'a> {
    /// `None` for a name of another form.
    pub(super) fn of(name: &'a str) -> Option<Self> {
        let (head, text) = name.strip_prefix('[')?.split_once("] ")?;
        let (stage, numbers) = head.rsplit_once(' ').unwrap_or(("", head));
        let (number, _) = numbers.split_once('/')?;
        Some(Self {
            stage: stage.trim(),
            number: number.trim(),
            text,
        })
    }
}

/// The instruction of a name, or all of it.
pub(super) fn instruction(name: &str) -> &str {
    Step::of(name).map_or(name, |step| step.text)
}
