use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Longest file of parents that is read.
///
/// # Units
/// Bytes.
const MAX_FILE: u64 = 1 << 20;

/// The parents that groups of ours were made below, one to a line of a file. It needs to survive this process and not the
/// machine, whose end takes the groups with it.
#[derive(Debug, Default)]
pub(super) struct Parents {
    /// `None` where nothing is noted.
    file: Option<PathBuf>,
    known: Mutex<BTreeSet<PathBuf>>,
}

impl Parents {
    pub(super) fn open(file: &Path) -> io::Result<Self> {
        let mut text = String::new();
        match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => drop(opened?.take(MAX_FILE).read_to_string(&mut text)?),
        }
        // One that was written only in part cannot be told from a whole one; it is looked for in vain.
        let known = text
            .lines()
            .filter(|line| is_inside(line))
            .map(PathBuf::from);
        Ok(Self {
            file: Some(file.to_owned()),
            known: Mutex::new(known.collect()),
        })
    }

    pub(super) fn all(&self) -> BTreeSet<PathBuf> {
        self.known.lock().clone()
    }

    /// Notes a parent, the first time before anything is below it.
    pub(super) fn note(&self, parent: &Path) -> io::Result<()> {
        let mut known = self.known.lock();
        if known.contains(parent) {
            return Ok(());
        }
        if let Some(file) = &self.file {
            let mut file = OpenOptions::new().append(true).create(true).open(file)?;
            let line = format!("{}\n", parent.display());
            file.write_all(line.as_bytes())?;
        }
        known.insert(parent.to_owned());
        Ok(())
    }
}

/// Whether a line names a directory below the place where it is looked for.
fn is_inside(line: &str) -> bool {
    use std::path::Component;
    let mut parts = Path::new(line).components();
    !line.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_known_after_a_restart_and_damage_leads_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("parents");
        let parents = Parents::open(&file).unwrap();
        for name in ["a/b", "c", "a/b"] {
            parents.note(Path::new(name)).unwrap();
        }
        let mut text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "a/b\nc\n");
        text.push_str("../x\n/etc\n\nd");
        std::fs::write(&file, text).unwrap();
        let known = Parents::open(&file).unwrap().all();
        let expected = ["a/b", "c", "d"].map(PathBuf::from);
        assert_eq!(known, BTreeSet::from(expected));
    }
}
