use cooper_core::model::{Failure, Material, Pin, ResultId};
use cooper_core::ports::{Events, OpRequest, SourceKey, SourceKeyRequest};
use cooper_proto::{Digest, oci, pb};
use serde::Serialize;

use super::super::landing::{Arriving, Form, receive};
use super::offers::{Blobs, nobody};
use super::wanted::BlobWanted;
use crate::confine::Owner;
use crate::limits::Limits;
use crate::snapshot::Snapshots;

/// Single blobs of registries and of clients' OCI layouts, each as a file.
#[derive(Clone)]
pub struct BlobSource {
    snapshots: Snapshots,
    limits: Limits,
    blobs: Blobs,
}

impl BlobSource {
    /// Blobs, kept as files of results.
    pub(crate) fn new(snapshots: &Snapshots, limits: &Limits, blobs: Blobs) -> Self {
        Self {
            snapshots: snapshots.clone(),
            limits: limits.clone(),
            blobs,
        }
    }

    /// The key of a blob: of its digest and of how the file is to look. Nobody is asked for it.
    ///
    /// # Errors
    /// `InvalidInput` for a reference without a digest and for attributes that cannot be read.
    pub fn key(&self, request: &SourceKeyRequest) -> Result<SourceKey, Failure> {
        let wanted = BlobWanted::of(&request.op)?;
        let mut pin = Pin::default();
        let digest = wanted.place.digest.to_string();
        pin.0.insert(String::from("digest"), digest);
        Ok(SourceKey {
            key: key(&wanted).to_string(),
            pin,
            more: false,
        })
    }

    /// Makes a result with the blob in its root, pinned once.
    ///
    /// # Errors
    /// `NotFound` when nobody has it; `InvalidInput` for bytes that do not have its digest.
    ///
    /// # Cancel
    /// Dropped, it leaves nothing.
    pub async fn run(
        &self,
        request: &OpRequest,
        events: &Events,
    ) -> Result<Vec<ResultId>, Failure> {
        let wanted = BlobWanted::of(&request.op)?;
        let mut offers = self.blobs.offers(&wanted.place, &request.sessions).await?;
        let mut failure = nobody(&wanted.place);
        while let Some(offer) = offers.next().await {
            let landed = match offer {
                Ok(mut bytes) => {
                    let arriving = Arriving {
                        bytes: bytes.as_mut(),
                        total: 0,
                        is_gzip: false,
                    };
                    let kept = (&self.snapshots, &self.limits);
                    receive(kept, arriving, form(&wanted), events).await
                }
                Err(failure) => Err(failure),
            };
            match landed {
                Ok(landed) => return Ok(vec![landed.pin.again()]),
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }
}

fn form(wanted: &BlobWanted) -> Form {
    Form {
        name: wanted.name(),
        mode: wanted.mode(),
        owner: Owner {
            uid: wanted.uid,
            gid: wanted.gid,
        },
        modified: 0,
        expected: Some(wanted.place.digest.clone()),
        description: format!("blob {}", wanted.place),
    }
}

/// What a single blob brought into a build.
pub(crate) fn blob_material(op: &pb::Op, pin: &Pin) -> Option<Material> {
    let Some(pb::op::Op::Source(source)) = &op.op else {
        return None;
    };
    let (scheme, reference) = source.identifier.split_once("://")?;
    Some(Material::ImageBlob {
        reference: reference.to_owned(),
        digest: pin.0.get("digest")?.parse().ok()?,
        local: scheme.starts_with("oci-layout"),
    })
}

/// What BuildKit digests for a blob, in its order and spelling (parity sheet B3).
fn key(wanted: &BlobWanted) -> Digest {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Key<'a> {
        digest: &'a str,
        filename: &'a str,
        perm: i64,
        #[serde(rename = "UID")]
        uid: u32,
        #[serde(rename = "GID")]
        gid: u32,
    }
    let key = Key {
        digest: wanted.place.digest.as_str(),
        filename: &wanted.filename,
        perm: wanted.perm,
        uid: wanted.uid,
        gid: wanted.gid,
    };
    let json = oci::to_json(&key).expect("strings and numbers are always written");
    Digest::sha256_of(json)
}
