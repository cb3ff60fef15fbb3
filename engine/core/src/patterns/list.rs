use super::expression::Expression;
use super::{Wildcard, clean_path};

/// Patterns of which the last that matches decides; `!` takes back what earlier ones matched.
///
/// A pattern also covers everything below what it matches.
#[derive(Debug, Clone, Default)]
pub struct PatternList {
    patterns: Vec<Pattern>,
    has_exceptions: bool,
}

/// One pattern of a [`PatternList`].
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    exception: bool,
    expression: Expression,
}

/// What each pattern of a list made of a directory, so that its children need not look at it again.
///
/// The default knows nothing of a parent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParentMatches(Vec<bool>);

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// Not well formed.
    #[error("syntax error in pattern: {0:?}")]
    Syntax(String),
}

impl PatternList {
    /// Reads patterns; blank ones are dropped.
    ///
    /// # Errors
    /// When one is a lone `!` or not well formed.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for text in patterns {
            let text = text.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            let pattern = Pattern::new(&clean_path(text))?;
            list.has_exceptions |= pattern.exception;
            list.patterns.push(pattern);
        }
        Ok(list)
    }

    /// The patterns in order.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether one of the patterns takes back what others matched.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.has_exceptions
    }

    /// Whether the list matches a path or a directory above it.
    ///
    /// # Errors
    /// When a pattern that has to be asked turns out not to be well formed.
    pub fn matches(&self, path: &str) -> Result<bool, PatternError> {
        Ok(self.matches_below(path, &ParentMatches::default())?.0)
    }

    /// As [`Self::matches`], given what the list made of the parent directory; returns what it makes of this path, for
    /// its own children.
    ///
    /// # Errors
    /// When a pattern that has to be asked turns out not to be well formed.
    pub fn matches_below(
        &self,
        path: &str,
        parent: &ParentMatches,
    ) -> Result<(bool, ParentMatches), PatternError> {
        let mut matched = false;
        let mut here = ParentMatches(vec![false; self.patterns.len()]);
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = parent.0.get(index).copied().unwrap_or(false);
            if !hit {
                // A pattern that could not change the outcome is not asked.
                if pattern.exception != matched {
                    continue;
                }
                hit = pattern.matches(path)?
                    || (parent.0.is_empty() && pattern.matches_a_parent_of(path));
            }
            here.0[index] = hit;
            if hit {
                matched = !pattern.exception;
            }
        }
        Ok((matched, here))
    }

    /// Whether, used as include patterns, the list may match something below a directory that it does not match.
    ///
    /// Errs on the side of yes.
    #[must_use]
    pub fn may_include_below(&self, directory: &str) -> bool {
        let wanted = || self.patterns.iter().filter(|p| !p.exception);
        wanted().any(|pattern| pattern.stem_has_wildcards())
            || wanted().any(|pattern| pattern.leads_below(directory))
    }

    /// Whether, used as exclude patterns, the list may spare something below a directory that it matches.
    ///
    /// Errs on the side of yes.
    #[must_use]
    pub fn may_spare_below(&self, directory: &str) -> bool {
        let exceptions = || self.patterns.iter().filter(|p| p.exception);
        exceptions().any(|pattern| pattern.stem_has_wildcards())
            || exceptions().any(|pattern| pattern.leads_below(directory))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PatternError> {
        let (exception, text) = match text.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclamation),
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Wildcard::new(text)?;
        Ok(Self {
            text: text.to_owned(),
            exception,
            expression: Expression::new(text),
        })
    }

    /// The pattern, cleaned and without its `!`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes back what earlier patterns matched.
    #[must_use]
    pub fn is_exception(&self) -> bool {
        self.exception
    }

    fn matches(&self, path: &str) -> Result<bool, PatternError> {
        self.expression
            .matches(path)
            .ok_or_else(|| PatternError::Syntax(self.text.clone()))
    }

    fn matches_a_parent_of(&self, path: &str) -> bool {
        path.match_indices('/')
            .any(|(end, _)| self.expression.matches(&path[..end]).unwrap_or(false))
    }

    /// The pattern without a last `/**` or `/*`.
    fn stem(&self) -> &str {
        let text = self.text.strip_suffix("/**").unwrap_or(&self.text);
        text.strip_suffix("/*").unwrap_or(text)
    }

    fn stem_has_wildcards(&self) -> bool {
        self.stem().contains(['*', '[', ']', '?', '^', '\\'])
    }

    fn leads_below(&self, directory: &str) -> bool {
        format!("{}/", self.stem()).starts_with(&format!("{directory}/"))
    }
}
