use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{StatementChain, StatementQuery};
use cooper_proto::Digest;
use cooper_proto::oci::{Descriptor, Document, Index, Manifest, media_type};

use super::identifier::Wanted;
use super::image_resolve::{Located, Origin, RegistryDocuments, Resolver};
use crate::images::{Documents, StoredDocuments, parse};
use cooper_core::model::SessionId;

/// Annotations of a manifest of statements in an index: that it is one, and of which image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// Annotation with the type of a statement's predicate.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

impl Resolver {
    /// What an image's index says of the image for a platform; `None` for an image without an index.
    ///
    /// # Errors
    /// As [`Self::locate`].
    pub(super) async fn statements(
        &self,
        query: &StatementQuery,
        sessions: &[SessionId],
    ) -> Result<Option<StatementChain>, Failure> {
        let wanted = Wanted::of_query(&query.image)?;
        if wanted.layout_store().is_some() {
            return Err(Failure::unsupported(
                "the attestations of an image in an OCI layout",
            ));
        }
        let located = self.locate(&wanted, sessions).await?;
        let stored;
        let registry;
        let documents: &dyn Documents = match &located.origin {
            Origin::Registry(repository) => {
                registry = RegistryDocuments {
                    resolver: self,
                    repository,
                };
                &registry
            }
            Origin::Local | Origin::Layout | Origin::ClientLayout => {
                stored = StoredDocuments::new(self.images.content(), self.images.limits());
                &stored
            }
        };
        chain(documents, &located, &query.predicate_types).await
    }
}

async fn chain(
    documents: &dyn Documents,
    located: &Located,
    predicate_types: &[String],
) -> Result<Option<StatementChain>, Failure> {
    let root = &located.tree.root;
    if root.media_type != media_type::OCI_INDEX {
        return Ok(None);
    }
    let bytes = documents.document(root).await?;
    let Document::Index(index) = parse(root, &bytes)? else {
        return Ok(None);
    };
    let image = &located.tree.descriptor.digest;
    let mut chain = StatementChain {
        root: root.digest.clone(),
        image: image.clone(),
        statements: None,
        blobs: BTreeMap::new(),
    };
    add(&mut chain, root, bytes);
    let Some(said) = about(&index, image) else {
        return Ok(Some(chain));
    };
    let bytes = documents.document(said).await?;
    let manifest = Manifest::parse(&said.media_type, &bytes)
        .map_err(|error| invalid(&format!("attestations {}: {error}", said.digest)))?;
    chain.statements = Some(said.digest.clone());
    add(&mut chain, said, bytes);
    let is_wanted = |statement: &&Descriptor| {
        let kind = statement.annotations.get(PREDICATE_TYPE);
        kind.is_some_and(|kind| predicate_types.contains(kind))
    };
    for statement in manifest.layers.iter().filter(is_wanted) {
        let bytes = documents.document(statement).await?;
        add(&mut chain, statement, bytes);
    }
    Ok(Some(chain))
}

fn add(chain: &mut StatementChain, descriptor: &Descriptor, bytes: Bytes) {
    let blob = (descriptor.clone(), bytes);
    chain.blobs.insert(descriptor.digest.clone(), blob);
}

/// The manifest of statements about an image.
fn about<'a>(index: &'a Index, image: &Digest) -> Option<&'a Descriptor> {
    index.manifests.iter().find(|it| {
        let annotation = |key: &str| it.annotations.get(key).map(String::as_str);
        annotation(REFERENCE_TYPE) == Some("attestation-manifest")
            && annotation(REFERENCE_DIGEST) == Some(image.as_str())
    })
}

fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_of_the_image_that_they_name() {
        let manifest = |name: &str, of: &str| {
            let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, name.as_bytes());
            if !of.is_empty() {
                descriptor.annotations.extend([
                    (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned()),
                    (
                        REFERENCE_DIGEST.to_owned(),
                        Digest::sha256_of(of).to_string(),
                    ),
                ]);
            }
            descriptor
        };
        let all = vec![
            manifest("one", ""),
            manifest("other", ""),
            manifest("about other", "other"),
            manifest("about one", "one"),
        ];
        let index = Index::new(media_type::OCI_INDEX, all.clone());
        let found = |name: &str| about(&index, &Digest::sha256_of(name)).cloned();
        assert_eq!(found("one"), Some(all[3].clone()));
        assert_eq!(found("other"), Some(all[2].clone()));
        assert_eq!(found("third"), None);
    }
}
