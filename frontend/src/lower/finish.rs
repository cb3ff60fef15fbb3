//! The result: what the target became.

use std::collections::BTreeSet;

use crate::convert::Part;
use crate::diagnostic::Fault;
use crate::golang::path::join;
use crate::image::{History, Image};
use crate::llb::marshal;
use crate::stage::Conversion;

impl Conversion<'_> {
    /// Fills in what had to wait for all steps, and writes everything down.
    pub(crate) fn finish(&mut self, target: usize) -> Result<Part, Fault> {
        let set = self.nodes[target].paths;
        self.paths[set].insert("/".to_owned());
        let follow = followed(&self.context_paths);
        let context = self.add_build_context(&follow)?;
        self.graph.resolve(self.build_context, context);
        for at in 0..self.nodes.len() {
            if let Some(folder) = self.nodes[at].folder.clone() {
                let follow = followed(&self.paths[self.nodes[at].paths]);
                folder.add(&mut self.graph, self.input, self.options, &follow);
            }
        }
        let image = self.final_image(target);
        let node = &self.nodes[target];
        Ok(Part {
            platform: if self.has_explicit_target() {
                &self.target_platform
            } else {
                &self.input.host
            }
            .clone(),
            definition: marshal(
                &self.graph,
                node.state.output,
                &self.target_platform,
                Some(self.source_map()),
            ),
            image,
            base_image: node.base_image.as_deref().cloned(),
            epoch: self.epoch,
            shown: self
                .options
                .sbom
                .as_ref()
                .map(|_| self.shown_to_scanner(target)),
            scan: None,
        })
    }

    fn final_image(&self, target: usize) -> Image {
        let node = &self.nodes[target];
        let mut image = node.image.clone();
        image.history = self.history(target);
        image.config.env = node.env.values().map(|entry| entry.to_string()).collect();
        image.config.labels.extend(self.options.labels.clone());
        if self.has_explicit_target() {
            let wanted = &self.target_platform;
            let platform = &mut image.platform;
            let same = wanted.os == platform.os && wanted.architecture == platform.architecture;
            platform.os.clone_from(&wanted.os);
            platform.architecture.clone_from(&wanted.architecture);
            if !wanted.variant.is_empty() || !same {
                platform.variant.clone_from(&wanted.variant);
            }
            if !wanted.os_version.is_empty() || !same {
                platform.os_version.clone_from(&wanted.os_version);
            }
            if !wanted.os_features.is_empty() {
                platform.os_features.clone_from(&wanted.os_features);
            }
        }
        image.platform = crate::platform::normalize(&image.platform);
        image
    }

    /// The base image's history and that of each stage on the way.
    fn history(&self, target: usize) -> Vec<History> {
        let mut chain = vec![target];
        while let Some(base) = chain.last().and_then(|at| self.nodes[*at].base) {
            chain.push(base);
        }
        let steps = chain.iter().rev().flat_map(|at| {
            let node = &self.nodes[*at];
            node.image.history.iter().chain(&node.history)
        });
        steps.cloned().collect()
    }
}

/// The paths that a client has to send; none if it has to send all.
fn followed(paths: &BTreeSet<String>) -> Vec<String> {
    if paths.contains("/") {
        return Vec::new();
    }
    let mut follow: Vec<String> = paths.iter().map(|path| join(&[".", path])).collect();
    follow.sort();
    follow
}
