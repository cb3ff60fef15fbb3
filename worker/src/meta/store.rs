use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

use super::{MetaError, Pins, database::OpenDatabase};

/// A table of one kind of record: text to versioned bytes.
pub(super) type Records = TableDefinition<'static, &'static str, &'static [u8]>;

/// How many changes one transaction takes at most, so that the first does not wait long.
const GROUP: usize = 256;

/// How long is waited before a change is tried again that the disk did not take. The writer waits, so that who comes
/// after does not overtake; a disk that stays full or broken is reported after this.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(250),
];

/// A write transaction, as a change sees it.
pub struct Tables<'a> {
    transaction: &'a WriteTransaction,
}

impl Tables<'_> {
    pub(crate) const fn transaction(&self) -> &WriteTransaction {
        self.transaction
    }
}

/// A change: run once, or again alone when another change in its group fails.
type Change = Box<dyn FnMut(&Tables<'_>) -> Result<(), MetaError> + Send>;

/// Where a change leaves its value for who asked for it.
struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    fn take(self) -> T {
        self.0
            .lock()
            .take()
            .expect("a change that succeeded left its value")
    }
}

enum Reply {
    Blocking(mpsc::SyncSender<Result<(), MetaError>>),
    Async(oneshot::Sender<Result<(), MetaError>>),
}

impl Reply {
    fn send(self, result: Result<(), MetaError>) {
        // Who no longer waits does not want to know.
        match self {
            Self::Blocking(sender) => drop(sender.send(result)),
            Self::Async(sender) => drop(sender.send(result)),
        }
    }
}

struct Request {
    change: Change,
    reply: Reply,
}

/// The metadata store of one state folder. Clones are the same store.
#[derive(Clone)]
pub struct Meta {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<OpenDatabase>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<thread::JoinHandle<()>>,
    pins: Pins,
}

impl Meta {
    /// Opens the store in `file`, or makes it. After a crash this repairs what redb left
    /// and loses nothing that was acknowledged. A file that is damaged is set aside.
    ///
    /// # Errors
    /// When the file cannot be opened, is no store of ours, or another process has it open.
    pub fn open(file: &Path) -> Result<Self, MetaError> {
        let database = Arc::new(OpenDatabase::open(file)?);
        let (sender, receiver) = mpsc::channel();
        let for_writer = Arc::clone(&database);
        let writer = thread::Builder::new()
            .name(String::from("meta-writer"))
            .spawn(move || write_in_groups(&for_writer, &receiver))
            .map_err(|error| MetaError::Store(Box::new(redb::Error::Io(error))))?;
        let meta = Self {
            inner: Arc::new(Inner {
                database,
                requests: Some(sender),
                writer: Some(writer),
                pins: Pins::default(),
            }),
        };
        meta.make_tables()?;
        Ok(meta)
    }

