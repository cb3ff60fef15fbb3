use cooper_proto::pb::op::Op as Kind;
use cooper_proto::{Digest, pb, platform};

use super::json::{Object, object};
use super::{KeyError, exec, file, wire};
use crate::graph::Vertex;
use crate::model::{CacheMap, InputKeyRule, Pin};

/// What identifies the work of an op that is not a source. `host` is the platform of ops that name none.
///
/// # Errors
/// When the op is a source, whose key only a worker can tell, or asks for a content key where none is safe.
pub fn cache_map(vertex: &Vertex, host: &pb::Platform) -> Result<CacheMap, KeyError> {
    let op = vertex.op.as_ref();
    let inputs = vertex.inputs.len();
    match op.op.as_ref().ok_or(KeyError::NoOp)? {
        Kind::Exec(exec) => exec::cache_map(exec, inputs, op.platform.as_ref().unwrap_or(host)),
        Kind::File(file) => Ok(file::cache_map(file, inputs)),
        Kind::Source(_) => Err(KeyError::Source),
        Kind::Build(build) => Ok(plain("buildkit.build.v0", "Exec", inputs, |o| {
            wire::build(build, o);
        })),
        Kind::Merge(merge) => Ok(plain("buildkit.merge.v0", "Merge", inputs, |o| {
            wire::merge(merge, o);
        })),
        Kind::Diff(diff) => Ok(plain("buildkit.diff.v0", "Diff", inputs, |o| {
            wire::diff(diff, o);
        })),
        Kind::Passthrough(passthrough) => Ok(plain(
            "buildkit.passthrough.v0",
            "Passthrough",
            inputs,
            |o| {
                wire::passthrough(passthrough, o);
            },
        )),
    }
}

/// What identifies a source whose key a worker told.
#[must_use]
pub fn source_cache_map(key: &str, pin: Pin, more: bool) -> CacheMap {
    CacheMap {
        digest: Digest::sha256_of(format!("buildkit.source.v0:{key}")),
        inputs: Vec::new(),
        pin: Some(pin),
        more,
    }
}

/// Whether a source's key holds for one session only, so that no later build can match it.
#[must_use]
pub fn is_of_session(key: &str) -> bool {
    key.starts_with("session:")
}

/// The key of an op that is all in its message and looks at all of each input.
fn plain(kind: &str, name: &str, inputs: usize, fields: impl FnOnce(&mut Object<'_>)) -> CacheMap {
    let text = object(|o| {
        o.always_text("Type", kind);
        o.message(name, Some(&()), |(), o| fields(o));
    });
    of_text(&text, vec![InputKeyRule::default(); inputs])
}

pub(super) fn of_text(text: &str, inputs: Vec<InputKeyRule>) -> CacheMap {
    CacheMap {
        digest: Digest::sha256_of(text),
        inputs,
        pin: None,
        more: false,
    }
}

/// The platform by the names that BuildKit hashes.
pub(super) fn normalized(platform: &pb::Platform) -> pb::Platform {
    let mut platform = platform::normalize(platform);
    platform.os_features.sort();
    platform.os_features.dedup();
    platform
}
