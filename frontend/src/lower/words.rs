//! Expansion of an instruction's words in its stage.

use std::collections::BTreeSet;

use crate::diagnostic::{Fault, Lines};
use crate::expand::{Expander, Variables};
use crate::instruction::Paths;
use crate::lint::Rule;
use crate::stage::Conversion;
use crate::suggest::nearest;

/// ARGs that no process sees.
pub(super) const HIDDEN: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Conversion<'_> {
    /// Expands a word by the stage's environment.
    pub(super) fn word(&mut self, at: usize, lines: Lines, word: &str) -> Result<String, Fault> {
        self.word_by(self.expander, at, lines, word)
    }

    fn word_by(
        &mut self,
        expander: Expander,
        at: usize,
        lines: Lines,
        word: &str,
    ) -> Result<String, Fault> {
        let expanded = expander
            .expand(word, &*self.nodes[at].state.environment)
            .map_err(Fault::new)?;
        self.lint_undefined(at, lines, &expanded.unmatched);
        Ok(expanded.text)
    }

    /// Expands paths, owner and mode of a COPY or ADD, and the text of its heredocs.
    pub(super) fn paths(&mut self, at: usize, lines: Lines, paths: &Paths) -> Result<Paths, Fault> {
        let mut out = paths.clone();
        out.chown = self.word(at, lines, &paths.chown)?;
        out.chmod = self.word(at, lines, &paths.chmod)?;
        for source in &mut out.sources {
            *source = self.word(at, lines, source)?;
        }
        out.destination = self.word(at, lines, &paths.destination)?;
        // In heredocs the default escape counts, whatever the file says, and quotes are letters.
        let verbatim = Expander::new('\\').ignoring_quotes();
        for inline in out.inline.iter_mut().filter(|inline| inline.expands) {
            inline.content = self.word_by(verbatim, at, lines, &inline.content)?;
        }
        Ok(out)
    }

    pub(super) fn lint_undefined(&mut self, at: usize, lines: Lines, unmatched: &BTreeSet<String>) {
        if unmatched.is_empty() {
            return;
        }
        let node = &self.nodes[at];
        let unknown = unmatched.iter().filter(|name| {
            !HIDDEN.contains(&name.as_str())
                && node
                    .arguments
                    .iter()
                    .all(|argument| *argument.key != **name)
        });
        for name in unknown {
            let mut message = format!("Usage of undefined variable '${name}'");
            let near = self
                .suggestions
                .checked_sub(1)
                .map(|left| self.suggestions = left)
                .and_then(|()| nearest(name, node.state.environment.names()));
            if let Some(near) = near {
                message.push_str(&format!(" (did you mean ${near}?)"));
            }
            self.linter.warn(Rule::UndefinedVar, lines, message);
        }
    }
}
