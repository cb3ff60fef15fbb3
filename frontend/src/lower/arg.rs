//! ARG within a stage.

use std::rc::Rc;

use super::words::HIDDEN;
use crate::diagnostic::Fault;
use crate::expand::Variables;
use crate::instruction::{Argument, Instruction, description};
use crate::stage::{Conversion, Declared};
use crate::subrequest::Listed;

impl Conversion<'_> {
    /// Declares names: the value is the build-arg's, else the default, else the global one.
    pub(super) fn arg(
        &mut self,
        at: usize,
        instruction: &Instruction,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        let (lines, comments) = (instruction.lines, &instruction.comments);
        let mut told = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let key = &argument.key;
            self.lint_secret("ARG", key, lines);
            let value = match (self.build_args.get(key), &argument.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(at, lines, default)?),
                (None, None) => self.globals.get(key).map(str::to_owned),
            };
            if self.noted.is_some() {
                let own = argument.value.is_some()
                    || self.build_args.contains_key(key)
                    || value.is_none();
                let listed = own.then(|| Listed {
                    name: key.clone(),
                    description: description(comments, key).to_owned(),
                    value: value.clone().unwrap_or_default(),
                    lines,
                });
                self.nodes[at].noted.declare(key, listed);
            }
            told.push(match &value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            });
            let node = &mut self.nodes[at];
            if let Some(value) = &value
                && !HIDDEN.contains(&key.as_str())
            {
                node.state.set(key.as_str(), value.as_str());
            }
            Rc::make_mut(&mut node.arguments).push(Declared {
                key: key.as_str().into(),
                value: value.map(Into::into),
            });
        }
        self.record(at, format!("ARG {}", told.join(" ")), false)
    }
}
