//! Platforms, read with the errors that Docker's users know.

use cooper_proto::platform::{self, ParsePlatformError};

pub use cooper_proto::pb::Platform;
pub use cooper_proto::platform::{format as short, format_all as full, normalize};

use crate::golang::quote::quote;

/// Reads `os[(version+feature)]`, `arch`, `os/arch` or `os/arch/variant`. What a single word leaves out comes from `host`.
///
/// # Errors
/// A message that quotes the text, in the words of containerd's `platforms` package.
pub fn parse(text: &str, host: &Platform) -> Result<Platform, String> {
    platform::parse(text, host).map_err(|error| {
        let why = match error {
            ParsePlatformError::UnknownWord(_) => "unknown operating system or architecture",
            ParsePlatformError::Part { .. } | ParsePlatformError::TooMany(_) => {
                "cannot parse platform specifier"
            }
        };
        format!("{}: {why}: invalid argument", quote(text))
    })
}

/// A platform without variant.
#[must_use]
pub fn named(os: &str, architecture: &str) -> Platform {
    Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        ..Platform::default()
    }
}
