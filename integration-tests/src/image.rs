//! An exported image, unpacked into plain data that can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sandbox::{path, succeed};

/// One path of a root file system. Times are left out: a build's are never the same twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Kind of file: `file`, `directory`, `link`, `character`, `block`, `fifo`, `socket`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Target of a symbolic link, or the number of a device.
    pub target: String,
    /// Extended attributes but for the security modules' own.
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// sha256 of a file's bytes.
    pub content: String,
    /// The other paths that share the file's inode.
    pub hard_links: Vec<String>,
}

/// A root file system as paths (with a leading `/`) and what is at them.
pub type Tree = BTreeMap<String, Entry>;

/// Reads a directory as a root file system.
///
/// # Errors
/// When something in it cannot be read.
pub fn read_tree(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut inodes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for found in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let full = found?.path();
            let name = format!("/{}", full.strip_prefix(root)?.display());
            let metadata = fs::symlink_metadata(&full)?;
            if metadata.is_dir() {
                open.push(full.clone());
            } else if metadata.is_file() && metadata.nlink() > 1 {
                inodes.entry(metadata.ino()).or_default().push(name.clone());
            }
            tree.insert(name, read_entry(&full, &metadata)?);
        }
    }
    for mut names in inodes.into_values() {
        names.sort();
        for name in &names {
            if let Some(entry) = tree.get_mut(name) {
                entry.hard_links = names
                    .iter()
                    .filter(|other| *other != name)
                    .cloned()
                    .collect();
            }
        }
    }
    Ok(tree)
}

fn read_entry(full: &Path, metadata: &fs::Metadata) -> Result<Entry> {
    let kind = metadata.file_type();
    let (kind, target, content) = if kind.is_dir() {
        ("directory", String::new(), String::new())
    } else if kind.is_symlink() {
        (
            "link",
            fs::read_link(full)?.display().to_string(),
            String::new(),
        )
    } else if kind.is_file() {
        ("file", String::new(), hash(full)?)
    } else if kind.is_char_device() {
        ("character", metadata.rdev().to_string(), String::new())
    } else if kind.is_block_device() {
        ("block", metadata.rdev().to_string(), String::new())
    } else if kind.is_fifo() {
        ("fifo", String::new(), String::new())
    } else {
        ("socket", String::new(), String::new())
    };
    Ok(Entry {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        target,
        attributes: attributes(full)?,
        content,
        hard_links: Vec::new(),
    })
}

fn hash(file: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut reader = fs::File::open(file)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect());
        }
        hasher.update(&buffer[..read]);
    }
}

fn attributes(full: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0_u8; 1 << 16];
    let length = rustix::fs::llistxattr(full, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = String::from_utf8_lossy(name).into_owned();
        if name.starts_with("trusted.overlay") || name == "security.selinux" {
            continue;
        }
        let mut value = vec![0_u8; 1 << 16];
        let length = rustix::fs::lgetxattr(full, name.as_str(), &mut value)?;
        value.truncate(length);
        found.insert(name, value);
    }
    Ok(found)
}

/// Unpacks an OCI archive or layout with `umoci` and reads the root file system.
///
/// # Errors
/// When umoci refuses the image.
pub fn unpack_oci(archive: &Path, scratch: &Path) -> Result<(Value, Tree)> {
    let layout = scratch.join("layout");
    fs::create_dir_all(&layout)?;
    if archive.is_file() {
        succeed(command("tar", &["-xf", path(archive), "-C", path(&layout)]))?;
    } else {
        succeed(command(
            "cp",
            &["-a", &format!("{}/.", path(archive)), path(&layout)],
        ))?;
    }
    let tag = name_first_manifest(&layout)?;
    let bundle = scratch.join("bundle");
    succeed(command(
        "umoci",
        &[
            "unpack",
            "--image",
            &format!("{}:{tag}", path(&layout)),
            path(&bundle),
        ],
    ))?;
    let config = oci_config(&layout)?;
    Ok((config, read_tree(&bundle.join("rootfs"))?))
}

/// The image configuration of the first manifest of a layout.
///
/// # Errors
/// When the layout is not whole.
pub fn oci_config(layout: &Path) -> Result<Value> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let mut manifest = blob(layout, &index["manifests"][0]["digest"])?;
    if manifest.get("manifests").is_some() {
        manifest = blob(layout, &manifest["manifests"][0]["digest"])?;
    }
    blob(layout, &manifest["config"]["digest"])
}

fn blob(layout: &Path, digest: &Value) -> Result<Value> {
    let (algorithm, hex) = digest
        .as_str()
        .and_then(|text| text.split_once(':'))
        .context("a digest")?;
    Ok(serde_json::from_slice(&fs::read(
        layout.join("blobs").join(algorithm).join(hex),
    )?)?)
}

/// umoci finds an image by its tag alone: gives the first manifest of a layout the tag `latest`.
fn name_first_manifest(layout: &Path) -> Result<&'static str> {
    let file = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&file)?)?;
    ensure!(
        index["manifests"][0].is_object(),
        "the layout lists no manifest"
    );
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] =
        Value::from("latest");
    fs::write(&file, serde_json::to_vec(&index)?)?;
    Ok("latest")
}

/// A program with arguments.
#[must_use]
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// How two root file systems differ, a line each; empty when they do not.
#[must_use]
pub fn differences(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, entry) in ours {
        match theirs.get(name) {
            None => lines.push(format!(
                "{name}: only ours has it ({} {:o})",
                entry.kind, entry.mode
            )),
            Some(other) if other != entry => {
                lines.push(format!("{name}:\n  ours   {entry:?}\n  theirs {other:?}"))
            }
            Some(_) => {}
        }
    }
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        lines.push(format!("{name}: only theirs has it"));
    }
    lines
}