    /// Which results running builds need.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.inner.pins
    }

    /// Makes a change and waits until it is durable.
    ///
    /// `change` may run more than once, each time on a state without its earlier effects; but for a failure of the disk
    /// at the very end of a commit, after which they may be there or not.
    ///
    /// # Errors
    /// What `change` returns, with nothing written; or the store's failure, after several tries.
    pub fn write<T: Send + 'static>(
        &self,
        change: impl FnMut(&Tables<'_>) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let value = self.submit(change, Reply::Blocking(reply))?;
        answer.recv().map_err(|_| MetaError::Closed)??;
        Ok(value.take())
    }

    /// As [`Self::write`], for async code.
    ///
    /// # Errors
    /// As [`Self::write`].
    ///
    /// # Cancel
    /// Dropped, the change is still made.
    pub async fn write_async<T: Send + 'static>(
        &self,
        change: impl FnMut(&Tables<'_>) -> Result<T, MetaError> + Send + 'static,
    ) -> Result<T, MetaError> {
        let (reply, answer) = oneshot::channel();
        let value = self.submit(change, Reply::Async(reply))?;
        answer.await.map_err(|_| MetaError::Closed)??;
        Ok(value.take())
    }

    /// Looks at the store as it is now, which later changes do not alter. `look` may run once more: after a failure of
    /// the disk nothing can be read before the file is opened again, whoever met the failure.
    ///
    /// # Errors
    /// What `look` returns, or the store's failure.
    pub(crate) fn look<T>(
        &self,
        look: impl Fn(&ReadTransaction) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        let once = || {
            let (view, database) = self.inner.database.begin(ReadableDatabase::begin_read)?;
            let seen = look(&view);
            seen.inspect_err(|error| self.inner.database.has_failed(&database, error))
        };
        match once() {
            Err(error) if error.is_of_the_disk() => once(),
            seen => seen,
        }
    }

    fn submit<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&Tables<'_>) -> Result<T, MetaError> + Send + 'static,
        reply: Reply,
    ) -> Result<Slot<T>, MetaError> {
        let slot = Arc::new(Mutex::new(None));
        let for_writer = Arc::clone(&slot);
        let change: Change = Box::new(move |tables| {
            *for_writer.lock() = Some(change(tables)?);
            Ok(())
        });
        self.inner
            .requests
            .as_ref()
            .expect("the sender lives as long as the store")
            .send(Request { change, reply })
            .map_err(|_| MetaError::Closed)?;
        Ok(Slot(slot))
    }

    fn make_tables(&self) -> Result<(), MetaError> {
        self.write(|tables| {
            let transaction = tables.transaction();
            super::documents::make(transaction)?;
            super::images::make(transaction)?;
            super::layers::make(transaction)?;
            super::results::make(transaction)?;
            super::sums::make(transaction)?;
            crate::cachestore::make_tables(transaction)
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was already told to whoever waited.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta").finish_non_exhaustive()
    }
}

fn write_in_groups(database: &OpenDatabase, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(GROUP - 1));
        if group.len() > 1 && commit(database, &mut group).is_ok() {
            for request in group {
                request.reply.send(Ok(()));
            }
            continue;
        }
        // One alone; or one of many failed, and each gets an answer of its own.
        for request in group {
            let mut alone = [request];
            let result = commit_in_the_end(database, &mut alone);
            let [request] = alone;
            request.reply.send(result);
        }
    }
}

/// Commits, again when the disk fails: a record that is not kept costs whoever made it their work.
fn commit_in_the_end(open: &OpenDatabase, group: &mut [Request]) -> Result<(), MetaError> {
    for pause in PAUSES {
        match commit(open, group) {
            Err(error) if error.is_of_the_disk() => thread::sleep(pause),
            committed => return committed,
        }
    }
    commit(open, group)
}

fn commit(open: &OpenDatabase, group: &mut [Request]) -> Result<(), MetaError> {
    let (mut transaction, database) = open.begin(Database::begin_write)?;
    // Costs a little at each commit and makes opening after a crash quick.
    transaction.set_quick_repair(true);
    let written = write(transaction, group);
    written.inspect_err(|error| open.has_failed(&database, error))
}

fn write(transaction: WriteTransaction, group: &mut [Request]) -> Result<(), MetaError> {
    for request in group {
        let tables = Tables {
            transaction: &transaction,
        };
        (request.change)(&tables)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Records = TableDefinition::new("test");

    fn put(tables: &Tables<'_>, key: &str) -> Result<(), MetaError> {
        let mut table = tables.transaction().open_table(TEST)?;
        table.insert(key, &b"x"[..])?;
        Ok(())
    }

    fn has(meta: &Meta, key: &str) -> bool {
        meta.look(|view| Ok(view.open_table(TEST)?.get(key)?.is_some()))
            .unwrap()
    }

    #[test]
    fn a_failing_change_takes_nothing_else_of_its_group_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
        thread::scope(|scope| {
            for number in 0..64 {
                let meta = &meta;
                scope.spawn(move || {
                    let result = meta.write(move |tables| {
                        put(tables, &format!("k{number}"))?;
                        if number % 8 == 0 {
                            return Err(MetaError::Closed);
                        }
                        Ok(number)
                    });
                    assert_eq!(result.ok(), (number % 8 != 0).then_some(number));
                });
            }
        });
        for number in 0..64 {
            assert_eq!(has(&meta, &format!("k{number}")), number % 8 != 0);
        }
    }

    #[tokio::test]
    async fn an_acknowledged_change_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("meta.redb");
        let meta = Meta::open(&file).unwrap();
        meta.write_async(|tables| put(tables, "a")).await.unwrap();
        drop(meta);
        assert!(has(&Meta::open(&file).unwrap(), "a"));
    }
}
