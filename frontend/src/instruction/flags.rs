//! `--flag` words of an instruction.

use std::collections::BTreeMap;

use crate::diagnostic::Fault;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `--flag`, `--flag=true` or `--flag=false`.
    Truth,
    /// `--flag=value`, once.
    Text,
    /// `--flag=value`, any number of times.
    Texts,
}

/// The flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<&'static str, Vec<String>>);

impl Flags {
    /// Reads flags by the list of those that an instruction has.
    ///
    /// # Errors
    /// An unknown flag, with the nearest name; one given twice; a value where none belongs or none where one does.
    pub fn read(given: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Fault> {
        let mut flags = Self::default();
        for word in given {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(Fault::new(format!("arg should start with -- : {word}")));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let Some(&(name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                return Err(Fault::new(format!("unknown flag: --{name}"))
                    .suggest(name, known.iter().map(|(known, _)| *known)));
            };
            let value = checked(name, value, takes)?;
            let values = flags.0.entry(name).or_default();
            if !values.is_empty() && takes != Takes::Texts {
                return Err(Fault::new(format!("duplicate flag specified: --{name}")));
            }
            values.push(value);
        }
        Ok(flags)
    }

    /// The value of a flag, or the empty text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.all(name).first().cloned().unwrap_or_default()
    }

    /// The truth of a flag, if it was given.
    #[must_use]
    pub fn truth(&self, name: &str) -> Option<bool> {
        self.all(name).first().map(|value| value == "true")
    }

    /// All values of a flag, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

fn checked(name: &str, value: Option<&str>, takes: Takes) -> Result<String, Fault> {
    match (takes, value) {
        (Takes::Truth, None) => Ok("true".to_owned()),
        (Takes::Truth, Some("")) | (Takes::Text | Takes::Texts, None) => {
            Err(Fault::new(format!("missing a value on flag: --{name}")))
        }
        (Takes::Truth, Some(value)) => match value.to_lowercase().as_str() {
            truth @ ("true" | "false") => Ok(truth.to_owned()),
            _ => Err(Fault::new(format!(
                "expecting boolean value for flag --{name}, not: {value}"
            ))),
        },
        (Takes::Text | Takes::Texts, Some(value)) => Ok(value.to_owned()),
    }
}
