use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cooper_core::model::{Failure, FailureKind};

use super::address::{AddressError, DaemonAddress};
use super::endpoint::{ClientTlsFiles, Endpoint};
use crate::config::{Environment, state_folder};

/// Where what a command needs is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this process, or in the one that has this state folder.
    State(PathBuf),
    /// In a daemon.
    Daemon(Box<Endpoint>),
}

/// Which engine a command uses.
#[derive(Args, Clone, Debug)]
pub struct PlaceFlags {
    /// Folder in which everything is kept [default: /var/lib/cooper for root, a folder of the user otherwise]
    #[arg(long, global = true, value_name = "FOLDER", conflicts_with = "addr")]
    pub state: Option<PathBuf>,

    /// Daemon to use, as unix://, tcp://, docker-container://, podman-container://, nerdctl-container://, kube-pod:// or
    /// ssh:// [default: COOPER_HOST or BUILDKIT_HOST; an engine in this process without]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Daemon")]
    pub addr: Option<String>,

    /// Certificates of who may vouch for the daemon
    #[arg(long, global = true, value_name = "FILE", help_heading = "Daemon")]
    pub tlscacert: Option<PathBuf>,

    /// Certificate to show to the daemon
    #[arg(long, global = true, value_name = "FILE", help_heading = "Daemon")]
    pub tlscert: Option<PathBuf>,

    /// Key of that certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "Daemon")]
    pub tlskey: Option<PathBuf>,

    /// Folder with ca.pem, cert.pem and key.pem, or ca.crt, tls.crt and tls.key
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Daemon",
          conflicts_with_all = ["tlscacert", "tlscert", "tlskey"])]
    pub tlsdir: Option<PathBuf>,

    /// Name that the daemon's certificate must have
    #[arg(long, global = true, value_name = "NAME", help_heading = "Daemon")]
    pub tlsservername: Option<String>,

    /// Seconds that connecting to the daemon may take
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        help_heading = "Daemon",
        default_value_t = 5
    )]
    pub timeout: u64,

    /// Wait for a daemon that is not there yet
    #[arg(long, global = true, help_heading = "Daemon")]
    pub wait: bool,
}

impl PlaceFlags {
    /// The place: what the flags say, or else the environment, where COOPER_HOST goes before BUILDKIT_HOST.
    ///
    /// # Errors
    /// `InvalidInput` for an address that cannot be used, or files for TLS without one.
    pub fn place(&self, environment: &Environment) -> Result<Place, Failure> {
        let from_environment = || {
            let set = |name: &'static str| environment.variable(name).map(|text| (name, text));
            set("COOPER_HOST").or_else(|| set("BUILDKIT_HOST"))
        };
        let (from, address) = match (&self.addr, &self.state) {
            (Some(address), _) => ("--addr", address.as_str()),
            // What is typed goes before what was exported.
            (None, Some(folder)) => return Ok(Place::State(environment.here.join(folder))),
            (None, None) => match from_environment() {
                Some(found) => found,
                None => return Ok(Place::State(state_folder(None, environment))),
            },
        };
        let read = DaemonAddress::parse(address);
        let mut address = read.map_err(|error| invalid(from, &error))?;
        if let DaemonAddress::Unix(path) = &mut address {
            *path = environment.here.join(&*path);
        }
        Ok(Place::Daemon(Box::new(Endpoint {
            tls: self.tls(environment, &address)?,
            address,
            timeout: match self.timeout {
                // As buildctl has it: no limit.
                0 => Duration::from_secs(365 * 24 * 3600),
                seconds => Duration::from_secs(seconds),
            },
            wait: self.wait,
        })))
    }

    fn tls(
        &self,
        environment: &Environment,
        address: &DaemonAddress,
    ) -> Result<Option<ClientTlsFiles>, Failure> {
        let here = |path: &PathBuf| environment.here.join(path);
        let mut files = ClientTlsFiles {
            server_name: self.tlsservername.clone(),
            ca: self.tlscacert.as_ref().map(here),
            identity: None,
        };
        if let Some(folder) = &self.tlsdir {
            let folder = here(folder);
            files.ca = Some(one_of(&folder, ["ca.pem", "ca.crt"])?);
            let certificate = one_of(&folder, ["cert.pem", "tls.crt"])?;
            files.identity = Some((certificate, one_of(&folder, ["key.pem", "tls.key"])?));
        }
        match (&self.tlscert, &self.tlskey) {
            (Some(certificate), Some(key)) => {
                files.identity = Some((here(certificate), here(key)));
            }
            (None, None) => {}
            _ => {
                let words = "--tlscert and --tlskey belong together";
                return Err(Failure::new(FailureKind::InvalidInput, words));
            }
        }
        if files.ca.is_none() && files.identity.is_none() {
            return Ok(None);
        }
        match address {
            DaemonAddress::Tcp { .. } | DaemonAddress::Unix(_) => Ok(Some(files)),
            DaemonAddress::Program(program) => {
                let words = format!("{program} is not reached over TLS");
                let failure = Failure::new(FailureKind::InvalidInput, words);
                Err(failure.with_hint("leave out --tlscacert, --tlscert, --tlskey and --tlsdir"))
            }
        }
    }
}

impl Place {
    /// The state folder, where that is the place.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        match self {
            Self::State(folder) => Some(folder),
            Self::Daemon(_) => None,
        }
    }
}

fn one_of(folder: &Path, names: [&str; 2]) -> Result<PathBuf, Failure> {
    let found = names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists());
    found.ok_or_else(|| {
        let [either, or] = names;
        let words = format!("{} has neither {either} nor {or}", folder.display());
        Failure::new(FailureKind::InvalidInput, words)
    })
}

fn invalid(from: &str, error: &AddressError) -> Failure {
    Failure::new(FailureKind::InvalidInput, format!("{from}: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: PlaceFlags,
    }

    fn place(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Place, Failure> {
        let line = Line::try_parse_from([&["cooper"], arguments].concat()).unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Environment {
            variables: variables.iter().map(own).collect(),
            here: "/here".into(),
            ..Environment::default()
        };
        line.flags.place(&environment)
    }

    fn address(place: Place) -> String {
        match place {
            Place::State(folder) => folder.display().to_string(),
            Place::Daemon(endpoint) => endpoint.address.to_string(),
        }
    }

    #[test]
    fn flags_go_before_the_environment_and_our_variable_before_buildkits() {
        let both = [("COOPER_HOST", "tcp://a:1"), ("BUILDKIT_HOST", "tcp://b:2")];
        let read = |arguments: &[&str], variables| address(place(arguments, variables).unwrap());
        assert_eq!(read(&["--addr=unix://c"], &both), "unix:///here/c");
        assert_eq!(read(&["--state=s"], &both), "/here/s");
        assert_eq!(read(&[], &both), "tcp://a:1");
        assert_eq!(read(&[], &both[1..]), "tcp://b:2");
        assert_eq!(read(&[], &[("COOPER_STATE", "/s")]), "/s");
        assert!(place(&[], &[("COOPER_HOST", "nowhere")]).is_err());
    }

    #[test]
    fn files_for_tls_must_fit_together() {
        let tcp = "--addr=tcp://a:1";
        assert!(place(&[tcp, "--tlscert=c"], &[]).is_err());
        assert!(place(&["--addr=ssh://a", "--tlscacert=c"], &[]).is_err());
        let Ok(Place::Daemon(endpoint)) = place(&[tcp, "--tlscacert=c"], &[]) else {
            panic!("a daemon is meant");
        };
        assert_eq!(endpoint.tls.unwrap().ca, Some("/here/c".into()));
    }
}
