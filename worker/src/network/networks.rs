use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use serde_json::Value;

use super::cni::{Attachment, Plugins};
use super::error::NetworkError;
use super::notes::{Note, Notes};
use super::settings::{DnsSettings, NetworkMode, NetworkSettings};
use crate::meta::LayerId;
use crate::sys::{has_interface, new_network_namespace, remove_bridge};

/// How many namespaces are made at the same time at the start.
const MADE_AT_ONCE: usize = 4;

/// The networks that steps can have. Clones are the same.
#[derive(Debug, Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` where steps have the machine's network.
    plugins: Option<Plugins>,
    dns: DnsSettings,
    notes: Notes,
    /// Namespaces that wait for a step.
    pool: Mutex<Vec<Connected>>,
    pool_size: usize,
    /// A bridge that is ours to remove.
    bridge: Option<String>,
}

/// A namespace that the plugins connected.
#[derive(Debug)]
struct Connected {
    namespace: OwnedFd,
    note: Note,
}

impl Networks {
    /// Undoes what an earlier process left in `folder`, a folder of ours, and makes the first namespaces. Blocks.
    ///
    /// # Errors
    /// When the settings name what is not there, or the plugins do not make what they should.
    pub fn open(settings: &NetworkSettings, folder: &Path) -> Result<Self, NetworkError> {
        let notes = Notes::open(folder)?;
        let left = notes.bridge()?;
        let (plugins, bridge) = plugins(settings, left.as_deref())?;
        let inner = Inner {
            plugins,
            dns: settings.dns.clone(),
            notes,
            pool: Mutex::default(),
            pool_size: settings.pool_size,
            bridge,
        };
        inner.undo_left()?;
        inner.take_bridge(left)?;
        if inner.plugins.is_some() {
            inner.fill(settings.start_lock.as_deref())?;
        }
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What clients are told of it: `cni` or `host`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.inner.plugins {
            Some(_) => "cni",
            None => "host",
        }
    }

    /// What steps are told of name servers.
    #[must_use]
    pub fn dns(&self) -> &DnsSettings {
        &self.inner.dns
    }

    /// A namespace for a step that is not told otherwise; `None` for the machine's own. A step with a name of its own gets
    /// one that was made for it. Blocks.
    ///
    /// # Errors
    /// What the plugins said.
    pub fn join(&self, hostname: &str) -> Result<Option<NetworkLease>, NetworkError> {
        if self.inner.plugins.is_none() {
            return Ok(None);
        }
        let kept = match hostname {
            "" => self.inner.pool.lock().pop(),
            _ => None,
        };
        let connected = match kept {
            Some(connected) => connected,
            None => self.inner.connect(hostname)?,
        };
        Ok(Some(NetworkLease {
            connected: Some(connected),
            is_reusable: hostname.is_empty(),
            networks: Arc::clone(&self.inner),
        }))
    }
}

/// The plugins that the settings ask for, and the bridge that comes with them: one that is not there, or that an earlier
/// process of ours left.
fn plugins(
    settings: &NetworkSettings,
    left: Option<&str>,
) -> Result<(Option<Plugins>, Option<String>), NetworkError> {
    let exists = |what: &'static str, path: &Path| {
        path.metadata()
            .map(drop)
            .map_err(|error| NetworkError::Settings {
                what,
                path: path.to_owned(),
                error,
            })
    };
    let mode = match settings.mode {
        // A plain user's network is the machine's, where plugins may change nothing.
        NetworkMode::Auto if settings.cni_config.exists() && !is_a_users() => NetworkMode::Cni,
        NetworkMode::Auto => NetworkMode::Host,
        mode => mode,
    };
    match mode {
        NetworkMode::Bridge => {
            exists("CNI bridge", &settings.cni_programs.join("bridge"))?;
            let name = &settings.bridge_name;
            let plugins = Plugins::bridge(name, &settings.bridge_subnet, &settings.cni_programs);
            let is_ours = left == Some(name.as_str()) || !has_interface(name)?;
            Ok((Some(plugins), is_ours.then(|| name.clone())))
        }
        NetworkMode::Cni => {
            exists("cni binary dir", &settings.cni_programs)?;
            let text = std::fs::read_to_string(&settings.cni_config).map_err(|error| {
                NetworkError::Settings {
                    what: "cni config",
                    path: settings.cni_config.clone(),
                    error,
                }
            })?;
            let plugins = Plugins::parse(&settings.cni_config, &text, &settings.cni_programs)?;
            Ok((Some(plugins), None))
        }
        NetworkMode::Auto | NetworkMode::Host => Ok((None, None)),
    }
}

fn is_a_users() -> bool {
    crate::userns::Identity::of_this_process().is_mapped()
}

