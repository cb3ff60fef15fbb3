use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What plugins were asked for one namespace: enough to undo it when nothing else is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: String,
    pub(super) hostname: String,
    /// What the plugins said; null while they are at it.
    pub(super) result: Value,
}

/// The file that names a bridge of ours; ids of namespaces are longer.
const BRIDGE: &str = "bridge";

/// Notes in a folder of ours, one file each. They need to survive this process and not the machine, whose end takes the
/// networks with it.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    folder: PathBuf,
}

impl Notes {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(super) fn write(&self, note: &Note) -> io::Result<()> {
        let new = self.folder.join(format!("{}.new", note.id));
        fs::write(&new, serde_json::to_vec(note)?)?;
        fs::rename(new, self.folder.join(&note.id))
    }

    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(id))
    }

    /// The bridge that is ours to remove, if there is one.
    pub(super) fn bridge(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.folder.join(BRIDGE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            name => name.map(Some),
        }
    }

    /// Notes that a bridge is ours, before it is made.
    pub(super) fn write_bridge(&self, name: &str) -> io::Result<()> {
        let new = self.folder.join(format!("{BRIDGE}.new"));
        fs::write(&new, name)?;
        fs::rename(new, self.folder.join(BRIDGE))
    }

    pub(super) fn remove_bridge(&self) -> io::Result<()> {
        self.remove(BRIDGE)
    }

    /// The notes that are there. One that cannot be read says nothing to undo and is removed.
    pub(super) fn all(&self) -> io::Result<Vec<Note>> {
        let mut notes = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == BRIDGE) {
                continue;
            }
            match serde_json::from_slice(&fs::read(&path)?) {
                Ok(note) => notes.push(note),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a note of a network is damaged");
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(notes)
    }
}
