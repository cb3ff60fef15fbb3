//! Files by URL: `http://`, `https://`, and `http://buildkit-session/` for what the client uploads.
//!
//! A file is fetched while its key is made, because the key is of its content; an `ETag` that the server still knows
//! saves that, and a checksum in the source puts it off until the file is needed. Passwords and tokens go to the
//! origin of the source's URL and nowhere else (security.md I9), and no further than the request.

mod disposition;
mod exchange;
mod file_name;
mod key;
mod seen;
mod source;
mod wanted;

#[cfg(test)]
mod tests;

pub(super) use file_name::{decoded, file_name, safe};
pub use source::HttpSource;
pub(crate) use source::http_material;
pub(super) use wanted::HttpWanted;
