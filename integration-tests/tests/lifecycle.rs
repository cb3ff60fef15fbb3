//! The daemon as an init system and its clients see it: sockets, readiness, and how it stops.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::gate::{Gate, client, open_daemon};
use integration_tests::peers::Cooperd;
use integration_tests::remains::engine_groups;
use integration_tests::sandbox::{Finished, Sandbox, binary, finish, path, succeed};
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// What a machine under load may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn build(sandbox: &Sandbox, context: &Path) -> Result<Child> {
    let mut command = client(
        sandbox,
        &["build", "--progress=plain", "-t=gated", path(context)],
    );
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting cooper")
}

fn ended(build: Child) -> Result<Finished> {
    finish(build.wait_with_output()?)
}

/// Builds something small until the daemon refuses it; gives what it said.
fn refused_build(sandbox: &Sandbox) -> Result<Finished> {
    let context = sandbox.path("small");
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nLABEL a=b\n")?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let build = client(sandbox, &["build", "--progress=plain", path(&context)]).output()?;
        let build = finish(build)?;
        if build.code != 0 {
            return Ok(build);
        }
    }
    bail!("the daemon goes on taking builds")
}

#[test]
fn a_daemon_that_is_told_to_stop_lets_builds_end_and_takes_no_new_ones() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let gate = Gate::new()?;
    let context = sandbox.path("context");
    gate.context(&context)?;
    let daemon = open_daemon(&sandbox, &["--drain-timeout=10m"])?;
    let build = build(&sandbox, &context)?;
    let held = gate.reached()?;
    daemon.signal(Signal::TERM)?;
    let refused = refused_build(&sandbox)?;
    assert!(
        refused
            .stderr
            .contains("is stopping and takes no new builds"),
        "{}",
        refused.stderr
    );
    drop(held);
    let built = ended(build)?;
    assert_eq!(built.code, 0, "{}", built.stderr);
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    assert!(
        !sandbox.path("daemon/cooperd.sock").exists(),
        "a socket is left"
    );
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Each state folder's engine has a directory of its own there; machines that build a lot would gather them.
#[test]
fn the_control_groups_of_an_engine_end_with_it() -> Result<()> {
    let sandbox = Sandbox::with_busybox()?;
    let gate = Gate::new()?;
    let context = sandbox.path("context");
    gate.context(&context)?;
    let daemon = open_daemon(&sandbox, &[])?;
    let build = build(&sandbox, &context)?;
    let held = gate.reached()?;
    let state = sandbox.path("daemon/root");
    ensure!(!engine_groups(&state)?.is_empty(), "the step has none");
    drop(held);
    let built = ended(build)?;
    assert_eq!(built.code, 0, "{}", built.stderr);
    daemon.signal(Signal::TERM)?;
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    assert_eq!(engine_groups(&state)?, Vec::<PathBuf>::new());

    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN true\n")?;
    sandbox.succeed(["build", path(&context)])?;
    assert_eq!(engine_groups(&sandbox.state())?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_daemon_that_is_told_to_stop_twice_cancels_builds() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let gate = Gate::new()?;
    let context = sandbox.path("context");
    gate.context(&context)?;
    let daemon = open_daemon(&sandbox, &["--drain-timeout=10m"])?;
    let build = build(&sandbox, &context)?;
    let mut held = gate.reached()?;
    daemon.signal(Signal::TERM)?;
    refused_build(&sandbox)?;
    daemon.signal(Signal::TERM)?;
    let built = ended(build)?;
    assert_ne!(built.code, 0, "{}", built.stderr);
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    // The step is gone, and with it its end of the connection.
    held.set_read_timeout(Some(PATIENCE))?;
    let _reset = held.read_to_end(&mut Vec::new());
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn builds_that_take_longer_than_the_limit_are_cancelled() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let gate = Gate::new()?;
    let context = sandbox.path("context");
    gate.context(&context)?;
    let daemon = open_daemon(&sandbox, &["--drain-timeout=100ms"])?;
    let build = build(&sandbox, &context)?;
    let _held = gate.reached()?;
    daemon.signal(Signal::TERM)?;
    let built = ended(build)?;
    assert_ne!(built.code, 0, "{}", built.stderr);
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    assert!(log.contains("builds are still running"), "{log}");
    assert_eq!(sandbox.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// A daemon with one socket handed over as systemd does it: as descriptor 3, with a note for whom it is.
fn activated(sandbox: &Sandbox, socket: OwnedFd, more: &[&str]) -> Result<Child> {
    let script =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=given; exec \"$@\" 3<&0 0</dev/null";
    Command::new("sh")
        .args(["-c", script, "sh", path(&binary("cooperd"))])
        .args(["--root", path(&sandbox.path("daemon/root"))])
        .args(more)
        .stdin(Stdio::from(socket))
        .stderr(fs::File::create(sandbox.path("log"))?)
        .spawn()
        .context("starting cooperd")
}

fn stop(mut daemon: Child) -> Result<()> {
    let id = Pid::from_child(&daemon);
    rustix::process::kill_process(id, Signal::TERM)?;
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_socket_that_is_handed_over_is_served() -> Result<()> {
    for address in ["fd://", "fd://3", "fd://given"] {
        let sandbox = Sandbox::new()?;
        let path = sandbox.path("given.sock");
        let listener = UnixListener::bind(&path)?;
        let daemon = activated(&sandbox, listener.into(), &["--addr", address])?;
        assert_eq!(
            greeting(UnixStream::connect(&path)?)?,
            SETTINGS,
            "{address}"
        );
        stop(daemon)?;
    }
    Ok(())
}

#[test]
fn a_socket_that_was_not_handed_over_is_asked_for_in_vain() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let listener = UnixListener::bind(sandbox.path("given.sock"))?;
    let mut daemon = activated(&sandbox, listener.into(), &["--addr=fd://other"])?;
    assert!(!daemon.wait()?.success(), "it started without its socket");
    let log = fs::read_to_string(sandbox.path("log"))?;
    assert!(log.contains("fd://other: no socket of that name"), "{log}");
    Ok(())
}

/// The kind of frame with which every HTTP/2 server begins.
const SETTINGS: u8 = 4;

/// Begins a conversation; gives the kind of the first frame of the answer.
fn greeting(mut stream: UnixStream) -> Result<u8> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    Ok(head[3])
}

/// Connects to a socket of a daemon until it has no descriptor left, and lets go when its log says `words`.
fn use_up_descriptors(daemon: &Cooperd, socket: &Path, words: &str) -> Result<()> {
    let id = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw);
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.id()))?.count();
    let few = Some(u64::try_from(open)? + 8);
    // Not everybody may raise the highest one again.
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let few = Rlimit {
        current: few,
        maximum,
    };
    let usual = rustix::process::prlimit(id, Resource::Nofile, few)?;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(UnixStream::connect(socket)?);
    }
    let begun = Instant::now();
    while !daemon.log().contains(words) {
        let log = daemon.log();
        ensure!(begun.elapsed() < PATIENCE, "all were taken:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(crowd);
    rustix::process::prlimit(id, Resource::Nofile, usual)?;
    Ok(())
}

// T-D: an error of accept does not end the loop that accepts.
#[test]
fn more_connections_than_descriptors_leave_the_daemon_serving() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let socket = sandbox.path("daemon/cooperd.sock");
    use_up_descriptors(&daemon, &socket, "a connection could not be taken")?;
    assert_eq!(greeting(UnixStream::connect(&socket)?)?, SETTINGS);
    Ok(())
}

