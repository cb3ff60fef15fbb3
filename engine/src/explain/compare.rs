use std::collections::{BTreeMap, BTreeSet};

use super::cause::{Cause, Explanation, Files, Verdict};
use super::evidence::{Contents, Part};
use super::matching::{instruction, matched};
use super::parts::{COMMAND, IGNORED, SOURCE, VARIABLE};
use crate::history::RecordedVertex;

/// How many paths of each kind are named.
const NAMED: usize = 20;

/// Says for each vertex of a build what became of it and why, by comparing with an earlier build.
///
/// # Shape
/// In the order of the build's vertices; those of the engine's own work, such as exports, are left out.
#[must_use]
pub fn explain(before: Option<&[RecordedVertex]>, after: &[RecordedVertex]) -> Vec<Explanation> {
    let earlier = before.unwrap_or_default();
    let comparison = Comparison {
        before: earlier,
        after,
        is_first: before.is_none(),
        counterparts: matched(earlier, after),
        places: places(after),
        earlier_places: places(earlier),
    };
    let of_graph = |vertex: &RecordedVertex| {
        !vertex.evidence.parts.is_empty() || !vertex.evidence.inputs.is_empty()
    };
    (0..after.len())
        .filter(|at| of_graph(&after[*at]))
        .map(|at| comparison.one(at))
        .collect()
}

fn places(vertices: &[RecordedVertex]) -> BTreeMap<&str, usize> {
    vertices
        .iter()
        .enumerate()
        .map(|(at, vertex)| (vertex.digest.as_str(), at))
        .collect()
}

fn verdict(vertex: &RecordedVertex) -> Verdict {
    if vertex.error.is_some() {
        Verdict::Failed
    } else if vertex.completed_ns.is_none() {
        Verdict::NotNeeded
    } else if vertex.cached {
        Verdict::Reused
    } else {
        Verdict::Ran
    }
}

struct Comparison<'a> {
    before: &'a [RecordedVertex],
    after: &'a [RecordedVertex],
    is_first: bool,
    counterparts: Vec<Option<usize>>,
    places: BTreeMap<&'a str, usize>,
    earlier_places: BTreeMap<&'a str, usize>,
}

impl Comparison<'_> {
    fn one(&self, at: usize) -> Explanation {
        let vertex = &self.after[at];
        let verdict = verdict(vertex);
        let causes = match verdict {
            Verdict::Ran | Verdict::Failed => self.why_ran(at),
            Verdict::Reused => self.why_reused(at),
            Verdict::NotNeeded => Vec::new(),
        };
        Explanation {
            digest: vertex.digest.clone(),
            name: vertex.name.clone(),
            verdict,
            causes,
        }
    }

    fn why_ran(&self, at: usize) -> Vec<Cause> {
        let vertex = &self.after[at];
        match vertex.miss_kind.as_deref() {
            Some("ignore_cache") => return vec![Cause::CacheOff],
            Some("result_gone") => return vec![Cause::ResultGone],
            _ => {}
        }
        if self.is_first {
            return vec![Cause::FirstBuild];
        }
        let Some(earlier) = self.counterparts[at].map(|at| &self.before[at]) else {
            return vec![Cause::NewStep];
        };
        let mut causes = changed_parts(earlier, vertex);
        causes.extend(self.changed_order(earlier, vertex));
        let files = changed_files(earlier, vertex);
        let has_files = !files.is_empty();
        if has_files {
            causes.push(Cause::FilesChanged(files));
        }
        let ran = self.inputs_that_ran(at);
        causes.extend(
            ran.iter()
                .filter(|input| !(has_files && is_source(&self.after[**input])))
                .map(|input| Cause::InputRan {
                    name: self.after[*input].name.clone(),
                }),
        );
        if causes.is_empty() && is_local(vertex) {
            causes.push(Cause::AskedEveryTime);
        }
        if causes.is_empty() {
            causes.push(Cause::NoDifference);
        }
        causes
    }

    fn why_reused(&self, at: usize) -> Vec<Cause> {
        let ran = self.inputs_that_ran(at);
        match ran.iter().find(|input| !is_local(&self.after[**input])) {
            Some(input) => vec![Cause::ReadsTheSame {
                name: self.after[*input].name.clone(),
            }],
            None => vec![Cause::Unchanged],
        }
    }

    /// The vertex's inputs that ran in this build.
    fn inputs_that_ran(&self, at: usize) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        self.after[at]
            .evidence
            .inputs
            .iter()
            .filter_map(|digest| self.places.get(digest.as_str()).copied())
            .filter(|input| seen.insert(*input) && verdict(&self.after[*input]) == Verdict::Ran)
            .collect()
    }

    /// A step whose first input is another step than before, though that one is still there.
    fn changed_order(&self, earlier: &RecordedVertex, vertex: &RecordedVertex) -> Option<Cause> {
        let now = *self.places.get(vertex.evidence.inputs.first()?.as_str())?;
        let then = *self
            .earlier_places
            .get(earlier.evidence.inputs.first()?.as_str())?;
        let moved = self.counterparts[now] != Some(then);
        let both = !is_source(&self.after[now]) && !is_source(&self.before[then]);
        (moved && both).then(|| Cause::Reordered {
            before: instruction(&self.before[then].name).to_owned(),
            after: instruction(&self.after[now].name).to_owned(),
        })
    }
}

