use std::path::Path;

use super::config::User;
use crate::confine::{ConfineError, Root};

/// Most of `/etc/passwd` or `/etc/group` that is read.
///
/// # Units
/// Bytes. Source: BuildKit 0.31.1 (GHSA-72x6-4j93-7w86).
const MAX_USER_FILE: u64 = 10 << 20;

/// Largest id that can be asked for: beyond it, `-1` would mean "no change" and leave root in place.
const MAX_ID: u32 = i32::MAX as u32;

/// Who a `USER` text means in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedUser {
    /// The numbers.
    pub user: User,
}

/// Why a `USER` text means nobody.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No line of `/etc/passwd` has this name.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser {
        /// The name.
        name: String,
    },
    /// No line of `/etc/group` has this name.
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// The number is beyond what can be used.
    #[error("user or group id {id} is out of range (0 to {MAX_ID})")]
    OutOfRange {
        /// The number.
        id: String,
    },
    /// The file could not be read.
    #[error("cannot look up users: {0}")]
    File(#[from] ConfineError),
}

/// Finds out who `text` (`user[:group]`, names or numbers) means in the image at `root`.
///
/// Names win over numbers of the same spelling. Without a group, the primary group and the memberships come from the
/// image's files; with one, it is the only group. The primary group is always among the supplementary ones (T-B5).
///
/// # Errors
/// Where a name is not in the image's files, a number is too large, or a file is not an ordinary one.
pub fn resolve_user(root: &Root, text: &str) -> Result<ResolvedUser, UserError> {
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    if let (Some(uid), Some(Some(gid))) = (number(user_text)?, group_text.map(number).transpose()?)
    {
        return Ok(resolved(uid, gid, Vec::new()));
    }
    let passwd = user_file(root, "/etc/passwd")?;
    let (uid, primary, name) =
        find_user(&passwd, if user_text.is_empty() { "0" } else { user_text })?;
    let groups = user_file(root, "/etc/group")?;
    match group_text {
        Some(group) => Ok(resolved(uid, find_group(&groups, group)?, Vec::new())),
        None => Ok(resolved(
            uid,
            primary,
            memberships(&groups, name.as_deref()),
        )),
    }
}

/// The home directory of a user id in the image at `root`; `/` where it has none.
///
/// # Errors
/// Where `/etc/passwd` is not an ordinary file.
pub fn home_of(root: &Root, uid: u32) -> Result<String, UserError> {
    let passwd = user_file(root, "/etc/passwd")?;
    let home = lines(&passwd)
        .find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid))
        .and_then(|fields| fields.get(5).copied())
        .filter(|home| !home.is_empty());
    Ok(home.unwrap_or("/").to_owned())
}

fn resolved(uid: u32, gid: u32, groups: Vec<u32>) -> ResolvedUser {
    let mut additional_gids = vec![gid];
    additional_gids.extend(groups.into_iter().filter(|group| *group != gid));
    ResolvedUser {
        user: User {
            uid,
            gid,
            additional_gids,
        },
    }
}

/// The text as an id; `None` where it is a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::OutOfRange {
            id: text.to_owned(),
        }),
    }
}

/// An image without the file has no names. That also holds where a part of the path is something else than a directory.
fn user_file(root: &Root, path: &str) -> Result<String, UserError> {
    match root.read_small(Path::new(path), MAX_USER_FILE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() => Ok(String::new()),
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotADirectory) => {
            Ok(String::new())
        }
        Err(error) => Err(error.into()),
    }
}

fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

/// Id, primary group and, where there is a line, the name.
fn find_user(passwd: &str, text: &str) -> Result<(u32, u32, Option<String>), UserError> {
    let id = number(text)?;
    let by_name = lines(passwd).find(|fields| fields[0] == text);
    let by_number = || {
        lines(passwd)
            .find(|fields| id.is_some() && fields.get(2).and_then(|uid| uid.parse().ok()) == id)
    };
    if let Some(fields) = by_name.or_else(by_number) {
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let uid = number(field(2))?.ok_or_else(|| UserError::NoUser {
            name: text.to_owned(),
        })?;
        let gid = number(field(3))?.unwrap_or(0);
        return Ok((uid, gid, Some(fields[0].to_owned())));
    }
    match id {
        Some(uid) => Ok((uid, 0, None)),
        // An image without users still has its root.
        None if text == "root" && passwd.is_empty() => Ok((0, 0, None)),
        None => Err(UserError::NoUser {
            name: text.to_owned(),
        }),
    }
}

