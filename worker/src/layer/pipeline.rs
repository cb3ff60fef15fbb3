//! Threads between which bytes flow, so that reading, hashing and writing overlap.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use bytes::Bytes;
use cooper_proto::{Algorithm, Digest};
use sha2::{Digest as _, Sha256};

const CHUNK_BYTES: usize = 1 << 18;
/// How many chunks wait between two threads at most.
const DEPTH: usize = 16;

/// Runs `consume` on what `source` gives while other threads read and hash it. Returns what
/// `consume` returned and the SHA-256 of the whole of `source`; `consume` reads to the end.
pub(super) fn read_and_hash<T, E: From<io::Error>>(
    source: Box<dyn Read + Send>,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
) -> Result<(T, Digest), E> {
    thread::scope(|scope| {
        let (to_consumer, from_source) = sync_channel::<io::Result<Bytes>>(DEPTH);
        let (to_hasher, for_hasher) = sync_channel::<Bytes>(DEPTH);
        scope.spawn(move || pump(source, &to_consumer, &to_hasher));
        let hasher = scope.spawn(move || hash(&for_hasher));
        let mut reader = Chunks {
            from_source,
            chunk: Bytes::new(),
        };
        let consumed = consume(&mut reader);
        // Stops the pump where the consumer stopped.
        drop(reader);
        let digest = hasher
            .join()
            .map_err(|_| io::Error::other("the hashing thread panicked"))?;
        Ok((consumed?, digest))
    })
}

fn pump(
    mut source: Box<dyn Read + Send>,
    to_consumer: &SyncSender<io::Result<Bytes>>,
    to_hasher: &SyncSender<Bytes>,
) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = source
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk);
        match read {
            Ok(0) => return,
            Ok(_) => {
                let chunk = Bytes::from(chunk);
                if to_hasher.send(chunk.clone()).is_err() || to_consumer.send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // The consumer tells; if it is gone, nobody asks.
                let _ = to_consumer.send(Err(error));
                return;
            }
        }
    }
}

fn hash(chunks: &Receiver<Bytes>) -> Digest {
    let mut hasher = Sha256::new();
    for chunk in chunks {
        hasher.update(&chunk);
    }
    finish(hasher)
}

fn finish(hasher: Sha256) -> Digest {
    Digest::new(Algorithm::Sha256, &hasher.finalize()).expect("a SHA-256 has 32 bytes")
}

struct Chunks {
    from_source: Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.from_source.recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(_) => return Ok(0),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}

/// Writes to `output` what `produce` writes, and hashes it on another thread.
pub(super) fn write_and_hash<T, E: From<io::Error>>(
    output: &mut dyn Write,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(T, Digest), E> {
    thread::scope(|scope| {
        let (to_hasher, for_hasher) = sync_channel::<Bytes>(DEPTH);
        let hasher = scope.spawn(move || hash(&for_hasher));
        let mut tee = Tee {
            output,
            to_hasher,
            chunk: Vec::with_capacity(CHUNK_BYTES),
        };
        let produced = produce(&mut tee).and_then(|it| {
            tee.send()?;
            Ok(it)
        });
        drop(tee);
        let digest = hasher
            .join()
            .map_err(|_| io::Error::other("the hashing thread panicked"))?;
        Ok((produced?, digest))
    })
}

struct Tee<'a> {
    output: &'a mut dyn Write,
    to_hasher: SyncSender<Bytes>,
    chunk: Vec<u8>,
}

impl Tee<'_> {
    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.output.write_all(&chunk)?;
        self.to_hasher
            .send(Bytes::from(chunk))
            .map_err(|_| io::Error::other("the hashing thread panicked"))
    }
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.chunk.len();
        let taken = room.min(bytes.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..2_000_003_u32).map(|it| (it % 255) as u8).collect()
    }

    #[test]
    fn what_is_read_is_what_was_hashed() {
        let (read, digest) = read_and_hash(Box::new(io::Cursor::new(bytes())), |input| {
            let mut read = Vec::new();
            input.read_to_end(&mut read)?;
            Ok::<_, io::Error>(read)
        })
        .unwrap();
        assert!(read == bytes());
        assert_eq!(digest, Digest::sha256_of(bytes()));
    }

    #[test]
    fn a_consumer_that_gives_up_stops_all_threads() {
        let endless = Box::new(io::repeat(7));
        let result = read_and_hash(endless, |input| {
            input.read_exact(&mut [0; 10])?;
            Err::<(), _>(io::Error::other("enough"))
        });
        assert_eq!(result.unwrap_err().to_string(), "enough");
    }

    #[test]
    fn what_is_written_is_what_was_hashed() {
        let mut out = Vec::new();
        let ((), digest) = write_and_hash(&mut out, |output| {
            bytes().chunks(1000).try_for_each(|it| output.write_all(it))
        })
        .unwrap();
        assert!(out == bytes());
        assert_eq!(digest, Digest::sha256_of(bytes()));
    }
}
