//! Checks of good practice: what makes an image larger or a build slower than it has to be.
//!
//! They are Cooper's own and no part of what BuildKit's clients ask for. Each finding says what a change would save and,
//! where a machine can make the change, has it ready. Names can be put into `# check=skip=` like those of lint rules.
//! The way through: `shell` takes the scripts of RUN apart, `facts` reads a file into stages and steps, the rules in
//! `packages`, `copies` and `images` look for one thing each, `repair` applies changes.

mod copies;
mod facts;
mod finding;
mod images;
mod packages;
mod repair;
mod shell;

pub use finding::{Change, Finding, Practice};
pub use repair::{Repair, diff, repair};

use crate::diagnostic::Fault;

/// Looks for everything in the text of a Dockerfile; in the order of lines.
///
/// # Errors
/// A text that is no Dockerfile.
pub fn check(text: &str) -> Result<Vec<Finding>, Fault> {
    let file = facts::File::read(text)?;
    let mut found = Vec::new();
    packages::split_index(&file, &mut found);
    packages::kept_caches(&file, &mut found);
    packages::recommended(&file, &mut found);
    copies::broad_before_install(&file, &mut found);
    copies::deleted_later(&file, &mut found);
    images::shipped_tools(&file, &mut found);
    images::unpinned(&file, &mut found);
    found.retain(|finding| !file.skips(finding));
    found.sort_by_key(|finding| (finding.lines, finding.practice));
    Ok(found)
}
