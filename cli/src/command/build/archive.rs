use std::fs::File;
use std::io::Read;
use std::path::Path;

use cooper_proto::pb::FileActionCopy;
use cooper_worker::confine::{Owner, Root};
use cooper_worker::fileop::{self, Stop};
use cooper_worker::limits::Limits;

use super::error::UsageError;

const NAME: &str = "archive";

/// Unpacks an archive that is a build context into an empty folder, as ADD would: confined to the folder, links and
/// all. Everything belongs to the user; a build does not look at the owners of its context.
///
/// # Errors
/// When it is no archive that can be read, or has an entry that would leave the folder.
pub(super) fn unpack(mut archive: impl Read, folder: &Path) -> Result<(), UsageError> {
    let cannot = |error: &dyn std::fmt::Display| {
        UsageError::plain(format!(
            "the archive on standard input cannot be used: {error}"
        ))
    };
    let spool = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let mut file = File::create(spool.path().join(NAME)).map_err(|error| cannot(&error))?;
    std::io::copy(&mut archive, &mut file).map_err(|error| cannot(&error))?;
    let source = Root::open(spool.path()).map_err(|error| cannot(&error))?;
    let target = Root::open(folder).map_err(|error| cannot(&error))?;
    let action = FileActionCopy {
        src: format!("/{NAME}"),
        dest: "/".into(),
        mode: -1,
        timestamp: -1,
        attempt_unpack_docker_compatibility: true,
        create_dest_path: true,
        ..FileActionCopy::default()
    };
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let limits = Limits::default();
    fileop::copy(
        &source,
        &target,
        &action,
        Some(owner),
        &limits,
        &Stop::default(),
    )
    .map_err(|error| cannot(&error))?;
    // What is no archive is copied as it is.
    if folder.join(NAME).is_file() && std::fs::read_dir(folder).is_ok_and(|d| d.count() == 1) {
        return Err(cannot(&"it holds no tar archive"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_becomes_the_context_and_other_bytes_are_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o640);
        header.set_uid(12_345);
        builder
            .append_data(&mut header, "sub/file", &b"hi"[..])
            .unwrap();
        let bytes = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        unpack(bytes.as_slice(), folder.path()).unwrap();
        let file = folder.path().join("sub/file");
        assert_eq!(std::fs::read(&file).unwrap(), b"hi");
        let folder = tempfile::tempdir().unwrap();
        assert!(unpack(&b"not an archive"[..], folder.path()).is_err());
    }
}
