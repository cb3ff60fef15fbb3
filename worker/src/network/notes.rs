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

    /// The notes that are there. One that cannot be read says nothing to undo and is removed.
    pub(super) fn all(&self) -> io::Result<Vec<Note>> {
        let mut notes = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
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
