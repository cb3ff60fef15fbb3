use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use cooper_core::model::{
    Failure, FailureKind, JobId, Material, Pin as Pinned, ResultId, SessionId, redacted,
};
use cooper_core::ports::{
    ChecksumAlgorithm, ChecksumRequest, Events, HttpMeta, OpRequest, Sessions, SourceKey,
    SourceKeyRequest, SourceQuery,
};
use cooper_proto::{Digest, pb};
use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_DISPOSITION, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED,
};
use sha2::{Sha256, Sha384, Sha512};

use super::exchange::{Answer, Exchange};
use super::file_name::file_name;
use super::key::{key, request_id};
use super::seen::{Held, Seen, answers, remember};
use super::wanted::HttpWanted;
use crate::clock::now_ns;
use crate::confine::Owner;
use crate::limits::Limits;
use crate::meta::Pin;
use crate::signature::verify_pgp;
use crate::snapshot::Snapshots;
use crate::source::builds::Builds;
use crate::source::landing::{Form, Received, blocking, kept, receive};
use crate::source::request::{Asker, source_of};

/// The longest `ETag` that is remembered, in bytes.
const ETAG_BYTES: usize = 1024;

const DIGEST: &str = "digest";
const RESULT: &str = "result";

/// Files by URL as inputs of builds.
///
/// # Model
/// Without a checksum in the source, a file is fetched when its key is asked for; the answer is remembered with its
/// `ETag`, and asked for again by that. Within one build a URL is looked at once.
#[derive(Clone)]
pub struct HttpSource {
    snapshots: Snapshots,
    limits: Limits,
    exchange: Exchange,
    builds: Builds<Resolved>,
}

/// What a URL was found to be.
#[derive(Debug)]
struct Resolved {
    digest: Digest,
    filename: String,
    /// The server's `Last-Modified` as HTTP writes dates.
    modified: Option<String>,
    /// The file, when it was fetched.
    file: Option<Pin>,
}

