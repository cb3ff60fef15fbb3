/// Why a mount could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {what}: {step}: {source}")]
pub struct MountError {
    /// What was to be mounted, in words.
    pub what: String,
    /// The call that failed.
    pub step: &'static str,
    /// The kernel's answer.
    #[source]
    pub source: std::io::Error,
}

impl MountError {
    pub(crate) fn new(
        what: impl Into<String>,
        step: &'static str,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self {
            what: what.into(),
            step,
            source: source.into(),
        }
    }
}
