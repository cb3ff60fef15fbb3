use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Environment;

/// The folder that holds everything the engine keeps: what the flag or COOPER_STATE says, `/var/lib/cooper` for root,
/// a folder of the user otherwise.
#[must_use]
pub fn state_folder(flag: Option<&Path>, environment: &Environment) -> PathBuf {
    if let Some(folder) = flag {
        return environment.here.join(folder);
    }
    if let Some(folder) = environment.variable("COOPER_STATE") {
        return environment.here.join(folder);
    }
    if environment.is_root {
        return PathBuf::from("/var/lib/cooper");
    }
    if let Some(folder) = environment.variable("XDG_DATA_HOME") {
        return Path::new(folder).join("cooper");
    }
    let home = environment.variable("HOME").unwrap_or("/");
    Path::new(home).join(".local/share/cooper")
}

/// The socket on which who has the state folder serves it.
#[must_use]
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("cooper.sock")
}

/// Says that this process has the state folder. The kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the folder, making it if it is not there; `None` when another process has it.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn claim(folder: &Path) -> io::Result<Option<Self>> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For people who wonder who has it; nothing reads it.
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Some(Self { _file: file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_folder_follows_flag_then_variable_then_user() {
        let mut environment = Environment {
            here: "/here".into(),
            ..Environment::default()
        };
        let folder = |e: &Environment| state_folder(None, e);
        environment
            .variables
            .insert("HOME".into(), "/home/a".into());
        assert_eq!(
            folder(&environment),
            Path::new("/home/a/.local/share/cooper")
        );
        environment
            .variables
            .insert("XDG_DATA_HOME".into(), "/data".into());
        assert_eq!(folder(&environment), Path::new("/data/cooper"));
        environment.is_root = true;
        assert_eq!(folder(&environment), Path::new("/var/lib/cooper"));
        environment
            .variables
            .insert("COOPER_STATE".into(), "s".into());
        assert_eq!(folder(&environment), Path::new("/here/s"));
        let flag = state_folder(Some(Path::new("/flag")), &environment);
        assert_eq!(flag, Path::new("/flag"));
    }

    #[test]
    fn state_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::claim(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(StateLock::claim(folder.path()).unwrap().is_none());
        drop(first);
        assert!(StateLock::claim(folder.path()).unwrap().is_some());
    }
}