impl HttpSource {
    /// Files by URL, fetched from this machine.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub fn new(
        snapshots: &Snapshots,
        limits: &Limits,
        sessions: Arc<dyn Sessions>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            snapshots: snapshots.clone(),
            limits: limits.clone(),
            exchange: Exchange::new(sessions)?,
            builds: Builds::default(),
        })
    }

    /// The key of a file: of its name, its bytes and how it is to look.
    ///
    /// # Errors
    /// `NotFound`, `Denied` or `Infrastructure` as the server answers; `InvalidInput` for bytes other than the
    /// source's checksum or signature says.
    pub async fn key(
        &self,
        request: &SourceKeyRequest,
        events: &Events,
    ) -> Result<SourceKey, Failure> {
        let wanted = HttpWanted::of(source_of(&request.op)?)?;
        let asker = Asker::of_key(request, events);
        let resolved = self.resolve(&wanted, asker, false).await?;
        let mut pin = Pinned::default();
        pin.0.insert(DIGEST.into(), resolved.digest.to_string());
        if let Some(file) = &resolved.file {
            pin.0.insert(RESULT.into(), file.result().0.clone());
        }
        let modified = resolved.modified.as_deref();
        Ok(SourceKey {
            key: key(&wanted, &resolved.filename, &resolved.digest, modified).to_string(),
            pin,
            more: false,
        })
    }

    /// Makes a result with the file in its root, pinned once.
    ///
    /// # Errors
    /// As [`Self::key`].
    pub async fn run(
        &self,
        request: &OpRequest,
        events: &Events,
    ) -> Result<Vec<ResultId>, Failure> {
        let wanted = HttpWanted::of(source_of(&request.op)?)?;
        let asker = Asker::of_run(request, events);
        let pin = request.pin.as_ref();
        let pinned = |name: &str| pin.and_then(|pin| pin.0.get(name));
        let expected = pinned(DIGEST).map(|text| text.parse::<Digest>());
        let expected = expected
            .transpose()
            .map_err(|error| Failure::new(FailureKind::Internal, format!("a file's pin: {error}")))?
            .or_else(|| wanted.checksum.clone());
        if let Some(result) = pinned(RESULT).map(|id| ResultId(id.clone()))
            && let Some(held) = self.held(&result)
        {
            return Ok(vec![held.again()]);
        }
        let place = self.builds.place(asker.build, &request_id(&wanted));
        let known = place.lock().await.clone();
        if let Some(file) = known.as_ref().and_then(|it| it.file.as_ref())
            && known.as_ref().map(|it| &it.digest) == expected.as_ref()
        {
            return Ok(vec![file.again()]);
        }
        let asked = self.exchange.ask(Method::GET, &wanted, &[], asker.sessions);
        let mut answer = asked.await?.with_file(&wanted)?;
        let received = self.take(&wanted, &mut answer, expected, events).await?;
        let name = self.name(&wanted, &answer);
        self.verify(&wanted, &received.pin, &name).await?;
        Ok(vec![received.pin.again()])
    }

    /// What a file by URL is, for frontends.
    ///
    /// # Errors
    /// As [`Self::key`].
    pub async fn meta(
        &self,
        query: &SourceQuery,
        sessions: &[SessionId],
        events: &Events,
    ) -> Result<HttpMeta, Failure> {
        let wanted = HttpWanted::of(&query.source)?;
        let asker = Asker::of_query(query, sessions, events);
        let resolved = self
            .resolve(&wanted, asker, query.checksum.is_some())
            .await?;
        let checksum = match (&query.checksum, &resolved.file) {
            (Some(asked), Some(file)) => {
                Some(self.checksum(file, &resolved.filename, asked).await?)
            }
            _ => None,
        };
        let modified = resolved.modified.as_deref();
        Ok(HttpMeta {
            digest: resolved.digest.clone(),
            filename: resolved.filename.clone(),
            last_modified: modified.and_then(seconds),
            checksum,
        })
    }

    /// Forgets what a build saw.
    pub fn end_build(&self, build: &JobId) {
        self.builds.end(build);
    }

    /// What a URL is now, or was when the build first looked. A source that says its checksum is believed until its file
    /// is needed.
    async fn resolve(
        &self,
        wanted: &HttpWanted,
        asker: Asker<'_>,
        needs_file: bool,
    ) -> Result<Arc<Resolved>, Failure> {
        // A signature is over the bytes, whatever else is known of them.
        let needs_file = needs_file || wanted.signature.is_some();
        if let Some(checksum) = &wanted.checksum
            && !needs_file
        {
            return Ok(Arc::new(Resolved {
                digest: checksum.clone(),
                filename: file_name(&wanted.url, &wanted.filename, None),
                modified: None,
                file: None,
            }));
        }
        let place = self.builds.place(asker.build, &request_id(wanted));
        let mut place = place.lock().await;
        let resolved = match &*place {
            Some(known) => Arc::clone(known),
            None => Arc::new(self.look(wanted, asker).await?),
        };
        *place = Some(Arc::clone(&resolved));
        match (&wanted.signature, &resolved.file) {
            (None, _) => {}
            (Some(_), Some(file)) => self.verify(wanted, file, &resolved.filename).await?,
            (Some(_), None) => {
                return Err(Failure::new(
                    FailureKind::Internal,
                    "there is no file to verify the signature of",
                ));
            }
        }
        match &wanted.checksum {
            Some(expected) if *expected != resolved.digest => Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "digest mismatch for {}: {} (expected: {expected})",
                    wanted.shown(),
                    resolved.digest
                ),
            )),
            _ => Ok(resolved),
        }
    }

    /// Asks the server, by the answers that are remembered where there are some.
    async fn look(&self, wanted: &HttpWanted, asker: Asker<'_>) -> Result<Resolved, Failure> {
        let request = request_id(wanted);
        let meta = self.snapshots.meta().clone();
        let known = if wanted.is_upload() {
            Vec::new()
        } else {
            let request = request.clone();
            blocking(move || answers(&meta, &request)).await?
        };
        let condition = condition(&known);
        if !condition.is_empty() {
            // Some servers give ETags and do not understand If-None-Match with GET, so HEAD comes first and the
            // comparison is ours. What goes wrong here goes wrong again below.
            let head = self
                .exchange
                .ask(Method::HEAD, wanted, &condition, asker.sessions);
            if let Ok(answer) = head.await
                && matches!(answer.status, StatusCode::OK | StatusCode::NOT_MODIFIED)
                && let Some(held) = same(&answer, &known)
            {
                return Ok(resolved(held, self.snapshots.meta().pins()));
            }
        }
        let asked = self
            .exchange
            .ask(Method::GET, wanted, &condition, asker.sessions);
        let mut answer = asked.await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            let held = same(&answer, &known).ok_or_else(|| {
                let etag = answer.header(ETAG).unwrap_or_default();
                let told = format!("invalid not-modified ETag: {etag}");
                Failure::new(FailureKind::Infrastructure, told)
            })?;
            return Ok(resolved(held, self.snapshots.meta().pins()));
        }
        answer = answer.with_file(wanted)?;
        let received = self
            .take(wanted, &mut answer, wanted.checksum.clone(), asker.events)
            .await?;
        let found = Resolved {
            digest: received.digest,
            filename: self.name(wanted, &answer),
            modified: modified(&answer),
            file: Some(received.pin),
        };
        let etag = answer.header(ETAG).map(|etag| strong(etag).to_owned());
        self.remember(&request, etag, &found).await?;
        Ok(found)
    }

    async fn remember(
        &self,
        request: &str,
        etag: Option<String>,
        found: &Resolved,
    ) -> Result<(), Failure> {
        let (Some(etag), Some(file)) = (etag, &found.file) else {
            return Ok(());
        };
        if etag.is_empty() || etag.len() > ETAG_BYTES {
            return Ok(());
        }
        let seen = Seen {
            digest: found.digest.clone(),
            filename: found.filename.clone(),
            modified: found.modified.clone(),
            result: file.result().0.clone(),
            created_ns: now_ns(),
        };
        let (meta, request) = (self.snapshots.meta().clone(), request.to_owned());
        blocking(move || remember(&meta, &request, &etag, &seen)).await
    }

    async fn take(
        &self,
        wanted: &HttpWanted,
        answer: &mut Answer,
        expected: Option<Digest>,
        events: &Events,
    ) -> Result<Received, Failure> {
        let form = Form {
            name: self.name(wanted, answer),
            mode: wanted.mode(),
            owner: Owner {
                uid: wanted.uid,
                gid: wanted.gid,
            },
            modified: modified(answer).as_deref().and_then(seconds).unwrap_or(0),
            expected,
            description: format!("http url {}", wanted.shown()),
        };
        let arriving = answer.arriving();
        receive((&self.snapshots, &self.limits), arriving, form, events).await
    }

    fn name(&self, wanted: &HttpWanted, answer: &Answer) -> String {
        let disposition = answer.header(CONTENT_DISPOSITION);
        file_name(&wanted.url, &wanted.filename, disposition)
    }

    /// A result that is still here.
    fn held(&self, result: &ResultId) -> Option<Pin> {
        let meta = self.snapshots.meta();
        let pin = meta.pins().hold(result);
        meta.result(result).is_ok().then_some(pin)
    }

    /// Checks the signature that the file must have, if there is one.
    async fn verify(&self, wanted: &HttpWanted, file: &Pin, name: &str) -> Result<(), Failure> {
        let Some(signature) = wanted.signature.clone() else {
            return Ok(());
        };
        let (snapshots, result) = (self.snapshots.clone(), file.result().clone());
        let (name, shown) = (name.to_owned(), wanted.shown());
        let now = now_ns() / 1_000_000_000;
        blocking(move || {
            let root = snapshots.view(&result).and_then(|view| Ok(view.root()?));
            let file = root
                .map_err(kept)?
                .open_read(Path::new(&name))
                .map_err(|error| kept(error.into()))?;
            let (signature, keys) = (signature.signature.as_bytes(), signature.keys.as_bytes());
            verify_pgp(file, signature, keys, false, now).map_err(|error| {
                let mut failure = Failure::from(error);
                let said = &failure.message;
                failure.message = format!("failed to verify pgp signature of {shown}: {said}");
                failure
            })
        })
        .await
    }

    /// A digest over the file and a suffix.
    async fn checksum(
        &self,
        file: &Pin,
        name: &str,
        asked: &ChecksumRequest,
    ) -> Result<String, Failure> {
        let (snapshots, result) = (self.snapshots.clone(), file.result().clone());
        let (name, asked) = (name.to_owned(), asked.clone());
        blocking(move || {
            let root = snapshots.view(&result).and_then(|view| Ok(view.root()?));
            let root = root.map_err(kept)?;
            let mut file = root
                .open_read(Path::new(&name))
                .map_err(|error| kept(error.into()))?;
            let hash = match asked.algorithm {
                ChecksumAlgorithm::Sha256 => hashed::<Sha256>("sha256", &mut file, &asked.suffix),
                ChecksumAlgorithm::Sha384 => hashed::<Sha384>("sha384", &mut file, &asked.suffix),
                ChecksumAlgorithm::Sha512 => hashed::<Sha512>("sha512", &mut file, &asked.suffix),
            };
            hash.map_err(|error| {
                Failure::new(
                    FailureKind::Infrastructure,
                    format!("reading {name}: {error}"),
                )
            })
        })
        .await
    }
}

