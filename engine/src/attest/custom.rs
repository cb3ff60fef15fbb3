use cooper_core::model::{Failure, FailureKind};
use serde_json::{Map, Value};

/// What a machine's owner wants provenance to tell of the machine (`provenanceEnvDir`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProvenanceEnvironment(Map<String, Value>);

impl ProvenanceEnvironment {
    /// Checks that nothing takes the place of what the engine says.
    ///
    /// # Errors
    /// `InvalidInput` for a key of the engine's own.
    pub fn new(values: Map<String, Value>) -> Result<Self, Failure> {
        let own = ["buildConfig", "builderPlatform", "platform"];
        match own.into_iter().find(|key| values.contains_key(*key)) {
            None => Ok(Self(values)),
            Some(key) => Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "key {key:?} is builtin and not allowed to be modified in provenance config"
                ),
            )),
        }
    }

    pub(super) fn values(&self) -> Map<String, Value> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_engine_are_refused() {
        let with = |key: &str| {
            let values = [(key.to_owned(), Value::from("x"))];
            ProvenanceEnvironment::new(values.into_iter().collect())
        };
        assert!(with("site").is_ok());
        for key in ["buildConfig", "builderPlatform", "platform"] {
            assert!(with(key).is_err(), "{key}");
        }
    }
}
