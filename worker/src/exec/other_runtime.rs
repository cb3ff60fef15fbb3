use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::userns::Identity;

/// Versions of runc from which on an image or a step cannot make it write where it should not (CVE-2025-31133,
/// CVE-2025-52565, CVE-2025-52881): the first of each line that is still looked after.
const SOUND: [(u32, u32, u32); 3] = [(1, 2, 8), (1, 3, 3), (1, 4, 0)];

/// Another program that sets containers up from the same configurations: `runc`. Clones are the same.
#[derive(Debug, Clone)]
pub struct OtherRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    folder: PathBuf,
    version: String,
}

/// What is done about a version that is known to be unsound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OldRuntime {
    /// It is used, and the log says what it lacks. Distributions repair old versions without another number.
    #[default]
    Warn,
    /// It is not used.
    Refuse,
}

/// Why a runtime is not used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such program.
    #[error("the runtime {0:?} was not found")]
    Missing(PathBuf),
    /// It would have no rights over the machine's control groups and mounts.
    #[error(
        "the runtime {0:?} needs root of the machine; a plain user's steps are run by our own runner"
    )]
    NotRoot(PathBuf),
    /// It does not say what it is.
    #[error("the runtime {program}: {reason}")]
    Unknown {
        /// Where it is.
        program: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// It is one that is not known to work.
    #[error(
        "the runtime {program} is {name}; only runc is supported (crun refuses machines on which control groups of both \
         versions are mounted)"
    )]
    Unsupported {
        /// Where it is.
        program: PathBuf,
        /// What it says that it is.
        name: String,
    },
    /// It is unsound, and such are refused.
    #[error(
        "the runtime {program} is runc {version}, which steps can misuse; use 1.2.8, 1.3.3 or newer"
    )]
    Old {
        /// Where it is.
        program: PathBuf,
        /// What it says.
        version: String,
    },
    /// The folder for its containers cannot be had.
    #[error("the runtime's folder {folder}: {error}")]
    Folder {
        /// Where it should be.
        folder: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
}

impl OtherRuntime {
    /// Looks at the program: a path, or a name that is looked for in `PATH`. What belongs to its containers is kept in
    /// `folder`, an empty folder of ours, where each container sees a file system in memory of its own. Blocks.
    ///
    /// # Errors
    /// Where it is none that could be used.
    #[expect(
        clippy::disallowed_methods,
        reason = "programs are looked for where every command looks"
    )]
    pub fn find(binary: &Path, folder: &Path, old: OldRuntime) -> Result<Self, RuntimeError> {
        let program = find(binary, std::env::var_os("PATH").as_deref())
            .ok_or_else(|| RuntimeError::Missing(binary.to_owned()))?;
        if Identity::of_this_process().is_mapped() {
            return Err(RuntimeError::NotRoot(program));
        }
        let unknown = |reason: String| RuntimeError::Unknown {
            program: program.clone(),
            reason,
        };
        let said = Command::new(&program).arg("--version").output();
        let said = said.map_err(|error| unknown(error.to_string()))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let first = said.lines().next().unwrap_or_default();
        let Some(version) = first.strip_prefix("runc version ") else {
            let name = first.split(' ').next().unwrap_or_default();
            return Err(match name {
                "" => unknown("it does not say its version".into()),
                name => RuntimeError::Unsupported {
                    program: program.clone(),
                    name: name.to_owned(),
                },
            });
        };
        let version = version.trim().to_owned();
        if !is_sound(&version) {
            if old == OldRuntime::Refuse {
                return Err(RuntimeError::Old { program, version });
            }
            tracing::warn!(
                "runc {version} is older than 1.2.8 and 1.3.3: unless it was repaired by who packaged it, steps can misuse it \
                 (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)"
            );
        }
        let made = std::fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
        let folder = made.map_err(|error| RuntimeError::Folder {
            folder: folder.to_owned(),
            error,
        })?;
        let inner = Inner {
            program,
            folder,
            version,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Its version, as it says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    pub(super) fn program(&self) -> &Path {
        &self.inner.program
    }

    pub(super) fn folder(&self) -> &Path {
        &self.inner.folder
    }
}

fn find(binary: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    if binary.components().count() > 1 {
        return binary.canonicalize().ok();
    }
    std::env::split_paths(path?)
        .map(|folder| folder.join(binary))
        .find_map(|program| program.is_file().then(|| program.canonicalize().ok())?)
}

/// What comes after the numbers (`-rc.1`, `+ds1`) does not count, but that a candidate is older than its release.
fn is_sound(version: &str) -> bool {
    let numbers = version.split(['-', '+', '~']).next().unwrap_or_default();
    let mut numbers = numbers.split('.').map(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(major), Some(minor), patch) = (next(), next(), next().unwrap_or(0)) else {
        return false;
    };
    let found = (major, minor, patch);
    let newest = SOUND[SOUND.len() - 1];
    if found == newest && version.contains("-rc") {
        return version.split("-rc.").nth(1).is_some_and(|rc| rc >= "2");
    }
    found >= newest
        || SOUND
            .iter()
            .any(|sound| (sound.0, sound.1) == (major, minor) && patch >= sound.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    // T-B9
    #[test]
    fn versions_that_steps_can_misuse_are_known() {
        for unsound in [
            "1.1.5+ds1",
            "1.1.15",
            "1.2.7",
            "1.3.2",
            "1.4.0-rc.1",
            "0.9",
            "",
            "x",
        ] {
            assert!(!is_sound(unsound), "{unsound}");
        }
        for sound in [
            "1.2.8",
            "1.2.10",
            "1.3.3",
            "1.4.0-rc.2",
            "1.4.0",
            "1.5.1",
            "2.0.0",
        ] {
            assert!(is_sound(sound), "{sound}");
        }
    }

    fn fake(folder: &Path, says: &str) -> PathBuf {
        let path = folder.join("fake");
        std::fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    // T-B9
    #[test]
    fn a_runtime_that_is_old_or_another_one_is_refused_where_that_is_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("state");
        let look = |says: &str, old| OtherRuntime::find(&fake(temp.path(), says), &folder, old);
        if Identity::of_this_process().is_mapped() {
            let refused = look("runc version 1.3.3", OldRuntime::Warn).unwrap_err();
            assert!(refused.to_string().contains("plain user"), "{refused}");
            return;
        }
        assert!(look("runc version 1.1.5+ds1", OldRuntime::Warn).is_ok());
        let old = look("runc version 1.1.5+ds1", OldRuntime::Refuse).unwrap_err();
        assert!(matches!(old, RuntimeError::Old { .. }), "{old}");
        assert!(look("runc version 1.3.3", OldRuntime::Refuse).is_ok());
        let other = look("crun version 1.8.1", OldRuntime::Warn).unwrap_err();
        assert!(other.to_string().contains("is crun"), "{other}");
        assert!(look("", OldRuntime::Warn).is_err());
        let missing = OtherRuntime::find(Path::new("no-such-runtime"), &folder, OldRuntime::Warn);
        assert!(matches!(missing, Err(RuntimeError::Missing(_))));
    }
}
