use std::sync::OnceLock;

use crate::confine::{ConfineError, Node};
use crate::userns::Identity;

/// Whether overlays keep their marks in attributes that plain users may set (`userxattr`, Linux 5.11): in a user
/// namespace, where `trusted.` ones are out of reach.
pub(crate) fn keeps_marks_for_users() -> bool {
    static FOR_USERS: OnceLock<bool> = OnceLock::new();
    *FOR_USERS.get_or_init(|| Identity::of_this_process().is_mapped())
}

/// The attribute with the value `y` by which a directory hides what is below it.
pub(crate) fn opaque_mark() -> &'static str {
    if keeps_marks_for_users() {
        "user.overlay.opaque"
    } else {
        "trusted.overlay.opaque"
    }
}

/// Whether a directory has that attribute.
///
/// # Errors
/// Where its attributes cannot be read.
pub(crate) fn is_marked_opaque(directory: &Node) -> Result<bool, ConfineError> {
    let attributes = directory.xattrs()?;
    Ok(attributes.iter().any(|(name, _)| name == opaque_mark()))
}

/// The attribute of a directory that was renamed, which we never have overlays make.
pub(crate) fn redirect_mark() -> &'static str {
    if keeps_marks_for_users() {
        "user.overlay.redirect"
    } else {
        "trusted.overlay.redirect"
    }
}

/// The value of `redirect_dir` by which an overlay makes no redirects; `userxattr` goes with one of them alone.
pub(crate) fn no_redirects() -> &'static str {
    if keeps_marks_for_users() {
        "nofollow"
    } else {
        "off"
    }
}
