use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Debian's docker-registry on a free port of the loopback, gone when dropped.
pub(crate) struct Registry {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A registry that knows the user `me` with the password `CANARY`.
    pub(crate) fn start_with_basic_auth(dir: &std::path::Path) -> Self {
        // bcrypt of `CANARY`, cost 5.
        let line = "me:$2b$05$BvtQ3kXf.zT.xu257WyOTOMjhqaeIkTiGrWkCSwMdjDKZF.vKdCYW\n";
        let path = dir.join("htpasswd");
        std::fs::write(&path, line).unwrap();
        Self::start_with(&format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            path.display()
        ))
    }

    /// A registry with further lines in its configuration.
    pub(crate) fn start_with(more: &str) -> Self {
        // Another process may take the port before the registry does: then try again.
        for _ in 0..10 {
            if let Some(started) = Self::try_start(more) {
                return started;
            }
        }
        panic!("docker-registry does not start (Debian package docker-registry)");
    }

    fn try_start(more: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let data = dir.path().join("data");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n{more}",
            data.display()
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed (Debian package docker-registry)");
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(&address).is_ok() {
                return Some(Self {
                    process,
                    address,
                    _dir: dir,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
        None
    }
}
