use cooper_core::model::{Failure, FailureKind, GitBundle, SessionId, redacted};
use cooper_proto::reference::Reference;
use cooper_proto::{Digest, pb};

use super::super::http::safe;
use super::super::number::parse_int;

const REGISTRY: &str = "docker-image+blob://";
const LAYOUT: &str = "oci-layout+blob://";

/// Attributes that begin so are ours to know.
const OURS: [&str; 3] = ["image.", "oci.", "http."];

/// Where a blob is, and which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct BlobPlace {
    /// The repository.
    pub(super) reference: Reference,
    pub(in crate::source) digest: Digest,
    /// The store of a client's that has it instead.
    pub(in crate::source) store: Option<String>,
    /// The session that has the store, if one is named.
    pub(in crate::source) session: Option<SessionId>,
}

impl BlobPlace {
    /// Reads an identifier. A layout's store is called as the repository until something else is said.
    ///
    /// # Errors
    /// `InvalidInput` for another scheme, and for a reference without a digest.
    pub(in crate::source) fn parse(identifier: &str) -> Result<Self, Failure> {
        let (text, is_layout) = match identifier.strip_prefix(REGISTRY) {
            Some(text) => (text, false),
            None => (
                identifier
                    .strip_prefix(LAYOUT)
                    .ok_or_else(|| invalid(&format!("{} is no blob", redacted(identifier))))?,
                true,
            ),
        };
        let unreadable = |why: &str| invalid(&format!("blob {}: {why}", redacted(identifier)));
        let reference: Reference = text
            .parse()
            .map_err(|error| unreadable(&format!("{error}")))?;
        let digest = reference.digest().cloned();
        let digest = digest.ok_or_else(|| unreadable("the reference has no digest"))?;
        let name = text.split('@').next().unwrap_or_default();
        Ok(Self {
            reference,
            digest,
            store: is_layout.then(|| name.to_owned()),
            session: None,
        })
    }
}

impl From<BlobPlace> for GitBundle {
    fn from(place: BlobPlace) -> Self {
        let reference = place.reference.to_string();
        Self {
            reference: reference.split('@').next().unwrap_or_default().to_owned(),
            digest: place.digest,
            local: place.store.is_some(),
        }
    }
}

impl std::fmt::Display for BlobPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reference)
    }
}

/// A blob that a source op wants as a file (parity sheet B3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlobWanted {
    pub(super) place: BlobPlace,
    /// The name as it was given, made safe; or empty.
    pub(super) filename: String,
    /// Permission bits as they were given, 0 for the default.
    pub(super) perm: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl BlobWanted {
    /// Reads a source op.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be read, `Unsupported` for an attribute that is not known.
    pub(super) fn of(op: &pb::Op) -> Result<Self, Failure> {
        let Some(pb::op::Op::Source(source)) = &op.op else {
            return Err(invalid("the op is no source"));
        };
        let mut wanted = Self {
            place: BlobPlace::parse(&source.identifier)?,
            filename: String::new(),
            perm: 0,
            uid: 0,
            gid: 0,
        };
        let is_layout = wanted.place.store.take().is_some();
        for (key, value) in &source.attrs {
            wanted.read(key, value, is_layout)?;
        }
        if is_layout && wanted.place.store.as_deref().unwrap_or_default().is_empty() {
            return Err(invalid("oci-layout blob source requires store id"));
        }
        Ok(wanted)
    }

    fn read(&mut self, key: &str, value: &str, is_layout: bool) -> Result<(), Failure> {
        let number =
            || parse_int(value).ok_or_else(|| invalid(&format!("{key} {value:?} is not a number")));
        let id = || {
            u32::try_from(number()?).map_err(|_| invalid(&format!("{key} {value:?} is not an id")))
        };
        match key {
            "http.filename" => self.filename = safe(value),
            "http.perm" => self.perm = number()?,
            "http.uid" => self.uid = id()?,
            "http.gid" => self.gid = id()?,
            // What kind of disk usage it is counted as; changes no byte.
            "image.recordtype" if matches!(value, "" | "regular" | "internal" | "frontend") => {}
            "image.recordtype" => return Err(invalid(&format!("invalid record type {value}"))),
            "oci.session" if is_layout => {
                self.place.session = (!value.is_empty()).then(|| SessionId(value.to_owned()));
            }
            "oci.store" if is_layout => self.place.store = Some(value.to_owned()),
            other if OURS.iter().any(|ours| other.starts_with(ours)) => {
                return Err(Failure::unsupported(format!(
                    "the attribute {other:?} of a blob"
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        match self.filename.as_str() {
            "" => self.place.digest.hex().to_owned(),
            name => name.to_owned(),
        }
    }

    /// Permission bits of the file.
    pub(super) fn mode(&self) -> u32 {
        match u32::try_from(self.perm & 0o777).unwrap_or_default() {
            0 if self.perm == 0 => 0o600,
            bits => bits,
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}
