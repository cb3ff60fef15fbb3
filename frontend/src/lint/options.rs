//! `skip=…;error=…;experimental=…`, from a `check=` directive, a comment or the build-arg `BUILDKIT_DOCKERFILE_CHECK`.

use std::collections::BTreeSet;

use crate::golang::number::parse_bool;
use crate::golang::quote::quote;

/// A choice of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    all: bool,
    names: BTreeSet<String>,
}

/// Which rules run and what a finding means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Rules that are off.
    pub skip: Choice,
    /// Experimental rules that are on.
    pub experimental: Choice,
    /// Whether a finding fails the build.
    pub error: bool,
}

impl Choice {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self {
                all: true,
                names: BTreeSet::new(),
            },
            names => Self {
                all: false,
                names: names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            },
        }
    }

    /// Whether a rule is chosen.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    fn add(&mut self, other: &Self) {
        self.all |= other.all;
        self.names.extend(other.names.iter().cloned());
    }
}

impl Options {
    /// Reads options; at most three parts.
    ///
    /// # Errors
    /// A message that quotes the part that is no option.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.trim().splitn(3, ';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("invalid check option {}", quote(part)));
            };
            match key.trim() {
                "skip" => options.skip = Choice::parse(value),
                "experimental" => options.experimental = Choice::parse(value),
                "error" => {
                    options.error = parse_bool(value.trim())
                        .ok_or_else(|| format!("failed to parse check option {}", quote(part)))?;
                }
                other => return Err(format!("invalid check option {}", quote(other))),
            }
        }
        Ok(options)
    }

    /// Adds what a comment above an instruction says; whether findings are errors is the file's to say.
    pub fn add(&mut self, other: &Self) {
        self.skip.add(&other.skip);
        self.experimental.add(&other.experimental);
    }
}
