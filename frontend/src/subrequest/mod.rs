//! What else can be asked of a Dockerfile but to be built (features.md A9): the option `requestid`.
//!
//! Answers are metadata of a result: `result.json`, `result.txt`, `version`, and for lint `result.statuscode`. Their bytes
//! are BuildKit's, because editors and `docker buildx` read them.

mod answer;
mod describe;
mod excerpt;
mod lint;
mod llb;
mod op;
mod outline;
mod request;
mod targets;
mod wire;

pub use answer::Answer;
pub(crate) use describe::describe;
pub use excerpt::excerpt;
pub(crate) use lint::{LintResult, lint};
pub(crate) use llb::convert_llb;
pub use llb::op_json;
pub(crate) use outline::{Listed, Mentioned, Outline, outline};
pub use request::Request;
pub(crate) use targets::targets;
