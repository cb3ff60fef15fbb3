//! What a scanner is shown beside the result.

use std::collections::{BTreeMap, BTreeSet};

use cooper_proto::pb;

use super::words::HIDDEN;
use crate::expand::Variables;
use crate::golang::number::parse_bool;
use crate::llb::{Output, marshal};
use crate::stage::Conversion;

/// What a scanner is shown beside the result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// What makes each thing, by its name.
    pub(crate) extras: BTreeMap<String, pb::Definition>,
    /// Whether the scan takes nothing from the cache, as something that it looks at.
    pub(crate) ignore_cache: bool,
}

impl Conversion<'_> {
    /// The build context and the stages that the Dockerfile wants to be scanned, of those that the target stands on.
    pub(super) fn shown_to_scanner(&self, target: usize) -> Shown {
        let [context, stage] = HIDDEN;
        let mut shown = Shown {
            ignore_cache: self.nodes[target].ignore_cache,
            ..Shown::default()
        };
        if self.is_scanned(target, context) {
            let definition = self.definition_of(Some(self.build_context));
            shown.extras.insert("context".to_owned(), definition);
        }
        for at in self.reached_from(target) {
            let node = &self.nodes[at];
            if at == target || node.external || !self.is_scanned(at, stage) {
                continue;
            }
            let name = match node.stage.name.as_str() {
                "" => format!("stage-{at}"),
                name => name.to_owned(),
            };
            let definition = self.definition_of(node.state.output);
            shown.extras.insert(name, definition);
            shown.ignore_cache |= node.ignore_cache;
        }
        shown
    }

    fn definition_of(&self, output: Option<Output>) -> pb::Definition {
        marshal(&self.graph, output, &self.target_platform, None)
    }

    /// Whether an ARG asks for it: by a yes, or by the stage's name in a list. That of the stage counts more.
    fn is_scanned(&self, at: usize, argument: &str) -> bool {
        let node = &self.nodes[at];
        let own = node.arguments.iter().rev();
        let mut own = own.filter(|it| &*it.key == argument);
        let own = own.find_map(|it| it.value.as_deref());
        let Some(value) = own.or_else(|| self.globals.get(argument)) else {
            return false;
        };
        parse_bool(value).unwrap_or_else(|| value.split(',').any(|it| it == node.stage.name))
    }

    fn reached_from(&self, target: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if reached.insert(at) {
                open.extend(self.nodes[at].base);
                open.extend(self.nodes[at].deps.keys());
            }
        }
        reached
    }
}
