//! The programs as users run them. Needs root, and busybox-static in /usr/bin as the only thing from outside.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const BASE: &str = "\
FROM scratch AS base
COPY --from=host busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
FROM base
";

/// A state folder and a context of its own.
struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    fn new(dockerfile: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("context")).unwrap();
        let sandbox = Self { folder };
        sandbox.dockerfile("Dockerfile", dockerfile);
        sandbox
    }

    fn context(&self) -> std::path::PathBuf {
        self.folder.path().join("context")
    }

    fn dockerfile(&self, name: &str, text: &str) {
        fs::write(self.context().join(name), format!("{BASE}{text}")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command
            .arg("--state")
            .arg(self.folder.path().join("state"))
            .args(arguments)
            .current_dir(self.context())
            .env_remove("COOPER_STATE");
        command
    }

    fn build(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["build", "--build-context", "host=/usr/bin"]);
        command.args(arguments);
        command
    }
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines_until(child: &mut Child, wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(child.stderr.as_mut().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{lines:?}");
        let found = line.contains(wanted);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

fn interrupt(child: &Child) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
}

#[test]
fn image_is_built_kept_and_named_and_the_second_build_is_cached() {
    let sandbox = Sandbox::new("COPY file /file\nRUN cat /file > /copy\n");
    fs::write(sandbox.context().join("file"), "hi").unwrap();
    let first = run(sandbox.build(&["-q", "-t", "app:1", "."]));
    assert!(first.status.success(), "{}", stderr(&first));
    let id = String::from_utf8(first.stdout).unwrap();
    let second = run(sandbox.build(&["--iidfile", "id", "--metadata-file", "meta", "."]));
    assert!(
        stderr(&second).contains("4 from the cache"),
        "{}",
        stderr(&second)
    );
    let read = |name| fs::read_to_string(sandbox.context().join(name)).unwrap();
    assert_eq!(read("id"), id.trim());
    let metadata: serde_json::Value = serde_json::from_str(&read("meta")).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id.trim());
    let listed = run(sandbox.command(&["image", "ls", "--no-trunc"]));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("app:1") && listed.contains(id.trim()),
        "{listed}"
    );
    let history = run(sandbox.command(&["image", "history", "app:1"]));
    assert!(String::from_utf8_lossy(&history.stdout).contains("cat /file"));
}

#[test]
fn failing_step_is_shown_with_its_output_and_its_line() {
    let sandbox = Sandbox::new("RUN echo before; exit 7\n");
    let output = run(sandbox.build(&["."]));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("before"), "{text}");
    assert!(
        text.contains("   5 | >>> RUN echo before; exit 7"),
        "{text}"
    );
    assert!(text.contains("exit code: 7"), "{text}");
}

#[test]
fn interrupt_cancels_the_build_and_leaves_nothing_behind() {
    let sandbox = Sandbox::new("RUN echo started; sleep 1000\n");
    let mut command = sandbox.build(&["--progress=plain", "."]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    lines_until(&mut child, " started");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let state = sandbox.folder.path().join("state");
    assert!(!mounts.contains(state.to_str().unwrap()), "{mounts}");
}

#[test]
fn second_build_joins_the_first_and_sends_its_own_files_and_secrets() {
    let sandbox = Sandbox::new("RUN echo started; while [ ! -e /never ]; do sleep 1; done\n");
    sandbox.dockerfile(
        "joined",
        "COPY file /file\nRUN --mount=type=secret,id=s cat /run/secrets/s >> /file\n",
    );
    fs::write(sandbox.context().join("file"), "hi ").unwrap();
    fs::write(sandbox.context().join("secret"), "s3cret").unwrap();
    let mut first = sandbox.build(&["--progress=plain", "."]);
    let mut first = first.stderr(Stdio::piped()).spawn().unwrap();
    lines_until(&mut first, " started");
    let secret = ["-f", "joined", "--secret", "id=s,src=secret"];
    let folder = run(sandbox.build(&[&secret[..], &["-o", "out", "."]].concat()));
    assert!(folder.status.success(), "{}", stderr(&folder));
    let written = fs::read_to_string(sandbox.context().join("out/file")).unwrap();
    assert_eq!(written, "hi s3cret");
    let archive = ["-q", "-o", "type=oci,dest=app.tar", "."];
    let archive = run(sandbox.build(&[&secret[..], &archive].concat()));
    assert!(archive.status.success(), "{}", stderr(&archive));
    let archive = fs::File::open(sandbox.context().join("app.tar")).unwrap();
    let mut archive = tar::Archive::new(archive);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().into_owned())
        .collect();
    assert!(
        names.iter().any(|name| name == Path::new("oci-layout")),
        "{names:?}"
    );
    assert!(
        first.try_wait().unwrap().is_none(),
        "the first build still runs"
    );
    interrupt(&first);
    assert_eq!(first.wait().unwrap().code(), Some(130));
}

