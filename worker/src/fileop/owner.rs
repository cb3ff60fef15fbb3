use std::path::Path;

use cooper_proto::pb;

use super::error::FileOpError;
use crate::confine::{ConfineError, Owner, Refusal, Root};

/// Longest `/etc/passwd` or `/etc/group` that is read (security.md T-A11).
const MAX_BYTES: u64 = 10 << 20;

/// The number that means "leave as it is" to `chown`, and so no owner.
const NO_ID: u32 = u32::MAX;

/// Resolves an owner. `root_of` opens the state of an input by its index.
///
/// A name that the input's files do not list, or an input without those files, is id 0: what BuildKit does.
pub(super) fn resolve<R: AsRef<Root>>(
    owner: Option<&pb::ChownOpt>,
    mut root_of: impl FnMut(i64) -> Result<R, FileOpError>,
) -> Result<Option<Owner>, FileOpError> {
    use pb::user_opt::User;
    let Some(chown) = owner else {
        return Ok(None);
    };
    let mut resolved = Owner::default();
    match chown.user.as_ref().and_then(|user| user.user.as_ref()) {
        Some(User::ByName(named)) => {
            let root = root_of(named.input)?;
            if let Some(line) = find(root.as_ref(), "/etc/passwd", &named.name)? {
                resolved = Owner {
                    uid: id(&line, 2, "user")?,
                    gid: id(&line, 3, "group")?,
                };
            }
        }
        Some(User::ById(number)) => {
            let number = checked(*number)?;
            resolved = Owner {
                uid: number,
                gid: number,
            };
        }
        None => {}
    }
    match chown.group.as_ref().and_then(|group| group.user.as_ref()) {
        Some(User::ByName(named)) => {
            let root = root_of(named.input)?;
            if let Some(line) = find(root.as_ref(), "/etc/group", &named.name)? {
                resolved.gid = id(&line, 2, "group")?;
            }
        }
        Some(User::ById(number)) => resolved.gid = checked(*number)?,
        None => {}
    }
    Ok(Some(resolved))
}

/// The line of a passwd-like file whose first field is `name`.
fn find(root: &Root, file: &str, name: &str) -> Result<Option<String>, FileOpError> {
    let content = match root.read_small(Path::new(file), MAX_BYTES) {
        Err(error) if is_nothing(&error) => return Ok(None),
        Err(ConfineError::Refused {
            reason: Refusal::TooLarge { cap },
            ..
        }) => {
            return Err(FileOpError::Invalid(format!(
                "{file:?} exceeds {cap} bytes"
            )));
        }
        Err(ConfineError::Refused {
            reason: Refusal::NotRegular,
            ..
        }) => {
            return Err(FileOpError::Invalid(format!(
                "{file} is not a regular file"
            )));
        }
        content => content?,
    };
    let text = String::from_utf8_lossy(&content);
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| line.split(':').next() == Some(name) && !name.is_empty());
    Ok(line.map(ToOwned::to_owned))
}

/// One of a line's numbers. A file that says something else is not guessed at: an unreadable number must not become
/// root (security.md T-C9).
fn id(line: &str, field: usize, what: &str) -> Result<u32, FileOpError> {
    let text = line.split(':').nth(field).unwrap_or("");
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse::<u32>().ok()).flatten();
    number.filter(|number| *number != NO_ID).ok_or_else(|| {
        let name = line.split(':').next().unwrap_or("");
        FileOpError::Invalid(format!("invalid {what} id {text:?} of {name:?}"))
    })
}

fn checked(number: u32) -> Result<u32, FileOpError> {
    if number == NO_ID {
        return Err(FileOpError::Invalid(format!("invalid user id {number}")));
    }
    Ok(number)
}

fn is_nothing(error: &ConfineError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.io_kind(), Some(NotFound | NotADirectory))
}