// It ended the loop here: `cooper image` had no answer until the daemon was started again.
#[test]
fn more_connections_than_descriptors_leave_the_images_answered_for() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let daemon = Cooperd::start(&sandbox.path("daemon"))?;
    let socket = sandbox.path("daemon/root/images.sock");
    let words = "a question about images could not be taken";
    use_up_descriptors(&daemon, &socket, words)?;
    succeed(client(&sandbox, &["image", "ls"]))?;
    Ok(())
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready_and_when_it_stops() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let place = sandbox.path("notify");
    let notified = UnixDatagram::bind(&place)?;
    notified.set_read_timeout(Some(PATIENCE))?;
    let told = || -> Result<String> {
        let mut text = [0; 64];
        let length = notified.recv(&mut text)?;
        Ok(String::from_utf8(text[..length].to_vec())?)
    };
    let daemon = Cooperd::start_with(&sandbox.path("daemon"), |command| {
        command.env("NOTIFY_SOCKET", &place);
    })?;
    assert_eq!(told()?, "READY=1");
    daemon.signal(Signal::TERM)?;
    assert_eq!(told()?, "STOPPING=1");
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    Ok(())
}

/// What a page says, and with which status.
fn page(socket: &Path, path: &str) -> Result<(String, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("a whole answer")?;
    let status = head.split(' ').nth(1).context("a status")?;
    Ok((status.to_owned(), body.to_owned()))
}

#[test]
fn pages_show_what_runs_to_who_owns_the_daemon() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let socket = sandbox.path("debug.sock");
    let gate = Gate::new()?;
    let context = sandbox.path("context");
    gate.context(&context)?;
    let address = format!("--debugaddr=unix://{}", path(&socket));
    let daemon = open_daemon(&sandbox, &[&address])?;
    assert_eq!(fs::metadata(&socket)?.mode() & 0o777, 0o600);
    let build = build(&sandbox, &context)?;
    let held = gate.reached()?;
    for (path, words) in [
        ("/metrics", "buildkit_builds_running 1\n"),
        ("/debug/requests", "1 builds run\n"),
        ("/debug/pprof/goroutine", "1 a build\n"),
        ("/debug/vars", "\"open_fds\""),
        ("/debug/pprof/cmdline", "--debugaddr"),
        ("/debug/pprof/", "/metrics"),
    ] {
        let (status, body) = page(&socket, path)?;
        assert_eq!(status, "200", "{path}: {body}");
        assert!(body.contains(words), "{path}:\n{body}");
    }
    let (status, body) = page(&socket, "/debug/pprof/heap")?;
    assert_eq!(status, "404", "{body}");
    drop(held);
    assert_eq!(ended(build)?.code, 0);
    let (_, body) = page(&socket, "/metrics")?;
    let line = "buildkit_builds_total{status=\"completed\",error_code=\"Ok\"} 1\n";
    assert!(body.contains(line), "{body}");
    daemon.signal(Signal::TERM)?;
    let (status, log) = daemon.wait()?;
    ensure!(status.success(), "{status}\n{log}");
    assert!(!socket.exists(), "a socket is left");
    Ok(())
}

#[test]
fn the_socket_belongs_to_its_group_and_to_nobody_else() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let alone = Cooperd::start(&sandbox.path("alone"))?;
    let metadata = fs::metadata(sandbox.path("alone/cooperd.sock"))?;
    assert_eq!(metadata.mode() & 0o777, 0o600);
    drop(alone);
    let shared = Cooperd::start_with(&sandbox.path("shared"), |command| {
        command.args(["--group", "nogroup"]);
    })?;
    let metadata = fs::metadata(sandbox.path("shared/cooperd.sock"))?;
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, 65534));
    // Whoever asks on this one names paths of this machine.
    let own = fs::metadata(sandbox.path("shared/root/images.sock"))?;
    assert_eq!((own.mode() & 0o022, own.gid()), (0, 0));
    drop(shared);
    Ok(())
}
