//! Case files: sections that start with `--- name`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A Dockerfile and what stands around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// The file's name without ending.
    pub(crate) name: String,
    /// Frontend options.
    pub(crate) options: BTreeMap<String, String>,
    /// Contents by the source's identifier and the path in it.
    pub(crate) files: BTreeMap<String, String>,
}

impl Case {
    /// A Dockerfile alone.
    pub(crate) fn of(dockerfile: &str) -> Self {
        let mut case = Self::default();
        case.files.insert(
            "local://dockerfile/Dockerfile".to_owned(),
            dockerfile.to_owned(),
        );
        case
    }

    /// The same with an option.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// Where the cases are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// All cases by name.
pub(crate) fn all() -> Vec<Case> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("cases are well formed")
        .map(|entry| entry.expect("cases are well formed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "case"))
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).expect("cases are well formed");
    let sections = sections(&text);
    let mut case = Case {
        name: path
            .file_stem()
            .expect("cases are well formed")
            .to_string_lossy()
            .into_owned(),
        ..Case::default()
    };
    for line in sections
        .get("options")
        .into_iter()
        .flat_map(|text| text.lines())
    {
        let (key, value) = line.split_once('=').expect("cases are well formed");
        case.options.insert(key.to_owned(), value.to_owned());
    }
    let option =
        |key: &str, default: &str| case.options.get(key).cloned().unwrap_or(default.to_owned());
    let (folder, name) = (
        option("dockerfilekey", "dockerfile"),
        option("filename", "Dockerfile"),
    );
    for (section, content) in &sections {
        let place = match section.as_str() {
            "options" | "only" => continue,
            "Dockerfile" if sections.contains_key("only") => {
                format!("local://{folder}/{}", name.to_lowercase())
            }
            "Dockerfile" => format!("local://{folder}/{name}"),
            ".dockerignore" => "local://context/.dockerignore".to_owned(),
            other if other.starts_with("git://") => other.to_owned(),
            other => {
                let (local, path) = other.split_once(':').expect("cases are well formed");
                format!("local://{local}/{path}")
            }
        };
        case.files.insert(place, content.clone());
    }
    case
}

fn sections(text: &str) -> BTreeMap<String, String> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("--- ") {
            Some(name) => {
                current = name.trim_end().to_owned();
                sections.insert(current.clone(), String::new());
            }
            None => sections
                .get_mut(&current)
                .expect("cases are well formed")
                .push_str(line),
        }
    }
    sections
}
