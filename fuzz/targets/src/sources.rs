//! Sources that are named by others, and what servers answer.

use std::path::{Component, Path};

use cooper_worker::source::untrusted;

/// An address, or attributes and an address: what git is given must not be an option, nor have a password.
pub(crate) fn git_reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let identifier = lines.next_back().unwrap_or_default();
    let attributes = lines.filter_map(|line| line.split_once('='));
    let Some(git) = untrusted::git_source(identifier, attributes) else {
        return;
    };
    for argument in [&git.remote, &git.reference, &git.checksum] {
        assert!(!argument.starts_with(['-', '+']), "an option: {argument:?}");
        assert!(
            !argument.contains(char::is_control),
            "a control character: {argument:?}"
        );
    }
    assert!(is_inside(&git.subdir), "leads out: {:?}", git.subdir);
}

/// Lines: an address, the name asked for, the server's header. Whatever they are, the file has one name in its folder.
pub(crate) fn http_file_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let url = lines.next().unwrap_or_default();
    let wanted = lines.next().unwrap_or_default();
    if let Some(name) = untrusted::http_file_name(url, wanted, lines.next()) {
        let mut parts = Path::new(&name).components();
        assert!(
            matches!(parts.next(), Some(Component::Normal(part)) if *part == *name),
            "no name: {name:?}"
        );
        assert!(!name.contains(char::is_control), "{name:?}");
    }
}

/// What a registry asks for.
pub(crate) fn registry_challenge(data: &[u8]) {
    untrusted::registry_challenges(data);
}

/// The length of a signature, the signature, keys.
pub(crate) fn signature(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (signature, keys) = rest.split_at(length);
    // Whose keys are chosen freely can make some that fit anything: what is said does not count.
    let _said = untrusted::is_signed(b"what is signed", signature, keys);
}

fn is_inside(folder: &str) -> bool {
    Path::new(folder)
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
}
