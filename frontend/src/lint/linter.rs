//! Collects findings.

use std::collections::BTreeSet;

use super::{Options, Rule};
use crate::diagnostic::{Fault, Lines, Warning};
use crate::dockerfile::directive::key_and_value;

/// Collects what rules find in one conversion.
#[derive(Clone, Debug, Default)]
pub struct Linter {
    options: Options,
    /// The options of the instruction at hand, if a comment above it changes them.
    scoped: Option<Options>,
    warnings: Vec<Warning>,
}

impl Linter {
    /// A linter for a file with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            scoped: None,
            warnings: Vec::new(),
        }
    }

    /// Applies the first `check=` among the comments above an instruction, and forgets that of the one before.
    pub fn enter(&mut self, comments: &[String]) {
        self.scoped = comments
            .iter()
            .find_map(|comment| {
                key_and_value(comment).filter(|(key, _)| key.eq_ignore_ascii_case("check"))
            })
            .and_then(|(_, value)| Options::parse(value.split(' ').next().unwrap_or_default()).ok())
            .map(|more| {
                let mut options = self.options.clone();
                options.add(&more);
                options
            });
    }

    /// Forgets the comments of the last instruction.
    pub fn leave(&mut self) {
        self.scoped = None;
    }

    /// Records a finding, if its rule is on.
    pub fn warn(&mut self, rule: Rule, lines: Lines, message: impl Into<String>) {
        let options = self.scoped.as_ref().unwrap_or(&self.options);
        let on = if rule.is_experimental() {
            options.experimental.has(rule.name())
        } else {
            !options.skip.has(rule.name())
        };
        if on {
            self.warnings.push(Warning {
                rule,
                message: message.into(),
                lines,
            });
        }
    }

    /// Takes in what was found elsewhere, as far as its rules are on.
    pub fn adopt(&mut self, warnings: &[Warning]) {
        for warning in warnings {
            self.warn(warning.rule, warning.lines, warning.message.clone());
        }
    }

    /// What was found, in order.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The failure that findings are where the file asks for `error=true`.
    #[must_use]
    pub fn failure(&self) -> Option<Fault> {
        if !self.options.error || self.warnings.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = self
            .warnings
            .iter()
            .map(|warning| warning.rule.name())
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!("lint violation found for rules: {}", names.join(", "));
        Some(Fault::new(message))
    }
}