#[test]
fn dockerfile_and_archive_come_from_standard_input() {
    let sandbox = Sandbox::new("");
    let with_input = |arguments: &[&str], bytes: &[u8]| {
        let mut command = sandbox.build(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap()
    };
    let text = format!("{BASE}RUN echo x > /x\n");
    let output = with_input(&["-q", "-"], text.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    let mut archive = tar::Builder::new(Vec::new());
    let dockerfile = format!("{BASE}COPY file /file\n");
    for (name, content) in [("Dockerfile", dockerfile.as_str()), ("file", "from tar")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    let bytes = archive.into_inner().unwrap();
    let output = with_input(&["-q", "-o", "out", "-"], &bytes);
    assert!(output.status.success(), "{}", stderr(&output));
    let written = fs::read_to_string(sandbox.context().join("out/file")).unwrap();
    assert_eq!(written, "from tar");
}

#[test]
fn fixing_comes_after_the_check_and_tells_what_was_changed() {
    let sandbox = Sandbox::new("");
    let file = sandbox.context().join("Dockerfile");
    fs::write(&file, "FROM scratch\nRUN apk add curl\n").unwrap();
    let first = run(sandbox.build(&["--check", "--fix", "."]));
    let checked = String::from_utf8(first.stdout.clone()).unwrap();
    assert!(checked.contains("PRACTICE: PackageCacheKept"), "{checked}");
    let told = stderr(&first);
    assert!(told.contains("1 change made"), "{told}");
    assert!(told.contains("+RUN apk add --no-cache curl"), "{told}");
    let changed = fs::read_to_string(&file).unwrap();
    assert_eq!(changed, "FROM scratch\nRUN apk add --no-cache curl\n");
    let second = run(sandbox.build(&["--check", "--fix", "."]));
    let checked = String::from_utf8(second.stdout.clone()).unwrap();
    assert!(!checked.contains("PackageCacheKept"), "{checked}");
    assert!(stderr(&second).contains("nothing to change"));
}

#[test]
fn name_beside_an_output_is_said_to_go_there_or_nowhere() {
    let sandbox = Sandbox::new("");
    let archive = run(sandbox.build(&["-t", "app:1", "-o", "type=oci,dest=app.tar", "."]));
    let said = stderr(&archive);
    assert!(
        said.contains("note: the name is written into the output"),
        "{said}"
    );
    let files = run(sandbox.build(&["-t", "app:1", "-o", "out", "."]));
    let said = stderr(&files);
    assert!(
        said.contains("note: no output takes the name of --tag"),
        "{said}"
    );
    let kept = run(sandbox.build(&["-t", "app:1", "-o", "out", "-o", "type=image", "."]));
    assert!(!stderr(&kept).contains("note: "), "{}", stderr(&kept));
    let listed = run(sandbox.command(&["image", "ls"]));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("app:1"));
}

#[test]
fn cacheonly_runs_the_steps_and_keeps_no_image() {
    let sandbox = Sandbox::new("RUN echo hi > /made\n");
    let first = run(sandbox.build(&["-t", "app:1", "-o", "type=cacheonly", "."]));
    assert!(first.status.success(), "{}", stderr(&first));
    let listed = run(sandbox.command(&["image", "ls"]));
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("app"));
    let second = run(sandbox.build(&["."]));
    let said = stderr(&second);
    assert!(said.contains("3 from the cache"), "{said}");
}

#[test]
fn wrong_uses_exit_with_words() {
    let sandbox = Sandbox::new("");
    let unsupported = run(sandbox.build(&["--add-host=a:host-gateway", "."]));
    assert_eq!(unsupported.status.code(), Some(1));
    assert!(stderr(&unsupported).contains("the address host-gateway is not supported yet"));
    let unknown = run(sandbox.build(&["--tagg=x", "."]));
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("--tag"));
    let missing = run(sandbox.build(&["nowhere"]));
    assert_eq!(missing.status.code(), Some(1));
    let daemon = Command::new(env!("CARGO_BIN_EXE_cooperd"))
        .args(["--containerd-worker=true"])
        .output()
        .unwrap();
    assert_eq!(daemon.status.code(), Some(1));
    assert!(stderr(&daemon).contains("--containerd-worker=true"));
}
