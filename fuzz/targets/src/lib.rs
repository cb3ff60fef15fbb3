//! Fuzz targets: each takes any bytes, and must neither panic, nor take five seconds, nor two gigabytes.
//!
//! What a target asserts beyond that is in its own words. libFuzzer drives them (`scripts/fuzz`), and `tests/corpora.rs`
//! gives each the inputs that are kept in `fuzz/corpus`.

mod archives;
mod dockerfiles;
mod documents;
mod graphs;
mod listings;
mod packets;
mod pieces;
mod requests;
mod sources;

/// What takes bytes from others, by its name, which is its corpus's too.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("parser", dockerfiles::parser),
    ("heredoc", dockerfiles::heredoc),
    ("expansion", dockerfiles::expansion),
    ("ignore_patterns", dockerfiles::ignore_patterns),
    ("convert", dockerfiles::convert),
    ("practices", dockerfiles::practices),
    ("definition", graphs::definition),
    ("graph", graphs::graph),
    ("source_policy", graphs::source_policy),
    ("request", requests::request),
    ("packets", packets::packets),
    ("cache_import", documents::cache_import),
    ("image_document", documents::image_document),
    ("image_config", documents::image_config),
    ("image_reference", documents::image_reference),
    ("git_reference", sources::git_reference),
    ("http_file_name", sources::http_file_name),
    ("registry_challenge", sources::registry_challenge),
    ("signature", sources::signature),
    ("archive_apply", archives::apply),
    ("archive_headers", archives::headers),
    ("decompress", archives::decompress),
];
