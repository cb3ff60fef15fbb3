//! What a stage stands on: nothing, a stage, a named context or an image.

use std::collections::BTreeSet;
use std::rc::Rc;

use cooper_core::ports::{ImageAnswer, ImageQuery, ResolvedImage};
use cooper_proto::reference::Reference;

use super::{Conversion, Node};
use crate::convert::{Questions, Stop};
use crate::diagnostic::Fault;
use crate::facts::{Fact, Need};
use crate::image::Image;
use crate::lint::Rule;
use crate::llb::{Notes, State, image};
use crate::named::{self, Loaded};
use crate::platform::{self, Platform};

/// Images that many want; a misspelt one is probably one of these.
const COMMON: [&str; 7] = [
    "alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora",
];

impl Conversion<'_> {
    /// Resolves bases, and again as long as their ONBUILD triggers need more; of what `target` needs, or of `everything`.
    pub(super) fn settle(
        &mut self,
        target: usize,
        everything: bool,
        questions: &mut Questions<'_>,
    ) -> Result<BTreeSet<usize>, Stop> {
        loop {
            let reachable = if everything {
                (0..self.nodes.len()).collect()
            } else {
                self.reachable(target)
            };
            self.resolve_bases(&reachable, questions)?;
            let mut more = false;
            for &at in &reachable {
                more |= self.trigger(at)?;
            }
            if !more {
                return Ok(reachable);
            }
        }
    }

    fn resolve_bases(
        &mut self,
        reachable: &BTreeSet<usize>,
        questions: &mut Questions<'_>,
    ) -> Result<(), Stop> {
        let mut waiting = false;
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.base.is_some() || node.progress.done || node.progress.resolved {
                continue;
            }
            let needed = reachable.contains(&at);
            if node.base_name == "scratch" && node.named.is_none() {
                self.stand_on_nothing(at, needed);
                continue;
            }
            let lines = node.stage.lines;
            match self.resolve_base(at, needed, questions) {
                Ok(()) => {
                    let node = &mut self.nodes[at];
                    node.progress.resolved = needed;
                    node.progress.done |= node.external && needed;
                }
                Err(Stop::Wait) => waiting = true,
                Err(stop) => return Err(stop.at(lines)),
            }
        }
        if waiting { Err(Stop::Wait) } else { Ok(()) }
    }

    fn stand_on_nothing(&mut self, at: usize, needed: bool) {
        let image = Image::scratch(&self.target_platform);
        let node = &mut self.nodes[at];
        node.state = State::of(None);
        node.set_image(image);
        node.platform = Some(self.target_platform.clone());
        node.progress.resolved = needed;
        node.progress.done = node.external;
    }

    fn resolve_base(
        &mut self,
        at: usize,
        needed: bool,
        questions: &mut Questions<'_>,
    ) -> Result<(), Stop> {
        let written = self.nodes[at].base_name.clone();
        let reference: Reference = written.parse().map_err(|error| {
            Fault::new(format!(
                "failed to parse stage name {}: {error}",
                crate::golang::quote::quote(&written)
            ))
        })?;
        if !needed {
            return Ok(());
        }
        let name = reference.with_default_tag().to_string();
        let platform = self.nodes[at]
            .platform
            .clone()
            .unwrap_or_else(|| self.target_platform.clone());
        if let Some(context) = self.nodes[at].named.clone() {
            let loaded = context.load(&mut self.graph, self.input, self.options, questions)?;
            self.stand_in(at, loaded);
            return Ok(());
        }
        if let Some(context) = named::find(self.options, &name, Some(&platform), &self.input.host)?
        {
            let loaded = context.load(&mut self.graph, self.input, self.options, questions)?;
            self.stand_on_context(at, loaded, platform);
            return Ok(());
        }
        self.stand_on_image(at, &written, &name, platform, questions)
    }

    /// A named context takes the place of a whole stage.
    fn stand_in(&mut self, at: usize, loaded: Loaded) {
        let node = &mut self.nodes[at];
        node.progress.done = true;
        node.state = loaded.state;
        node.folder = loaded.folder;
        if let Some(mut image) = loaded.image {
            image.created = None;
            if !image.platform.architecture.is_empty() && !image.platform.os.is_empty() {
                node.platform = Some(image.platform.clone());
            }
            node.set_image(image);
        }
    }

    /// A named context takes the place of an image.
    fn stand_on_context(&mut self, at: usize, loaded: Loaded, platform: Platform) {
        let image = loaded.image.unwrap_or_else(|| Image::scratch(&platform));
        let node = &mut self.nodes[at];
        node.base_image = Some(Rc::new(image.clone()));
        node.state = loaded.state;
        node.state.set_platform(&platform);
        node.folder = loaded.folder;
        node.set_image(Image {
            created: None,
            ..image
        });
        node.platform = Some(platform);
    }

    fn stand_on_image(
        &mut self,
        at: usize,
        written: &str,
        name: &str,
        mut platform: Platform,
        questions: &mut Questions<'_>,
    ) -> Result<(), Stop> {
        let found = self.resolve_image(written, name, &platform, questions)?;
        let config = Image::parse(&found.config).map_err(Fault::new)?;
        if self.nodes[at].platform.is_none() && !self.explicit_target {
            platform = self.detected(&config, platform);
        }
        let reference: Reference = found.reference.parse().map_err(|error| {
            Fault::new(format!(
                "failed to parse ref {}: {error}",
                crate::golang::quote::quote(&found.reference)
            ))
        })?;
        let full = reference.with_digest(found.digest.clone()).to_string();
        let empty = config.diff_ids.as_ref().is_none_or(Vec::is_empty)
            && config.history.iter().all(|step| step.empty_layer);
        let node = &mut self.nodes[at];
        node.base_name.clone_from(&full);
        node.base_image = Some(Rc::new(config.clone()));
        node.set_image(Image {
            created: None,
            ..config
        });
        node.platform = Some(platform.clone());
        if empty {
            node.state = State::of(None);
            return Ok(());
        }
        let shown = self.step_name(at, &format!("FROM {full}"), Some(&platform), None);
        self.lint_base_platform(at, written, &platform);
        let node = &mut self.nodes[at];
        let mut notes = Notes::named(shown).on(&platform).at(node.stage.lines);
        notes.describe("com.docker.dockerfile.v1.command", node.stage.text.clone());
        let output = image(&mut self.graph, &full, self.options.resolve_mode, notes);
        node.state = State::of(Some(output));
        node.state.set_platform(&platform);
        Ok(())
    }

    fn resolve_image(
        &self,
        written: &str,
        name: &str,
        platform: &Platform,
        questions: &mut Questions<'_>,
    ) -> Result<ResolvedImage, Stop> {
        let prefix = if self.options.multi_platform {
            format!("[{} internal]", platform::full(platform))
        } else {
            "[internal]".to_owned()
        };
        let query = ImageQuery {
            reference: name.to_owned(),
            platform: Some(platform.clone()),
            mode: self.options.resolve_mode,
            log_name: format!("{prefix} load metadata for {name}"),
            oci_layout_store: None,
        };
        match questions.ask(Need::Image(query))? {
            Fact::Image(found) => found.and_then(ImageAnswer::into_image).map_err(|failure| {
                let labels = self
                    .nodes
                    .iter()
                    .map(|node| node.label.as_str())
                    .filter(|label| !label.is_empty());
                let fault = Fault {
                    kind: failure.kind,
                    ..Fault::new(format!("{written}: {}", failure.message))
                };
                fault.suggest(written, labels.chain(COMMON)).into()
            }),
            Fact::File(_) | Fact::Source(_) => {
                Err(Fault::new(format!("the answer about {name} is no image")).into())
            }
        }
    }

    /// Without a wanted platform an image decides, if it is for one that is built on.
    fn detected(&self, config: &Image, wanted: Platform) -> Platform {
        let same = |platform: &Platform| {
            platform.os == config.platform.os
                && platform.architecture == config.platform.architecture
        };
        if !same(&wanted) && same(&self.input.host) {
            return self.input.host.clone();
        }
        wanted
    }

    fn lint_base_platform(&mut self, at: usize, written: &str, expected: &Platform) {
        let node: &Node = &self.nodes[at];
        let actual = &node.image.platform;
        if expected.os != actual.os || expected.architecture != actual.architecture {
            let message = format!(
                "Base image {written} was pulled with platform \"{}\", expected \"{}\" for current build",
                platform::full(&platform::normalize(actual)),
                platform::full(&platform::normalize(expected))
            );
            self.linter
                .warn(Rule::InvalidBaseImagePlatform, node.stage.lines, message);
        }
    }
}
