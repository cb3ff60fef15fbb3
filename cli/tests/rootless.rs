//! Builds of a plain user, who has the user namespace and nothing else. Needs root, to set such a user up in mounts of its
//! own (scripts/as-user), and busybox-static in /usr/bin as the only thing from outside.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const BASE: &str = "\
FROM scratch AS base
COPY --from=host busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
FROM base
";

/// What layers can say, but for other owners than root.
const OF_ROOT: &str = "\
COPY data /data/
RUN mkdir -p /a/b && echo 1 >/a/b/f && ln /a/b/f /a/g && ln -s g /a/l && chmod 4755 /a/g && mkfifo /a/p
RUN rm -r /a/b && mkdir /a/b && echo 2 >/a/b/h && rm /data/x && chmod 1777 /data
RUN rm /a/g && touch -c /data/y && chmod 2750 /a
RUN rm -r /a && echo 3 >/a
RUN --network=none --mount=type=tmpfs,target=/t cat /proc/self/status >/t/s && test -c /dev/null && echo x >/dev/null
RUN --mount=type=bind,from=base,source=/bin,target=/mnt /mnt/busybox true >/seen
";

/// Owners of all kinds, and the rights of a program.
const OF_OTHERS: &str = "\
COPY --chown=12:34 --chmod=640 data /data/
ADD rights.tar /rights/
RUN mkdir -m 1777 /tmp && chown 5:6 /data/y && chmod 4711 /data/y && cat /rights/program >/dev/null && chmod 700 /rights/other
WORKDIR /tmp/here
USER 12:34
RUN id -u >/tmp/id && mkdir /tmp/mine && echo 1 >/tmp/mine/f
RUN rm -r /tmp/mine
";

const SNAPSHOTTER: &str = "COOPER_SNAPSHOTTER";

/// Who builds, and how.
#[derive(Clone, Copy)]
struct Builder {
    /// Starts the program and its arguments that follow.
    starts: fn() -> Command,
    /// Whether its state is where we say.
    told_state: bool,
    variable: Option<(&'static str, &'static str)>,
}

const ROOT: Builder = Builder {
    starts: || Command::new("env"),
    told_state: true,
    variable: None,
};

const USER: Builder = Builder {
    starts: || Command::new(script("as-user")),
    told_state: false,
    variable: None,
};

const SINGLE: Builder = Builder {
    starts: || {
        let mut command = Command::new(script("as-user"));
        command.arg("--single");
        command
    },
    ..USER
};

