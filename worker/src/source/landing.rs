use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use cooper_core::model::{Failure, FailureKind, OpEvent, ResultId, Status};
use cooper_core::ports::{ChunkSource, Events};
use cooper_proto::Digest;
use flate2::write::MultiGzDecoder;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::confine::{Last, Owner, Time};
use crate::limits::Limits;
use crate::meta::Pin;
use crate::snapshot::{SnapshotError, Snapshots, Writer};

/// How much is gathered before it is written.
const BATCH: usize = 1 << 20;

/// Bytes on their way here.
pub(super) struct Arriving<'a> {
    pub(super) bytes: &'a mut dyn ChunkSource,
    /// How many there are, 0 when not known.
    pub(super) total: u64,
    /// Whether they are compressed for the way only.
    pub(super) is_gzip: bool,
}

/// What a file is to look like.
pub(super) struct Form {
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    /// Seconds since 1970.
    pub(super) modified: i64,
    /// What its bytes must be.
    pub(super) expected: Option<Digest>,
    /// What the result is called.
    pub(super) description: String,
}

/// A file that arrived.
pub(super) struct Received {
    pub(super) pin: Pin,
    /// Its sha256.
    pub(super) digest: Digest,
}

/// Makes a result of one file. Dropped before its end, nothing is kept.
///
/// # Errors
/// `InvalidInput` when the bytes are not what was expected, or too many.
pub(super) async fn receive(
    (snapshots, limits): (&Snapshots, &Limits),
    arriving: Arriving<'_>,
    form: Form,
    events: &Events,
) -> Result<Received, Failure> {
    let Arriving {
        bytes,
        total,
        is_gzip,
    } = arriving;
    let mut progress = Progress {
        id: format!("downloading {}", form.name),
        current: 0,
        total,
        events,
    };
    let (kept, most) = (snapshots.clone(), limits.download_bytes);
    let mut landing = blocking(move || Landing::begin(&kept, form, is_gzip, most)).await?;
    let mut batch = BytesMut::new();
    progress.say(false);
    while let Some(chunk) = bytes.receive().await? {
        batch.extend_from_slice(&chunk);
        if batch.len() >= BATCH {
            progress.add(batch.len());
            landing = landing.write(batch.split().freeze()).await?;
        }
    }
    progress.add(batch.len());
    landing = landing.write(batch.freeze()).await?;
    let snapshots = snapshots.clone();
    let received = blocking(move || landing.finish(&snapshots)).await?;
    progress.say(true);
    Ok(received)
}

struct Progress<'a> {
    id: String,
    current: u64,
    total: u64,
    events: &'a Events,
}

impl Progress<'_> {
    fn add(&mut self, bytes: usize) {
        self.current += bytes as u64;
        self.say(false);
    }

    fn say(&self, completed: bool) {
        self.events.emit(OpEvent::Status(Status {
            id: self.id.clone(),
            current: self.current,
            total: self.total,
            completed,
            ..Status::default()
        }));
    }
}

/// A file that is arriving.
struct Landing {
    sink: Sink,
    writer: Writer,
    form: Form,
}

enum Sink {
    Plain(Hashed),
    Gzip(Box<MultiGzDecoder<Hashed>>),
}

impl Landing {
    fn begin(snapshots: &Snapshots, form: Form, gzip: bool, most: u64) -> Result<Self, Failure> {
        let writer = snapshots.writer(&ResultId::scratch()).map_err(kept)?;
        let root = writer.root().map_err(kept)?;
        let file = root.create_file(Path::new(&form.name), 0o600);
        let file = Hashed::new(
            file.map_err(SnapshotError::from).map_err(kept)?,
            most,
            &form,
        );
        let sink = match gzip {
            true => Sink::Gzip(Box::new(MultiGzDecoder::new(file))),
            false => Sink::Plain(file),
        };
        Ok(Self { sink, writer, form })
    }