fn find_group(groups: &str, text: &str) -> Result<u32, UserError> {
    if let Some(gid) = lines(groups)
        .find(|fields| fields[0] == text)
        .and_then(|fields| fields.get(2).and_then(|gid| gid.parse().ok()))
    {
        return if gid <= MAX_ID {
            Ok(gid)
        } else {
            Err(UserError::OutOfRange {
                id: gid.to_string(),
            })
        };
    }
    match number(text)? {
        Some(gid) => Ok(gid),
        None if text == "root" && groups.is_empty() => Ok(0),
        None => Err(UserError::NoGroup {
            name: text.to_owned(),
        }),
    }
}

fn memberships(groups: &str, name: Option<&str>) -> Vec<u32> {
    let Some(name) = name else { return Vec::new() };
    let mut found = Vec::new();
    for fields in lines(groups) {
        let is_member = fields
            .get(3)
            .is_some_and(|members| members.split(',').any(|member| member.trim() == name));
        if let (true, Some(Ok(gid))) = (is_member, fields.get(2).map(|gid| gid.parse::<u32>()))
            && gid <= MAX_ID
            && !found.contains(&gid)
        {
            found.push(gid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(passwd: Option<&str>, group: Option<&str>) -> (tempfile::TempDir, Root) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("etc")).unwrap();
        for (name, content) in [("passwd", passwd), ("group", group)] {
            if let Some(content) = content {
                std::fs::write(temp.path().join("etc").join(name), content).unwrap();
            }
        }
        let root = Root::open(temp.path()).unwrap();
        (temp, root)
    }

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n123:x:7:8::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\naudio:x:29:app,other\nvideo:x:44:app\n";

    fn user(text: &str) -> User {
        let (_temp, root) = image(Some(PASSWD), Some(GROUP));
        resolve_user(&root, text).unwrap().user
    }

    #[test]
    fn name_brings_its_group_and_its_memberships() {
        assert_eq!(
            user("app"),
            User {
                uid: 1000,
                gid: 1001,
                additional_gids: vec![1001, 29, 44]
            }
        );
        assert_eq!(user("1000"), user("app"));
        assert_eq!(
            user(""),
            User {
                uid: 0,
                gid: 0,
                additional_gids: vec![0]
            }
        );
    }

    #[test]
    fn t_b5_primary_group_is_among_the_supplementary_ones() {
        assert_eq!(
            user("1000:1000"),
            User {
                uid: 1000,
                gid: 1000,
                additional_gids: vec![1000]
            }
        );
        assert_eq!(
            user("app:audio"),
            User {
                uid: 1000,
                gid: 29,
                additional_gids: vec![29]
            }
        );
        assert_eq!(
            user("4711"),
            User {
                uid: 4711,
                gid: 0,
                additional_gids: vec![0]
            }
        );
    }

    #[test]
    fn t_c9_name_made_of_digits_is_a_name_and_odd_numbers_are_no_root() {
        assert_eq!(user("123").uid, 7);
        let (_temp, root) = image(Some(PASSWD), Some(GROUP));
        for text in [
            "2147483648",
            "4294967295",
            "4294967296",
            "0:4294967295",
            "-1",
            "+0",
            "0x0",
            "nobody",
        ] {
            assert!(resolve_user(&root, text).is_err(), "{text}");
        }
        assert_eq!(user("00").uid, 0);
    }

    #[test]
    fn image_without_files_has_root_and_numbers_only() {
        let (_temp, root) = image(None, None);
        assert_eq!(resolve_user(&root, "root").unwrap().user.uid, 0);
        assert_eq!(resolve_user(&root, "5").unwrap().user.uid, 5);
        assert!(matches!(
            resolve_user(&root, "app"),
            Err(UserError::NoUser { .. })
        ));
        assert_eq!(home_of(&root, 0).unwrap(), "/");
    }

    #[test]
    fn t_a11_hostile_user_files_are_refused_at_once() {
        let (temp, root) = image(None, None);
        std::fs::File::create(temp.path().join("etc/group"))
            .unwrap()
            .set_len(2 << 30)
            .unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            temp.path().join("etc/passwd"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        assert!(
            matches!(resolve_user(&root, "app"), Err(UserError::File(_))),
            "a pipe"
        );
        std::fs::remove_file(temp.path().join("etc/passwd")).unwrap();
        assert!(
            matches!(resolve_user(&root, "5"), Err(UserError::File(_))),
            "2 GiB of groups"
        );
        std::os::unix::fs::symlink("/proc/kcore", temp.path().join("etc/passwd")).unwrap();
        std::fs::remove_file(temp.path().join("etc/group")).unwrap();
        assert!(
            matches!(resolve_user(&root, "app"), Err(UserError::NoUser { .. })),
            "the link stays inside"
        );
    }

    #[test]
    fn home_is_found_by_number() {
        let (_temp, root) = image(Some(PASSWD), None);
        assert_eq!(home_of(&root, 1000).unwrap(), "/home/app");
        assert_eq!(home_of(&root, 4711).unwrap(), "/");
    }
}
