//! What registries send, and how images are named.

use cooper_core::model::CacheKeyId;
use cooper_core::ports::{InputKey, KeyQuery};
use cooper_core::remotecache::{Imported, IndexLimits};
use cooper_proto::Digest;
use cooper_proto::cache_config::CacheConfig;
use cooper_proto::oci::{Document, ImageConfig, media_type};
use cooper_proto::reference::Reference;

/// A cache of somebody else.
pub(crate) fn cache_import(data: &[u8]) {
    let _either = CacheConfig::parse_records(data);
    let Ok(config) = CacheConfig::parse(data) else {
        return;
    };
    let Ok(index) = Imported::new(&config, &IndexLimits::default()) else {
        return;
    };
    assert!(index.len() <= config.records.len());
    let op = Digest::sha256_of("op");
    let mut query = KeyQuery {
        op,
        output: 0,
        inputs: Vec::new(),
    };
    for key in index.lookup(&query).imported {
        let _found = index.results(&key);
    }
    query.inputs.push(vec![InputKey {
        key: CacheKeyId(Digest::sha256_of("key")),
        selector: None,
    }]);
    assert_eq!(index.lookup(&query).inputs_known.len(), 1);
}

/// A manifest or index; what can be read is written and read again.
pub(crate) fn image_document(data: &[u8]) {
    for said in [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_INDEX,
    ] {
        let Ok(document) = Document::parse(said, data) else {
            continue;
        };
        let _count = document.children().count();
        let written = match &document {
            Document::Manifest(manifest) => manifest.to_bytes(),
            Document::Index(index) => index.to_bytes(),
        };
        let written = written.expect("a document can be written");
        let again = Document::parse(said, &written);
        let again = again.expect("what we write can be read");
        assert_eq!(document, again);
    }
}

/// An image's configuration; what can be read is written and read again.
pub(crate) fn image_config(data: &[u8]) {
    if let Ok(config) = ImageConfig::parse(data) {
        let written = config.to_bytes().expect("a configuration can be written");
        let again = ImageConfig::parse(&written).expect("what we write can be read");
        let written_again = again.to_bytes().expect("a configuration can be written");
        assert_eq!(written, written_again);
    }
}

/// An image's name; what can be read is written and read again.
pub(crate) fn image_reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    for part in [reference.domain(), reference.path(), reference.host()] {
        assert!(!part.contains(char::is_control) && !part.contains(".."));
    }
    let again = reference.to_string().parse::<Reference>();
    assert_eq!(again.as_ref(), Ok(&reference));
    let familiar = reference.familiar().parse::<Reference>();
    assert_eq!(familiar.as_ref(), Ok(&reference));
}
