use std::collections::BTreeSet;
use std::io::Read;

use cooper_core::model::{Attestation, Failure};
use cooper_core::ports::{FileStat, StatementSource};
use cooper_proto::{Digest, oci};
use sha2::{Digest as _, Sha256};

use super::super::attributes::invalid;
use super::super::files::{Part, blocking, infrastructure};
use super::super::image_writer::unwritten;
use super::read::{Said, is_inline_only, read};
use super::statement::statement;
use crate::confine::Kind;
use crate::fsync::{Added, SyncError, Tree, mode};
use crate::snapshot::Snapshots;

/// How the files of statements are called and when they were made.
pub(in crate::exporter) struct StatementFiles<'a> {
    /// What their names begin with.
    pub(in crate::exporter) prefix: &'a str,
    /// The platform that they end in, where several platforms share a directory.
    pub(in crate::exporter) platform: Option<&'a str>,
    /// In nanoseconds since 1970.
    pub(in crate::exporter) mod_time: i64,
}

/// Makes files of statements about the files of a part.
///
/// # Errors
/// As [`read`]; `InvalidInput` for two of one name, and for one that the result has itself.
pub(in crate::exporter) async fn add_statements(
    snapshots: &Snapshots,
    part: Part,
    statements: &[Attestation<StatementSource>],
    how: StatementFiles<'_>,
) -> Result<Part, Failure> {
    let wanted = statements.iter().filter(|it| !is_inline_only(it));
    let wanted: Vec<_> = wanted.cloned().collect();
    if wanted.is_empty() {
        return Ok(part);
    }
    let said = read(snapshots, wanted).await?;
    let mut names = BTreeSet::new();
    let mut named = Vec::with_capacity(said.len());
    for one in said {
        let name = how.name(&one);
        if !names.insert(name.clone()) {
            return Err(invalid(&format!("duplicate attestation path name {name}")));
        }
        named.push((name, one));
    }
    let mod_time = how.mod_time;
    blocking(move || {
        let tree = part.tree()?;
        let own = tree.as_ref().map(digests).transpose()?;
        let own = own.unwrap_or_default();
        let files = named.into_iter().map(|(name, said)| {
            if let Some(tree) = &tree
                && tree.has(&name)
            {
                return Err(invalid(&format!(
                    "the attestation {name} would take the place of a file of the result"
                )));
            }
            let bytes = oci::to_json_indented(&statement(&said, &own)).map_err(unwritten)?;
            Ok(Added {
                stat: FileStat {
                    path: name,
                    mode: mode::to_go(Kind::File, 0o600),
                    size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                    mod_time,
                    ..FileStat::default()
                },
                bytes,
            })
        });
        let files = files.collect::<Result<Vec<_>, Failure>>()?;
        Ok(part.with_added(files))
    })
    .await
}

impl StatementFiles<'_> {
    fn name(&self, said: &Said) -> String {
        let base = said.path.rsplit('/').next().unwrap_or_default();
        let name = format!("{}{base}", self.prefix);
        let Some(platform) = self.platform else {
            return name;
        };
        let platform = platform.replace('/', "_");
        match name.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}.{platform}.{extension}"),
            None => format!("{name}.{platform}"),
        }
    }
}

/// Every regular file with its digest.
fn digests(tree: &Tree) -> Result<Vec<(String, Digest)>, Failure> {
    let mut all = Vec::new();
    let walked = tree.walk::<SyncError>(|stat, _| {
        if mode::kind(stat.mode) == Some(Kind::File) {
            let digest = digest(tree, &stat.path).map_err(|source| SyncError::Content {
                path: stat.path.clone(),
                source,
            })?;
            all.push((stat.path, digest));
        }
        Ok(())
    });
    walked.map_err(|error| infrastructure(&error))?;
    Ok(all)
}

fn digest(tree: &Tree, path: &str) -> std::io::Result<Digest> {
    let mut file = tree.open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digest = Digest::new(cooper_proto::Algorithm::Sha256, &hasher.finalize());
    digest.map_err(std::io::Error::other)
}
