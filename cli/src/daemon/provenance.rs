use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_engine::ProvenanceEnvironment;
use serde_json::{Map, Value};

/// Reads what provenance is to tell of this machine: the objects in all `*.json` files of a folder, of which a later
/// file's keys count. A folder that is not there says nothing.
///
/// # Errors
/// `InvalidInput` for a file that is no JSON object or has a key of the engine's own, `Infrastructure` where the
/// folder cannot be read.
pub(super) fn read_folder(folder: &Path) -> Result<ProvenanceEnvironment, Failure> {
    let unread = |path: &Path, error: std::io::Error| {
        let message = format!("provenanceEnvDir: {}: {error}", path.display());
        Failure::new(FailureKind::Infrastructure, message)
    };
    let mut files = Vec::new();
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unread(folder, error)),
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|error| unread(folder, error))?.path();
                if path.extension().is_some_and(|it| it == "json") && !path.is_dir() {
                    files.push(path);
                }
            }
        }
    }
    files.sort();
    let mut values = Map::<String, Value>::new();
    for path in files {
        let bytes = std::fs::read(&path).map_err(|error| unread(&path, error))?;
        let more: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("failed to parse {}: {error}", path.display());
            Failure::new(FailureKind::InvalidInput, message)
        })?;
        values.extend(more);
    }
    ProvenanceEnvironment::new(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_count_and_others_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.json", r#"{"site":"old","n":1}"#);
        write("b.json", r#"{"site":"new"}"#);
        write("c.txt", "nothing");
        let values = [("site", Value::from("new")), ("n", Value::from(1))];
        let values = values.map(|(key, value)| (key.to_owned(), value));
        let wanted = ProvenanceEnvironment::new(values.into_iter().collect()).unwrap();
        assert_eq!(read_folder(folder.path()).unwrap(), wanted);
        let none = read_folder(&folder.path().join("missing")).unwrap();
        assert_eq!(none, ProvenanceEnvironment::default());
        write("d.json", r#"{"platform":"x"}"#);
        assert!(read_folder(folder.path()).is_err());
        write("d.json", "[]");
        assert!(read_folder(folder.path()).is_err());
    }
}