fn hashed<D: sha2::Digest>(
    name: &str,
    file: &mut impl Read,
    suffix: &[u8],
) -> std::io::Result<String> {
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    hash.update(suffix);
    Ok(format!("{name}:{}", hex::encode(hash.finalize())))
}

/// The condition under which the server need not send the file.
fn condition(known: &[Held]) -> Vec<(HeaderName, HeaderValue)> {
    let etags: Vec<&str> = known.iter().map(|held| held.etag.as_str()).collect();
    if etags.is_empty() {
        return Vec::new();
    }
    HeaderValue::from_str(&etags.join(", "))
        .map(|value| vec![(IF_NONE_MATCH, value)])
        .unwrap_or_default()
}

/// The remembered answer that this one says is still right.
fn same<'a>(answer: &Answer, known: &'a [Held]) -> Option<&'a Held> {
    let etag = answer.header(ETAG).map(strong).unwrap_or_default();
    match (etag, known) {
        // Asked about one ETag, some servers leave it out of the answer.
        ("", [only]) if answer.status == StatusCode::NOT_MODIFIED => Some(only),
        ("", _) => None,
        (etag, known) => known.iter().find(|held| held.etag == etag),
    }
}

/// An ETag without the sign that it is weak.
fn strong(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

/// What a file by URL brought into a build.
pub(crate) fn http_material(op: &pb::Op, pin: &Pinned) -> Option<Material> {
    let source = source_of(op).ok()?;
    Some(Material::Http {
        url: redacted(&source.identifier).into_owned(),
        digest: pin.0.get(DIGEST)?.parse().ok()?,
    })
}

fn resolved(held: &Held, pins: &crate::meta::Pins) -> Resolved {
    Resolved {
        digest: held.seen.digest.clone(),
        filename: held.seen.filename.clone(),
        modified: held.seen.modified.clone(),
        file: Some(pins.hold(held.pin.result())),
    }
}

/// The server's date in the one form in which it enters keys.
fn modified(answer: &Answer) -> Option<String> {
    // Go's servers write the zone of their old form of dates as UTC, and Go's clients read it.
    let date = answer.header(LAST_MODIFIED)?.replace(" UTC", " GMT");
    let date = httpdate::parse_http_date(&date).ok()?;
    Some(httpdate::fmt_http_date(date))
}

fn seconds(date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(date).ok()?;
    let since = since.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
