//! Small builds that differ from each other, and what was promised about those that ended well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::daemon::under;
use crate::sandbox::{Sandbox, path};

/// A client that has not ended by then is stuck: builds here take a second when nothing else runs.
const STUCK: Duration = Duration::from_secs(120);

/// Says that a step ran: the sum is not in any step's own text.
const RAN: &str = "ran-42";

/// Says that the cache could not be written.
const UNRECORDED: &str = "could not be recorded";

/// A build to be made.
#[derive(Debug, Clone)]
pub struct Small {
    /// Which one.
    pub number: usize,
    folder: PathBuf,
}

/// A build that was acknowledged: its program ended with success.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    build: Small,
    image: String,
    log: String,
}

/// A client at work.
#[derive(Debug)]
pub struct Client {
    build: Small,
    child: Child,
    begun: Instant,
}

impl Small {
    /// Writes the files of a build of several stages, with content that no other has.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(sandbox: &Sandbox, number: usize) -> Result<Self> {
        Self::write_as(sandbox, number, number)
    }

    /// As [`Self::write`], with the content of the build `like`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_as(sandbox: &Sandbox, number: usize, like: usize) -> Result<Self> {
        let folder = sandbox.path(&format!("build-{number}"));
        fs::create_dir_all(&folder)?;
        let mut random = StdRng::seed_from_u64(like as u64);
        let mut data = vec![0_u8; random.random_range(1..50_000)];
        random.fill(&mut data[..]);
        fs::write(folder.join("data"), data)?;
        let dockerfile = format!(
            "FROM busybox AS base\n\
             COPY data /data\n\
             RUN --mount=type=cache,target=/cache echo ran-$((40 + 2)); echo {like} >> /cache/log; \
             cp /data /copy; mkdir -p /d/e; echo {like} > /d/e/f\n\
             FROM busybox AS other\n\
             RUN --network=none echo ran-$((40 + 2)); echo {like} > /other; sleep 0.1\n\
             FROM busybox\n\
             COPY --from=base /copy /d /out/\n\
             COPY --from=other /other /out/other\n\
             RUN echo ran-$((40 + 2)); rm /out/other; echo {like} > /done\n"
        );
        fs::write(folder.join("Dockerfile"), dockerfile)?;
        Ok(Self { number, folder })
    }

    /// Its image's name.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("small-{}", self.number)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn arguments(&self) -> [String; 8] {
        let id = self.folder.with_extension("id");
        let arguments = ["build", "--progress", "plain", "--iidfile", path(&id), "-t"];
        let [a, b, c, d, e, f] = arguments.map(String::from);
        [a, b, c, d, e, f, self.tag(), path(&self.folder).to_owned()]
    }

    fn image_id(&self) -> Result<String> {
        let file = self.folder.with_extension("id");
        let id = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(id.trim().to_owned())
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.with_extension("log"))?)
    }

    /// Starts the build, with a program and arguments before ours.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn start(&self, sandbox: &Sandbox, before: &[String]) -> Result<Client> {
        let log = fs::File::create(self.folder.with_extension("log"))?;
        let mut command = under(before, "cooper");
        let child = command
            .args(self.arguments())
            .env("COOPER_STATE", sandbox.state())
            .env("HOME", sandbox.path(""))
            .env_remove("BUILDKIT_HOST")
            .env_remove("COOPER_HOST")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Client {
            build: self.clone(),
            child,
            begun: Instant::now(),
        })
    }
}

impl Client {
    /// Ends the client as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        let _gone = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it ends by itself; what it was told when that was a success.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(mut self) -> Result<Option<Acknowledged>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    return Ok(None);
                }
                return Ok(Some(Acknowledged {
                    image: self.build.image_id()?,
                    log: self.build.log()?,
                    build: self.build,
                }));
            }
            if self.begun.elapsed() > STUCK {
                self.child.kill()?;
                self.child.wait()?;
                bail!("a client hangs:\n{}", self.build.log()?);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Acknowledged {
    /// Its image.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Whether all its steps were recorded, as far as it was told.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        !self.log.contains(UNRECORDED)
    }

    /// Looks whether the image has its name.
    ///
    /// # Errors
    /// When it is gone.
    pub fn is_there(&self, sandbox: &Sandbox) -> Result<()> {
        let name = self.build.tag();
        let inspected = sandbox.run(["image", "inspect", &name])?;
        ensure!(
            inspected.code == 0,
            "{name} was acknowledged and is gone: {}",
            inspected.stderr
        );
        Ok(())
    }

    /// Builds it again, which must run nothing and give the same image, and looks whether the image has its name.
    ///
    /// # Errors
    /// When something of it was lost.
    pub fn verify(&self, sandbox: &Sandbox) -> Result<()> {
        self.is_there(sandbox)?;
        let name = self.build.tag();
        let again = sandbox.run(self.build.arguments())?;
        ensure!(again.code == 0, "{name} cannot be built: {}", again.stderr);
        ensure!(
            !again.stderr.contains(RAN),
            "{name} was acknowledged and ran again:\n{}\nfirst it was:\n{}",
            again.stderr,
            self.log
        );
        let image = self.build.image_id()?;
        ensure!(
            image == self.image,
            "{name} was {} and is {image} now",
            self.image
        );
        Ok(())
    }
}

/// The daemon's and clients' common way to be watched by strace: kill at, or fail, the `n`th of some calls.
///
/// # Shape
/// Each thread counts for itself. The traced program takes strace's place, so that its process is our child.
#[must_use]
pub fn strace(calls: &str, inject: &str, nth: u32) -> Vec<String> {
    let injected = format!("inject={calls}:{inject}:when={nth}");
    let traced = format!("trace={calls}");
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qqq",
        "-o",
        "/dev/null",
    ];
    let mut before: Vec<String> = words.map(String::from).to_vec();
    before.extend(["-e".into(), traced, "-e".into(), injected]);
    before
}
