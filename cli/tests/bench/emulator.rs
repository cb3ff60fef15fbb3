//! An emulator of arm64 that the kernel is told of, for as long as a test needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "/proc/sys/fs/binfmt_misc";
const PROGRAM: &str = "/usr/bin/qemu-aarch64-static";

/// What the kernel was told; taken back when dropped.
pub(crate) struct Emulator {
    entry: Option<PathBuf>,
}

impl Emulator {
    /// Tells the kernel, unless it knows one already.
    pub(crate) fn of_arm64() -> Self {
        let register = Path::new(FOLDER).join("register");
        if !register.exists() {
            let mounted = Command::new("mount")
                .args(["-t", "binfmt_misc", "binfmt_misc", FOLDER])
                .status();
            assert!(mounted.unwrap().success(), "binfmt_misc cannot be mounted");
        }
        let known = fs::read_dir(FOLDER).unwrap().any(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            text.starts_with("enabled\n") && text.contains("0200b700") && text.contains("F")
        });
        if known {
            return Self { entry: None };
        }
        let name = format!("cooper-test-{}", std::process::id());
        // A program of 64 bits for EM_AARCH64, of any kind of system; F has the emulator opened here and now.
        let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask =
            r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        fs::write(register, format!(":{name}:M::{magic}:{mask}:{PROGRAM}:F")).unwrap();
        Self {
            entry: Some(Path::new(FOLDER).join(name)),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            fs::write(entry, "-1").unwrap();
        }
    }
}
