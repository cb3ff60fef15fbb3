//! A stage under conversion.

use std::collections::BTreeMap;
use std::rc::Rc;

use indexmap::IndexMap;

use super::outline::Noted;
use crate::diagnostic::Lines;
use crate::image::{History, Image};
use crate::instruction::{Instruction, Stage};
use crate::llb::State;
use crate::named::{Folder, NamedContext};
use crate::platform::Platform;

/// A stage, or an image that something is copied from.
#[derive(Debug)]
pub(crate) struct Node {
    /// The stage as written; its instructions have moved to `commands`.
    pub(crate) stage: Stage,
    /// What it stands on, expanded; later the reference with its digest.
    pub(crate) base_name: String,
    /// The name that steps show.
    pub(crate) label: String,
    /// Whether it is no stage of the file but an image that something is copied from.
    pub(crate) external: bool,
    /// The stage it stands on.
    pub(crate) base: Option<usize>,
    /// The named context that takes the stage's place.
    pub(crate) named: Option<NamedContext>,
    /// A folder of the client's that it stands on.
    pub(crate) folder: Option<Folder>,
    /// The instructions.
    pub(crate) commands: Vec<Command>,
    /// What it reads from, and where that is written.
    pub(crate) deps: BTreeMap<usize, Lines>,
    /// How far it is.
    pub(crate) progress: Progress,
    /// The platform, if one is known.
    pub(crate) platform: Option<Platform>,
    /// The file system.
    pub(crate) state: State,
    /// The configuration, but for `env` and the own part of `history`.
    pub(crate) image: Image,
    /// The configuration's environment by name.
    pub(crate) env: Rc<IndexMap<Rc<str>, Rc<str>>>,
    /// The own part of the history.
    pub(crate) history: Vec<History>,
    /// The base image as it was found.
    pub(crate) base_image: Option<Rc<Image>>,
    /// ARGs so far.
    pub(crate) arguments: Rc<Vec<Declared>>,
    /// The same as history tells them, and what that was made of: the number of ARGs, the version of the variables.
    pub(crate) told: Option<((usize, u64), Rc<str>)>,
    /// Paths of it that are used, by the number of the set: a stage shares its base's.
    pub(crate) paths: usize,
    /// Whether results in a cache are not to be used.
    pub(crate) ignore_cache: bool,
    /// What steps are counted by.
    pub(crate) count: Count,
    /// What was seen so far.
    pub(crate) seen: Seen,
    /// What can be passed to it, if somebody asked.
    pub(crate) noted: Noted,
}

/// An ARG of a stage with its value, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The name.
    pub(crate) key: Rc<str>,
    /// The value.
    pub(crate) value: Option<Rc<str>>,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Whether its base was looked up.
    pub(crate) resolved: bool,
    /// Whether triggers of its base were added.
    pub(crate) triggered: bool,
    /// Whether others can read from it.
    pub(crate) done: bool,
}

/// Steps of a stage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// How many there are.
    pub(crate) total: usize,
    /// The one at hand.
    pub(crate) at: usize,
    /// Whether that comes from the base's ONBUILD.
    pub(crate) on_build: bool,
}

/// Instructions of which one is enough.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The last CMD.
    pub(crate) cmd: Option<Lines>,
    /// The last ENTRYPOINT.
    pub(crate) entrypoint: Option<Lines>,
    /// The last HEALTHCHECK.
    pub(crate) healthcheck: Option<Lines>,
    /// Whether a WORKDIR was there.
    pub(crate) workdir: bool,
}

/// An instruction of a node.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The instruction.
    pub(crate) instruction: Rc<Instruction>,
    /// The nodes it reads from: COPY's one, or one for each mount of RUN.
    pub(crate) sources: Vec<usize>,
    /// Whether it comes from the base's ONBUILD.
    pub(crate) on_build: bool,
}

impl Node {
    /// A node of which nothing is known but its stage.
    pub(crate) fn new(stage: Stage, paths: usize) -> Self {
        Self {
            base_name: stage.base.clone(),
            label: stage.name.clone(),
            stage,
            external: false,
            base: None,
            named: None,
            folder: None,
            commands: Vec::new(),
            deps: BTreeMap::new(),
            progress: Progress::default(),
            platform: None,
            state: State::of(None),
            image: Image::default(),
            env: Rc::default(),
            history: Vec::new(),
            base_image: None,
            arguments: Rc::default(),
            told: None,
            paths,
            ignore_cache: false,
            count: Count::default(),
            seen: Seen::default(),
            noted: Noted::default(),
        }
    }

    /// An image that something is copied from.
    pub(crate) fn external(name: &str, lines: Lines, paths: usize) -> Self {
        let stage = Stage {
            name: String::new(),
            base: name.to_owned(),
            platform: String::new(),
            instructions: Vec::new(),
            keyword: String::new(),
            text: String::new(),
            lines,
            comments: Vec::new(),
        };
        Self {
            external: true,
            ..Self::new(stage, paths)
        }
    }

    /// Takes over a configuration; its environment moves to `env`.
    pub(crate) fn set_image(&mut self, mut image: Image) {
        let env = std::mem::take(&mut image.config.env);
        let named = env.into_iter().map(|entry| {
            let name = entry.split('=').next().unwrap_or_default();
            (name.into(), entry.into())
        });
        self.env = Rc::new(named.collect());
        self.image = image;
    }

    /// Sets a variable of the configuration, where it stands or at the end.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        Rc::make_mut(&mut self.env).insert(name.into(), format!("{name}={value}").into());
    }
}