impl Inner {
    /// Notes the bridge that comes with the plugins, and removes another one that an earlier process left.
    fn take_bridge(&self, left: Option<String>) -> Result<(), NetworkError> {
        if let Some(left) = left.filter(|left| self.bridge.as_ref() != Some(left)) {
            if has_interface(&left)? {
                remove_bridge(&left)?;
            }
            self.notes.remove_bridge()?;
        }
        if let Some(name) = &self.bridge {
            self.notes.write_bridge(name)?;
        }
        Ok(())
    }

    fn undo_left(&self) -> Result<(), NetworkError> {
        for note in self.notes.all()? {
            if let Some(plugins) = &self.plugins {
                let gone = attachment(&note, "");
                if let Err(error) = plugins.delete(gone, &note.result) {
                    tracing::warn!(%error, "a network of an earlier process could not be undone whole");
                }
            }
            self.notes.remove(&note.id)?;
        }
        Ok(())
    }

    /// Makes one namespace, which shows that the plugins work, and then as many as are kept.
    fn fill(&self, lock: Option<&Path>) -> Result<(), NetworkError> {
        let lock = lock.map(File::create).transpose()?;
        if let Some(lock) = &lock {
            rustix::fs::flock(lock, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
        }
        let first = self.connect("")?;
        drop(lock);
        if self.pool_size == 0 {
            self.disconnect(&first);
            return Ok(());
        }
        self.pool.lock().push(first);
        let mut missing = self.pool_size - 1;
        while missing > 0 {
            let now = missing.min(MADE_AT_ONCE);
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..now).map(|_| scope.spawn(|| self.connect(""))).collect();
                threads
                    .into_iter()
                    .map(std::thread::ScopedJoinHandle::join)
                    .collect()
            });
            for connected in made {
                let connected = connected
                    .map_err(|_| std::io::Error::other("a thread for networks panicked"))?;
                self.pool.lock().push(connected?);
            }
            missing -= now;
        }
        Ok(())
    }

    fn connect(&self, hostname: &str) -> Result<Connected, NetworkError> {
        let mut note = Note {
            id: LayerId::random().as_str().to_owned(),
            hostname: hostname.to_owned(),
            result: Value::Null,
        };
        let namespace = new_network_namespace()?;
        let Some(plugins) = &self.plugins else {
            return Ok(Connected { namespace, note });
        };
        self.notes.write(&note)?;
        let path = path_of(&namespace);
        let added = plugins.add(attachment(&note, &path));
        match added {
            Ok(result) => {
                note.result = result;
                let connected = Connected { namespace, note };
                if let Err(error) = self.notes.write(&connected.note) {
                    self.disconnect(&connected);
                    return Err(error.into());
                }
                Ok(connected)
            }
            Err(error) => {
                self.notes.remove(&note.id)?;
                Err(error)
            }
        }
    }

    fn disconnect(&self, connected: &Connected) {
        let path = path_of(&connected.namespace);
        let note = &connected.note;
        let undone = match &self.plugins {
            Some(plugins) => plugins.delete(attachment(note, &path), &note.result),
            None => Ok(()),
        };
        // A note that stays has the next start try again.
        let forgotten = undone.and_then(|()| Ok(self.notes.remove(&note.id)?));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "a step's network stays until the next start");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for connected in self.pool.lock().drain(..) {
            self.disconnect(&connected);
        }
        if let Some(name) = &self.bridge {
            let removed = remove_bridge(name).and_then(|()| self.notes.remove_bridge());
            if let Err(error) = removed {
                tracing::warn!(%error, "the bridge {name} stays");
            }
        }
    }
}

fn attachment<'a>(note: &'a Note, path: &'a str) -> Attachment<'a> {
    Attachment {
        id: &note.id,
        path,
        hostname: &note.hostname,
    }
}

/// A path that leads other programs to the namespace.
fn path_of(namespace: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

/// A namespace that one step uses. Dropping it gives it to the next one or has it undone, for which the step must have
/// ended; that blocks.
#[derive(Debug)]
pub struct NetworkLease {
    connected: Option<Connected>,
    is_reusable: bool,
    networks: Arc<Inner>,
}

impl NetworkLease {
    /// The namespace, to be joined.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn namespace(&self) -> std::io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// Keeps others from using the namespace later: this step may change it.
    pub fn spoil(&mut self) {
        self.is_reusable = false;
    }
}

impl AsFd for NetworkLease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let connected = self.connected.as_ref();
        connected
            .expect("the namespace is there until the lease is dropped")
            .namespace
            .as_fd()
    }
}

impl Drop for NetworkLease {
    fn drop(&mut self) {
        let Some(connected) = self.connected.take() else {
            return;
        };
        let mut pool = self.networks.pool.lock();
        if self.is_reusable && pool.len() < self.networks.pool_size {
            pool.push(connected);
        } else {
            drop(pool);
            self.networks.disconnect(&connected);
        }
    }
}
