//! One vertex and what is noted about it.

use std::collections::{BTreeMap, BTreeSet};

use cooper_proto::pb;

use super::exec::Exec;
use super::file::FileActions;
use super::graph::Output;
use crate::diagnostic::Lines;
use crate::platform::Platform;

/// What a vertex does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Brings something in from outside.
    Source(pb::SourceOp),
    /// Runs a process.
    Exec(Box<Exec>),
    /// Changes files.
    File(FileActions),
    /// Stacks its inputs.
    Merge(Vec<Output>),
    /// A placeholder; `None` until it is known what it stands for.
    Alias(Option<Output>),
    /// An op that came in as bytes and goes out as the same bytes.
    Given {
        bytes: Vec<u8>,
        inputs: Vec<Output>,
        metadata: Option<Box<pb::OpMetadata>>,
    },
}

/// What is said about a vertex besides its work. Only the platform may enter its digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The platform it is for, if it was said.
    pub(crate) platform: Option<Platform>,
    /// Whether results in a cache are not to be used.
    pub(crate) ignore_cache: bool,
    /// Names and texts for people.
    pub(crate) description: BTreeMap<String, String>,
    /// Capabilities it needs.
    pub(crate) caps: BTreeSet<&'static str>,
    /// The group it is shown in.
    pub(crate) group: Option<pb::ProgressGroup>,
    /// Limits on resources.
    pub(crate) resources: Option<pb::LinuxResources>,
    /// Where it was written.
    pub(crate) lines: Vec<Lines>,
}

impl Notes {
    /// Notes with a name that is shown.
    pub(crate) fn named(name: impl Into<String>) -> Self {
        let mut notes = Self::default();
        notes.rename(name);
        notes
    }

    /// Notes of a step that Cooper adds itself.
    pub(crate) fn internal(name: &str) -> Self {
        Self::named(format!("[internal] {name}"))
    }

    /// Replaces the name.
    pub(crate) fn rename(&mut self, name: impl Into<String>) {
        self.describe("llb.customname", name);
    }

    /// Adds a description.
    pub(crate) fn describe(&mut self, key: &str, value: impl Into<String>) {
        self.description.insert(key.to_owned(), value.into());
    }

    /// The same, for a platform.
    #[must_use]
    pub(crate) fn on(mut self, platform: &Platform) -> Self {
        self.platform = Some(platform.clone());
        self
    }

    /// The same, written at some lines.
    #[must_use]
    pub(crate) fn at(mut self, lines: Lines) -> Self {
        self.lines.push(lines);
        self
    }

    pub(super) fn metadata(&self) -> pb::OpMetadata {
        pb::OpMetadata {
            ignore_cache: self.ignore_cache,
            description: self.description.clone(),
            export_cache: None,
            caps: self
                .caps
                .iter()
                .map(|cap| ((*cap).to_owned(), true))
                .collect(),
            progress_group: self.group.clone(),
            linux_resources: self.resources.clone(),
        }
    }
}

/// The file that lines belong to.
#[derive(Clone, Debug)]
pub(crate) struct SourceMap {
    /// Name of the file.
    pub(crate) filename: String,
    /// Its bytes.
    pub(crate) data: Vec<u8>,
    /// The definition that brought it in.
    pub(crate) definition: Option<pb::Definition>,
}

impl SourceMap {
    /// As definitions carry it.
    pub(crate) fn info(&self) -> pb::SourceInfo {
        pb::SourceInfo {
            filename: self.filename.clone(),
            data: self.data.clone(),
            definition: self.definition.clone(),
            language: "Dockerfile".to_owned(),
        }
    }
}

/// One range per line, as BuildKit writes them.
pub(super) fn ranges(lines: Lines) -> Vec<pb::Range> {
    (lines.start..=lines.end)
        .map(|line| {
            let position = pb::Position {
                line: i32::try_from(line).unwrap_or(i32::MAX),
                character: 0,
            };
            pb::Range {
                start: Some(position),
                end: Some(position),
            }
        })
        .collect()
}
