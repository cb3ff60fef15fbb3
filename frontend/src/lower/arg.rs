//! ARG within a stage.

use std::rc::Rc;

use super::words::HIDDEN;
use crate::diagnostic::{Fault, Lines};
use crate::expand::Variables;
use crate::instruction::Argument;
use crate::stage::{Conversion, Declared};

impl Conversion<'_> {
    /// Declares names: the value is the build-arg's, else the default, else the global one.
    pub(super) fn arg(
        &mut self,
        at: usize,
        lines: Lines,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        let mut told = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let key = &argument.key;
            self.lint_secret("ARG", key, lines);
            let value = match (self.build_args.get(key), &argument.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.word(at, lines, default)?),
                (None, None) => self.globals.get(key).map(str::to_owned),
            };
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