/// Root as in a container without privilege: with Docker's capabilities, processes of its own, and a `/proc` of which a
/// part is hidden.
const CONTAINER: Builder = Builder {
    starts: || {
        let capabilities = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,\
                            +setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";
        let enter = format!(
            "mount -t tmpfs -o ro tmpfs /proc/fs && exec setpriv --bounding-set={capabilities} --inh-caps=-all \"$@\""
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"])
            .args([&enter, "sh"]);
        command
    },
    ..ROOT
};

impl Builder {
    fn with(self, name: &'static str, value: &'static str) -> Self {
        Self {
            variable: Some((name, value)),
            ..self
        }
    }
}

/// A context that anybody can read, and a place to write to.
struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    fn new(dockerfile: &str) -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        open_to_all(sandbox.folder.path());
        let context = sandbox.context();
        fs::create_dir_all(context.join("data/deep")).unwrap();
        for name in ["x", "y", "deep/z"] {
            fs::write(context.join("data").join(name), name).unwrap();
        }
        fs::write(context.join("Dockerfile"), format!("{BASE}{dockerfile}")).unwrap();
        sandbox
    }

    fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    /// An archive with a program that has rights by its file, and files of others.
    fn add_rights(&self) {
        let place = self.folder.path().join("rights");
        fs::create_dir(&place).unwrap();
        for name in ["program", "other"] {
            fs::write(place.join(name), name).unwrap();
        }
        // cap_net_raw=ep, version 2 (linux/capability.h).
        let rights = "0x0100000200200000000000000000000000000000";
        succeed(
            Command::new("setfattr")
                .args(["-n", "security.capability", "-v", rights])
                .arg(place.join("program")),
        );
        std::os::unix::fs::chown(place.join("other"), Some(70), Some(80)).unwrap();
        succeed(
            Command::new("tar")
                .args(["--xattrs", "--xattrs-include=*", "-cf"])
                .arg(self.context().join("rights.tar"))
                .arg("-C")
                .arg(&place)
                .args(["program", "other"]),
        );
    }

    /// Builds with times that are always the same; the image's digest is in the answer where it worked.
    fn build(&self, builder: Builder) -> (Output, Option<String>) {
        let place = tempfile::tempdir_in(self.folder.path()).unwrap();
        open_to_all(place.path());
        let id = place.path().join("id");
        let program = env!("CARGO_BIN_EXE_cooper");
        let mut command = (builder.starts)();
        command.arg(program);
        if builder.told_state {
            command.arg("--state").arg(place.path().join("state"));
        }
        command.envs(builder.variable);
        command
            .args([
                "build",
                "--build-context",
                "host=/usr/bin",
                "--progress=plain",
            ])
            .args(["--build-arg", "SOURCE_DATE_EPOCH=1000000000"])
            .args(["--output", "type=image,name=x,rewrite-timestamp=true"])
            .arg("--iidfile")
            .arg(&id)
            .arg(self.context())
            .env_remove("COOPER_STATE")
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let id = output.status.success().then(|| {
            let id = fs::read_to_string(&id);
            id.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
        });
        (output, id)
    }

    #[track_caller]
    fn id(&self, builder: Builder) -> String {
        let (output, id) = self.build(builder);
        id.unwrap_or_else(|| panic!("{}", stderr(&output)))
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scripts")
        .join(name)
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// T-E4
#[test]
fn layers_of_a_user_are_those_of_root_to_the_byte() {
    let sandbox = Sandbox::new(&format!("{OF_ROOT}{OF_OTHERS}"));
    sandbox.add_rights();
    assert_eq!(sandbox.id(USER), sandbox.id(ROOT));
}

// T-E4
#[test]
fn layers_of_a_user_with_one_id_are_those_of_root_where_all_is_root_s() {
    let sandbox = Sandbox::new(OF_ROOT);
    assert_eq!(sandbox.id(SINGLE), sandbox.id(ROOT));
}

// T-E4
#[test]
fn copies_give_the_layers_that_overlays_give() {
    let sandbox = Sandbox::new(&format!("{OF_ROOT}{OF_OTHERS}"));
    sandbox.add_rights();
    let wanted = sandbox.id(ROOT.with(SNAPSHOTTER, "overlayfs"));
    for (whose, builder) in [("root", ROOT), ("user", USER)] {
        let id = sandbox.id(builder.with(SNAPSHOTTER, "native"));
        assert_eq!(id, wanted, "{whose}");
    }
}

// T-E4
#[test]
fn fuse_overlayfs_gives_the_layers_that_overlays_give() {
    // In a user namespace, its 1.10 loses the set-id bits of files that it copies up (docs/rootless.md).
    let of_root = OF_ROOT.replace("chmod 4755", "chmod 755");
    let sandbox = Sandbox::new(&format!("{of_root}{OF_OTHERS}"));
    sandbox.add_rights();
    let wanted = sandbox.id(ROOT.with(SNAPSHOTTER, "overlayfs"));
    for (whose, builder) in [("root", ROOT), ("user", USER)] {
        let id = sandbox.id(builder.with(SNAPSHOTTER, "fuse-overlayfs"));
        assert_eq!(id, wanted, "{whose}");
    }
}

#[test]
fn owner_that_is_not_there_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new("COPY --chown=12:34 data /data/\n");
    let (output, id) = sandbox.build(SINGLE);
    assert_eq!(id, None);
    let text = stderr(&output);
    assert!(
        text.contains("12:34") && text.contains("/etc/subuid"),
        "{text}"
    );
    let sandbox = Sandbox::new("USER 12\nRUN true\n");
    let (output, id) = sandbox.build(SINGLE);
    assert_eq!(id, None);
    let text = stderr(&output);
    assert!(
        text.contains("no user 12") && text.contains("/etc/subuid"),
        "{text}"
    );
}