    async fn write(mut self, bytes: Bytes) -> Result<Self, Failure> {
        blocking(move || {
            let written = match &mut self.sink {
                Sink::Plain(file) => file.write_all(&bytes),
                Sink::Gzip(decoder) => decoder.write_all(&bytes),
            };
            written.map_err(|error| write_failure(&self.form.name, &error))?;
            Ok(self)
        })
        .await
    }

    fn finish(self, snapshots: &Snapshots) -> Result<Received, Failure> {
        let hashed = match self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(decoder) => decoder
                .finish()
                .map_err(|error| write_failure(&self.form.name, &error))?,
        };
        let digest = hashed.end(self.form.expected.as_ref())?;
        let dress = || {
            let root = self.writer.root()?;
            let node = root.resolve(Path::new(&self.form.name), Last::NoFollow)?;
            node.set_owner(self.form.owner)?;
            node.set_mode(self.form.mode)?;
            let time = Time {
                seconds: self.form.modified,
                nanos: 0,
            };
            node.set_times(time, time)?;
            Ok::<_, SnapshotError>(())
        };
        dress().map_err(kept)?;
        let result = self.writer.commit(&self.form.description).map_err(kept)?;
        let pins = snapshots.meta().pins();
        let pin = pins.hold(&result);
        // The guard has it from here on.
        pins.unpin(&result);
        Ok(Received { pin, digest })
    }
}

/// A file that knows its digests and its bound.
struct Hashed {
    file: File,
    sha256: Sha256,
    other: Other,
    left: u64,
}

/// A digest of another kind, when one is expected.
enum Other {
    None,
    Sha384(Box<Sha384>),
    Sha512(Box<Sha512>),
}

impl Hashed {
    fn new(file: File, most: u64, form: &Form) -> Self {
        use cooper_proto::Algorithm;
        let expected = form.expected.as_ref().map(Digest::algorithm);
        Self {
            file,
            sha256: Sha256::new(),
            other: match expected {
                Some(Algorithm::Sha384) => Other::Sha384(Box::default()),
                Some(Algorithm::Sha512) => Other::Sha512(Box::default()),
                Some(Algorithm::Sha256) | None => Other::None,
            },
            left: most,
        }
    }

    /// The sha256, once the bytes are known to be what was expected.
    fn end(self, expected: Option<&Digest>) -> Result<Digest, Failure> {
        use cooper_proto::Algorithm;
        let of = |algorithm, hash: &[u8]| {
            Digest::new(algorithm, hash).expect("a hash has its algorithm's length")
        };
        let sha256 = of(Algorithm::Sha256, &self.sha256.finalize());
        let actual = match self.other {
            Other::None => sha256.clone(),
            Other::Sha384(hash) => of(Algorithm::Sha384, &hash.finalize()),
            Other::Sha512(hash) => of(Algorithm::Sha512, &hash.finalize()),
        };
        match expected {
            Some(expected) if *expected != actual => Err(mismatch(&actual, expected)),
            _ => Ok(sha256),
        }
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TOO_LARGE));
        }
        let written = self.file.write(bytes)?;
        let bytes = &bytes[..written];
        self.left -= written as u64;
        self.sha256.update(bytes);
        match &mut self.other {
            Other::None => {}
            Other::Sha384(hash) => hash.update(bytes),
            Other::Sha512(hash) => hash.update(bytes),
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

const TOO_LARGE: &str = "the file is larger than what is downloaded may be";

/// Bytes that are not the ones that somebody vouched for, in BuildKit's words.
fn mismatch(actual: &Digest, expected: &Digest) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!("digest mismatch {actual}: {expected}"),
    )
}

fn write_failure(name: &str, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            FailureKind::InvalidInput
        }
        _ => FailureKind::Infrastructure,
    };
    Failure::new(kind, format!("receiving {name}: {error}"))
}

pub(super) fn kept(error: SnapshotError) -> Failure {
    Failure::new(FailureKind::Infrastructure, error.to_string())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::new(FailureKind::Internal, error.to_string())))
}
