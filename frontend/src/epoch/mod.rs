//! `SOURCE_DATE_EPOCH` by the name of a source: when a commit was made, a file was changed, the newest file of an
//! archive was written (features.md A4).

mod archive;
mod stage;

use cooper_core::ports::{SourceMeta, SourceQuery};
use cooper_proto::pb;
use cooper_proto::pb::op::Op as Kind;
use prost::Message;

pub(crate) use stage::stage_source;

use crate::context::definition_of;
use crate::convert::{Input, Questions, Stop};
use crate::diagnostic::Fault;
use crate::llb::source_again;

/// The time of the one source that a definition has; `None` when it has another number, or one without a time.
pub(crate) fn of_definition(
    definition: &pb::Definition,
    log_name: &str,
    input: &Input,
    questions: &mut Questions<'_>,
) -> Result<Option<i64>, Stop> {
    let Some(source) = only_source(definition)? else {
        return Ok(None);
    };
    let is_git = source.identifier.starts_with("git://");
    let is_http =
        source.identifier.starts_with("http://") || source.identifier.starts_with("https://");
    if !is_git && !is_http {
        return Ok(None);
    }
    let meta = questions.source(SourceQuery {
        source: source.clone(),
        log_name: log_name.to_owned(),
        git_objects: is_git,
        ..SourceQuery::default()
    })?;
    match meta {
        SourceMeta::Git(meta) => Ok(Some(committed(&meta.commit_object)?)),
        SourceMeta::Http(meta) if meta.last_modified.is_some() => Ok(meta.last_modified),
        SourceMeta::Http(_) => {
            let Some(name) = source.attrs.get("http.filename").cloned() else {
                return Ok(None);
            };
            let definition = definition_of(input, |graph| Some(source_again(graph, source)));
            let bytes = questions.file(&definition, &name, None)?;
            Ok(archive::newest(&bytes.unwrap_or_default()))
        }
    }
}

fn only_source(definition: &pb::Definition) -> Result<Option<pb::SourceOp>, Fault> {
    let mut found = None;
    for bytes in &definition.def {
        let op = pb::Op::decode(bytes.as_slice())
            .map_err(|error| Fault::new(format!("an op cannot be read: {error}")))?;
        if let Some(Kind::Source(source)) = op.op
            && found.replace(source).is_some()
        {
            return Ok(None);
        }
    }
    Ok(found)
}

/// When a commit was made, of its bytes: `committer name <address> seconds zone`.
fn committed(commit: &[u8]) -> Result<i64, Fault> {
    let text = String::from_utf8_lossy(commit);
    let header = text.split("\n\n").next().unwrap_or_default();
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("committer "));
    let seconds = line
        .and_then(|line| line.rsplit_once('>'))
        .and_then(|(_, time)| time.split_whitespace().next()?.parse().ok());
    seconds.ok_or_else(|| Fault::new("a commit says not when it was made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_s_time_is_its_committer_s() {
        let commit = b"tree a\nauthor A <a@b> 1 +0000\ncommitter B> <b@c> 1700000000 +0100\n\n\
            committer C <c> 2 +0000\n";
        assert_eq!(committed(commit).unwrap(), 1_700_000_000);
        assert!(committed(b"tree a\n\ncommitter C <c> 2 +0000\n").is_err());
        assert!(committed(b"").is_err());
    }
}
