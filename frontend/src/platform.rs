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
        let whole = quote(text);
        let why = match error {
            _ if text.contains('*') => format!("{whole}: wildcards not yet supported"),
            ParsePlatformError::UnknownWord(_) => {
                format!("{whole}: unknown operating system or architecture")
            }
            ParsePlatformError::TooMany(_) => format!("{whole}: cannot parse platform specifier"),
            ParsePlatformError::System { part, .. } => format!(
                "{} is an invalid OS component of {whole}: OSAndVersion specifier component must match {}",
                quote(&part),
                quote(SYSTEM)
            ),
            ParsePlatformError::Part { part, .. } => format!(
                "{} is an invalid component of {whole}: platform specifier component must match {}",
                quote(&part),
                quote(PART)
            ),
        };
        format!("{why}: invalid argument")
    })
}

// As containerd's messages quote them.
const PART: &str = "^[A-Za-z0-9_.-]+$";
const SYSTEM: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$";

/// A platform without variant.
#[must_use]
pub fn named(os: &str, architecture: &str) -> Platform {
    Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        ..Platform::default()
    }
}