// T-B6
#[test]
fn control_groups_of_the_machine_cannot_be_changed_from_inside() {
    let sandbox = Sandbox::new(
        "RUN for d in $(find /sys/fs/cgroup -type d); do \
           if mkdir $d/escape 2>/dev/null; then exit 7; fi; \
           if echo 0 2>/dev/null >$d/cgroup.procs; then exit 8; fi; \
         done\n",
    );
    for builder in [USER, SINGLE] {
        sandbox.id(builder);
    }
}

#[test]
fn steps_of_a_user_are_kept_from_the_machine_as_root_s_are() {
    let sandbox = Sandbox::new(
        "RUN grep -q 'Seccomp:.2' /proc/self/status && \
           grep -q 'CapEff:.00000000a80425fb' /proc/self/status && \
           test \"$(cat /proc/1/comm)\" = sh && test -z \"$(ls /sys/firmware)\" && \
           ! sh -c 'echo 1 >/proc/sys/kernel/panic' 2>/dev/null && \
           ! grep -q . /proc/kcore 2>/dev/null && ! mknod /null c 1 3 2>/dev/null\n\
         RUN --network=none test \"$(ls /sys/class/net)\" = lo && ping -c 1 127.0.0.1 >/dev/null\n",
    );
    for builder in [USER, SINGLE] {
        sandbox.id(builder);
    }
}

// T-E4
#[test]
fn container_without_privilege_builds_what_root_builds() {
    let sandbox = Sandbox::new(&format!("{OF_ROOT}{OF_OTHERS}"));
    sandbox.add_rights();
    let (output, id) = sandbox.build(CONTAINER);
    assert_eq!(
        id, None,
        "the processes outside are shown only when that is asked for"
    );
    let text = stderr(&output);
    assert!(text.contains("--oci-worker-no-process-sandbox"), "{text}");
    let permitted = CONTAINER.with("COOPER_NO_PROCESS_SANDBOX", "1");
    assert_eq!(sandbox.id(permitted), sandbox.id(ROOT));
}

#[test]
fn state_of_root_is_not_taken_for_a_user_s() {
    let sandbox = Sandbox::new("RUN true\n");
    let state = sandbox.folder.path().join("shared");
    fs::create_dir(&state).unwrap();
    let list = |program: &mut Command| {
        let program = program.arg(env!("CARGO_BIN_EXE_cooper"));
        let output = program.arg("--state").arg(&state).args(["image", "ls"]);
        output.output().unwrap()
    };
    let of_root = list(&mut Command::new("env"));
    assert!(of_root.status.success(), "{}", stderr(&of_root));
    // As root of a namespace over the same files.
    let mapped = list(Command::new("unshare").args(["--user", "--map-root-user", "--mount"]));
    assert!(
        stderr(&mapped).contains("choose another"),
        "{}",
        stderr(&mapped)
    );
}

#[test]
fn daemon_of_a_user_keeps_its_state_and_socket_where_users_have_them() {
    let script = r#"
        cd "$HOME" || exit 9
        "$0" --rootless --oci-worker-no-process-sandbox >log 2>&1 &
        daemon=$!
        until grep -q serving log; do kill -0 $daemon || { cat log; exit 8; }; sleep 0.05; done
        test -S "$XDG_RUNTIME_DIR/cooper/cooperd.sock" && test -e "$HOME/.local/share/cooper/lock" || exit 7
        test "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' /proc/$daemon/status)" = "$(id -u)" || exit 6
        kill $daemon && wait $daemon
    "#;
    let output = (USER.starts)()
        .args(["sh", "-c", script, env!("CARGO_BIN_EXE_cooperd")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{:?} {said}{}",
        output.status,
        stderr(&output)
    );
    let of_root = Command::new(env!("CARGO_BIN_EXE_cooperd"))
        .arg("--oci-worker-no-process-sandbox")
        .output()
        .unwrap();
    let words = "can't enable NoProcessSandbox without enabling Rootless";
    assert!(stderr(&of_root).contains(words), "{}", stderr(&of_root));
}