fn source_of(vertex: &RecordedVertex) -> Option<&str> {
    let source = vertex
        .evidence
        .parts
        .iter()
        .find(|part| part.name == SOURCE);
    source.map(|part| part.value.as_str())
}

fn is_source(vertex: &RecordedVertex) -> bool {
    source_of(vertex).is_some()
}

fn is_local(vertex: &RecordedVertex) -> bool {
    source_of(vertex).is_some_and(|source| source.starts_with("local://"))
}

fn changed_parts(earlier: &RecordedVertex, vertex: &RecordedVertex) -> Vec<Cause> {
    let (before, after) = (by_name(earlier), by_name(vertex));
    let names: Vec<&str> = order(&earlier.evidence.parts, &vertex.evidence.parts);
    let mut causes = Vec::new();
    let (was, is) = (instruction(&earlier.name), instruction(&vertex.name));
    // The same words with other values are told by their values.
    let reworded = was != is && !is_source(vertex);
    for name in names {
        let (was, is) = (before.get(name).copied(), after.get(name).copied());
        if was != is {
            causes.push(part_cause(name, was, is));
        }
    }
    if reworded && !causes.is_empty() {
        let of_words =
            |cause: &Cause| matches!(cause, Cause::PartChanged { part, .. } if is_worded(part));
        causes.retain(|cause| !of_words(cause));
        causes.insert(
            0,
            Cause::InstructionChanged {
                before: was.to_owned(),
                after: is.to_owned(),
            },
        );
    }
    causes
}

/// Parts that an instruction spells out.
fn is_worded(part: &str) -> bool {
    let name = part.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    part == COMMAND
        || part.starts_with("mount on ")
        || matches!(
            name,
            "copied path"
                | "destination"
                | "owner"
                | "mode"
                | "file"
                | "content"
                | "folder"
                | "included paths"
                | "excluded paths"
                | "network"
                | "security"
        )
}

fn part_cause(name: &str, was: Option<&str>, is: Option<&str>) -> Cause {
    let (before, after) = (was.map(str::to_owned), is.map(str::to_owned));
    if let Some(variable) = name.strip_prefix(VARIABLE) {
        return Cause::VariableChanged {
            name: variable.to_owned(),
            before,
            after,
        };
    }
    match (name, was, is) {
        (SOURCE, Some(was), Some(is)) => Cause::BaseMoved {
            before: was.to_owned(),
            after: is.to_owned(),
        },
        (IGNORED, ..) => {
            let list = |text: Option<&str>| -> BTreeSet<String> {
                text.and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_default()
            };
            let (was, is) = (list(was), list(is));
            Cause::IgnoreFileChanged {
                added: is.difference(&was).cloned().collect(),
                removed: was.difference(&is).cloned().collect(),
            }
        }
        _ => Cause::PartChanged {
            part: name.to_owned(),
            before,
            after,
        },
    }
}

fn by_name(vertex: &RecordedVertex) -> BTreeMap<&str, &str> {
    let parts = vertex.evidence.parts.iter();
    parts
        .map(|part| (part.name.as_str(), part.value.as_str()))
        .collect()
}

fn order<'a>(before: &'a [Part], after: &'a [Part]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let names = after.iter().chain(before).map(|part| part.name.as_str());
    names.filter(|name| seen.insert(*name)).collect()
}

fn changed_files(earlier: &RecordedVertex, vertex: &RecordedVertex) -> Files {
    let mut files = Files::default();
    for (input, now) in &vertex.evidence.contents {
        if let Some(then) = earlier.evidence.contents.get(input) {
            compare_contents(then, now, &mut files);
        }
    }
    files
}

fn compare_contents(then: &Contents, now: &Contents, files: &mut Files) {
    let mut name = |list: fn(&mut Files) -> &mut Vec<String>, path: &str| {
        if list(files).len() < NAMED {
            list(files).push(path.to_owned());
        } else {
            files.more += 1;
        }
    };
    for (path, digest) in now {
        match then.get(path) {
            None => name(|files| &mut files.added, path),
            Some(before) if before != digest => name(|files| &mut files.changed, path),
            Some(_) => {}
        }
    }
    for path in then.keys().filter(|path| !now.contains_key(*path)) {
        name(|files| &mut files.removed, path);
    }
}
