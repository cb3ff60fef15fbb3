//! Debian's docker-registry on loopback.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Gone when dropped.
pub(crate) struct Registry {
    process: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Registry {
    /// Starts one that keeps its images in a folder.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, "")
    }

    /// Starts one that wants the user `me` with the password `CANARY`.
    pub(crate) fn start_private(folder: &Path) -> Self {
        // bcrypt of `CANARY`, cost 5.
        let line = "me:$2b$05$BvtQ3kXf.zT.xu257WyOTOMjhqaeIkTiGrWkCSwMdjDKZF.vKdCYW\n";
        let path = folder.join("htpasswd");
        std::fs::write(&path, line).unwrap();
        let path = path.display();
        Self::start_with(
            folder,
            &format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}\n"),
        )
    }

    fn start_with(folder: &Path, more: &str) -> Self {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let address = format!("127.0.0.1:{port}");
        let root = folder.join("registry");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{more}",
            root.display()
        );
        let path = folder.join("registry.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines.any(|line| line.unwrap().contains("listening on"));
        assert!(listening, "docker-registry ended");
        // It says more, and must not wait for somebody to read that.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
