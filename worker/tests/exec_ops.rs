//! Exec ops as the engine asks for them, on real states and in real containers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, OpEvent, ResultId, SessionId};
use cooper_core::ports::{
    Cancelled, Credentials, DirFilter, EventSink, ExportTarget, ExportTargetRequest, LocalDir,
    OpOutcome, OpRequest, Session, Sessions,
};
use cooper_proto::{Digest, pb};
use cooper_worker::exec::RunnerProgram;
use cooper_worker::limits::Limits;
use cooper_worker::meta::Meta;
use cooper_worker::mount::CacheMounts;
use cooper_worker::op::exec::ExecOps;
use cooper_worker::snapshot::{Durability, Snapshots};
use cooper_worker::state::StateDir;
use parking_lot::Mutex;

struct Bench {
    temp: tempfile::TempDir,
    snapshots: Snapshots,
    ops: ExecOps,
    image: ResultId,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

impl EventSink for Log {
    fn emit(&self, event: OpEvent) {
        if let OpEvent::Log { data, .. } = event {
            self.0.lock().extend_from_slice(&data);
        }
    }
}

struct OneSession(SessionId);

#[async_trait]
impl Sessions for OneSession {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(Arc::new(Self(id.clone())))
    }
}

const CANARY: &str = "canary-4711-never-on-disk";

#[async_trait]
impl Session for OneSession {
    fn id(&self) -> &SessionId {
        &self.0
    }
    fn shared_key(&self) -> &str {
        ""
    }
    async fn local_dir(&self, _: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported("local directories"))
    }
    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        Ok((id == "key").then(|| Bytes::from_static(CANARY.as_bytes())))
    }
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }
    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }
}

fn bench() -> Bench {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDir::open(&temp.path().join("state")).unwrap();
    let meta = Meta::open(&state.meta()).unwrap();
    let snapshots =
        Snapshots::open(&state, meta, &Limits::default(), Durability::ProcessDeath).unwrap();
    let writer = snapshots.writer(&ResultId::scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir_all(Path::new("bin"), 0o755, None).unwrap();
    let mut busybox = root.create_file(Path::new("bin/busybox"), 0o755).unwrap();
    busybox
        .write_all(&std::fs::read("/bin/busybox").unwrap())
        .unwrap();
    busybox
        .set_permissions(PermissionsExt::from_mode(0o755))
        .unwrap();
    for name in [
        "sh", "cat", "id", "ls", "sleep", "env", "mkdir", "rm", "ln", "touch", "stat", "pwd",
        "grep", "true",
    ] {
        root.symlink(Path::new("busybox"), &Path::new("bin").join(name))
            .unwrap();
    }
    drop((busybox, root));
    let image = writer.commit("busybox").unwrap();
    let program =
        RunnerProgram::at(Path::new(env!("CARGO_BIN_EXE_cooper-container-helper"))).unwrap();
    let caches = CacheMounts::new(&state.cache_mounts());
    let ops = ExecOps::new(
        snapshots.clone(),
        caches,
        Arc::new(OneSession(SessionId("s".into()))),
        program,
    );
    Bench {
        temp,
        snapshots,
        ops,
        image,
        log: Arc::default(),
    }
}

/// A shell script on the image, whose root is output 0.
fn sh(script: &str) -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(pb::Meta {
            args: ["/bin/sh", "-c", script].map(String::from).into(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            remove_mount_stubs_recursive: true,
            ..pb::Meta::default()
        }),
        mounts: vec![pb::Mount {
            dest: "/".into(),
            ..pb::Mount::default()
        }],
        ..pb::ExecOp::default()
    }
}

fn mount(kind: pb::MountType, dest: &str) -> pb::Mount {
    pb::Mount {
        input: -1,
        output: -1,
        dest: dest.into(),
        mount_type: kind.into(),
        ..pb::Mount::default()
    }
}

fn cache(id: &str, dest: &str, sharing: pb::CacheSharingOpt) -> pb::Mount {
    let cache_opt = Some(pb::CacheOpt {
        id: id.into(),
        sharing: sharing.into(),
    });
    pb::Mount {
        cache_opt,
        ..mount(pb::MountType::Cache, dest)
    }
}

impl Bench {
    async fn run_on(
        &self,
        inputs: &[&ResultId],
        exec: &pb::ExecOp,
        cancelled: Cancelled,
    ) -> OpOutcome {
        let request = OpRequest {
            vertex: Digest::sha256_of(b"vertex"),
            op: Arc::new(pb::Op::default()),
            name: "test".into(),
            inputs: inputs.iter().map(|&input| input.clone()).collect(),
            pin: None,
            sessions: vec![SessionId("s".into())],
            resources: None,
        };
        self.ops
            .run(&request, exec, self.log.clone(), cancelled)
            .await
    }

    async fn run(&self, exec: &pb::ExecOp) -> OpOutcome {
        self.run_on(&[&self.image], exec, Box::pin(std::future::pending()))
            .await
    }

    async fn succeeds(&self, exec: &pb::ExecOp) -> Vec<ResultId> {
        match self.run(exec).await {
            OpOutcome::Success(results) => results,
            other => panic!("{other:?}\n{}", self.output()),
        }
    }

    async fn fails(&self, exec: &pb::ExecOp) -> Failure {
        match self.run(exec).await {
            OpOutcome::Failed(failure) => failure,
            other => panic!("{other:?}\n{}", self.output()),
        }
    }

    fn output(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.log.0.lock())).unwrap()
    }

    /// All paths that a state has above its parent: what its last layer holds.
    fn changes(&self, result: &ResultId) -> Vec<String> {
        let layer = self
            .snapshots
            .meta()
            .result(result)
            .unwrap()
            .layers
            .pop()
            .unwrap();
        let root = cooper_worker::confine::Root::open(&self.snapshots.layer_dir(&layer)).unwrap();
        let mut paths = Vec::new();
        root.walk::<cooper_worker::confine::ConfineError>(Path::new("/"), |path, _, _| {
            paths.push(path.to_str().unwrap().to_owned());
            Ok(cooper_worker::confine::Visit::Enter)
        })
        .unwrap();
        paths
    }

    fn read(&self, result: &ResultId, path: &str) -> String {
        let root = self.snapshots.view(result).unwrap().root().unwrap();
        String::from_utf8(root.read_small(Path::new(path), 1 << 20).unwrap()).unwrap()
    }

    fn half_made_layers(&self) -> usize {
        std::fs::read_dir(self.temp.path().join("state/work"))
            .unwrap()
            .count()
    }
}

#[tokio::test]
async fn changes_become_a_result_and_stubs_do_not() {
    let bench = bench();
    let results = bench
        .succeeds(&sh("echo hello > /greeting; echo said"))
        .await;
    assert_eq!(bench.output(), "said\n");
    assert_eq!(bench.changes(&results[0]), ["greeting"]);
    assert_eq!(bench.read(&results[0], "greeting"), "hello\n");
    assert_eq!(bench.snapshots.meta().pins().count(&results[0]), 1);
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn failed_process_is_named_with_its_code_and_leaves_nothing() {
    let bench = bench();
    let failure = bench.fails(&sh("echo x > /x; exit 7")).await;
    assert_eq!(
        failure.message,
        "process \"/bin/sh -c echo x > /x; exit 7\" did not complete successfully: exit code: 7"
    );
    assert_eq!(failure.kind, FailureKind::Exit { code: 7 });
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn exit_codes_can_be_declared_valid() {
    let bench = bench();
    let mut exec = sh("exit 7");
    exec.meta.as_mut().unwrap().valid_exit_codes = vec![7];
    bench.succeeds(&exec).await;
    exec.meta.as_mut().unwrap().args[2] = "exit 0".into();
    assert_eq!(bench.fails(&exec).await.kind, FailureKind::Exit { code: 0 });
}

#[tokio::test]
async fn missing_program_is_a_failure_of_the_process() {
    let bench = bench();
    let mut exec = sh("");
    exec.meta.as_mut().unwrap().args = vec!["nothing".into()];
    assert_eq!(
        bench.fails(&exec).await.message,
        "process \"nothing\" did not complete successfully: exec \"nothing\": executable file not found in $PATH"
    );
}

#[tokio::test]
async fn process_sees_what_its_meta_says() {
    let bench = bench();
    let mut exec = sh(
        "pwd; id -u; id -G; cat /etc/hosts; cat /proc/sys/kernel/hostname; ulimit -n; env | grep -v ^_",
    );
    let meta = exec.meta.as_mut().unwrap();
    meta.cwd = "/made/for/me".into();
    meta.user = "1000:1001".into();
    meta.env = vec!["A=b c".into()];
    meta.hostname = "builder".into();
    meta.extra_hosts = vec![pb::HostIp {
        host: "db".into(),
        ip: "10.0.0.5".into(),
    }];
    meta.ulimit = vec![pb::Ulimit {
        name: "nofile".into(),
        soft: 77,
        hard: 78,
    }];
    let results = bench.succeeds(&exec).await;
    let expected = "/made/for/me\n1000\n1001\n127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    10.0.0.5\tdb\nbuilder\n77\n";
    let output = bench.output();
    let env = output
        .strip_prefix(expected)
        .unwrap_or_else(|| panic!("{output}"));
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for variable in ["A=b c", path, "HOME=/"] {
        assert!(
            env.lines().any(|line| line == variable),
            "{variable}: {env}"
        );
    }
    let root = bench.snapshots.view(&results[0]).unwrap().root().unwrap();
    let made = root
        .metadata(
            Path::new("made/for/me"),
            cooper_worker::confine::Last::NoFollow,
        )
        .unwrap();
    assert_eq!(
        (made.owner.uid, made.owner.gid, made.mode),
        (1000, 1001, 0o755)
    );
}

#[tokio::test]
async fn t_c19_working_directory_through_a_link_stays_inside() {
    let bench = bench();
    let first = bench
        .succeeds(&sh("ln -s /../../.. /up; ln -s /gone /dangling"))
        .await;
    let mut exec = sh("pwd; ls /");
    for (cwd, expected) in [("/up/there", "/there\n"), ("/dangling/x", "/gone/x\n")] {
        exec.meta.as_mut().unwrap().cwd = cwd.into();
        let outcome = bench
            .run_on(&[&first[0]], &exec, Box::pin(std::future::pending()))
            .await;
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
        assert!(bench.output().starts_with(expected));
    }
}

#[tokio::test]
async fn bind_is_read_only_or_its_changes_are_thrown_away() {
    let bench = bench();
    let tool = bench
        .succeeds(&sh("mkdir -p /opt/sub; echo tool > /opt/sub/file"))
        .await;
    let mut exec = sh("cat /a/file /b; echo x > /w/new && ls /w; echo x > /a/new; ls /");
    let bind = pb::Mount {
        input: 1,
        ..mount(pb::MountType::Bind, "/a")
    };
    exec.mounts.extend([
        pb::Mount {
            selector: "/opt/sub".into(),
            readonly: true,
            ..bind.clone()
        },
        pb::Mount {
            selector: "/opt/sub/file".into(),
            dest: "/b".into(),
            readonly: true,
            ..bind.clone()
        },
        pb::Mount {
            selector: "opt/sub".into(),
            dest: "/w".into(),
            ..bind.clone()
        },
    ]);
    let outcome = bench
        .run_on(
            &[&bench.image, &tool[0]],
            &exec,
            Box::pin(std::future::pending()),
        )
        .await;
    let OpOutcome::Success(results) = outcome else {
        panic!("{outcome:?}")
    };
    let output = bench.output();
    assert!(output.starts_with("tool\ntool\nfile\nnew\n"), "{output}");
    assert!(
        output.contains("can't create /a/new: Read-only file system"),
        "{output}"
    );
    assert_eq!(bench.changes(&results[0]), [""; 0], "no stub is left");
    let again = bench
        .run_on(
            &[&bench.image, &tool[0]],
            &exec,
            Box::pin(std::future::pending()),
        )
        .await;
    assert!(matches!(again, OpOutcome::Success(_)));
    assert!(!bench.changes(&tool[0]).contains(&"opt/sub/new".to_owned()));
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn t_c19_selector_cannot_leave_its_state() {
    let bench = bench();
    let hostile = bench
        .succeeds(&sh(
            "ln -s / /root-link; ln -s /etc/shadow /shadow; ln -s ../../../../etc /etc-link",
        ))
        .await;
    let mut exec = sh("ls /m");
    for (selector, expected) in [
        ("/root-link", Some("bin")),
        ("/shadow", None),
        ("/etc-link", None),
        ("/../..", Some("bin")),
    ] {
        exec.mounts.truncate(1);
        let bind = mount(pb::MountType::Bind, "/m");
        exec.mounts.push(pb::Mount {
            input: 1,
            selector: selector.into(),
            readonly: true,
            ..bind
        });
        let outcome = bench
            .run_on(
                &[&bench.image, &hostile[0]],
                &exec,
                Box::pin(std::future::pending()),
            )
            .await;
        match (outcome, expected) {
            (OpOutcome::Success(_), Some(name)) => assert!(bench.output().starts_with(name)),
            (OpOutcome::Failed(failure), None) => {
                assert_eq!(failure.kind, FailureKind::NotFound, "{selector}")
            }
            (outcome, _) => panic!("{selector}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn outputs_come_in_the_order_of_their_indexes() {
    let bench = bench();
    let mut exec = sh("echo 1 > /a; echo 2 > /second/b");
    exec.mounts[0].output = 1;
    exec.mounts.push(pb::Mount {
        output: 0,
        ..mount(pb::MountType::Bind, "/second")
    });
    exec.mounts.push(pb::Mount {
        input: 0,
        output: 2,
        readonly: true,
        ..mount(pb::MountType::Bind, "/third")
    });
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.changes(&results[0]), ["b"]);
    assert_eq!(bench.changes(&results[1]), ["a"]);
    assert_eq!(results[2], bench.image);
}

#[tokio::test]
async fn root_without_output_or_read_only_keeps_nothing() {
    let bench = bench();
    let mut exec = sh("echo x > /x");
    exec.mounts[0].output = -1;
    assert_eq!(bench.succeeds(&exec).await, []);
    exec.mounts[0].readonly = true;
    let failure = bench.fails(&exec).await;
    assert_eq!(failure.kind, FailureKind::Exit { code: 1 }, "{failure}");
    assert!(bench.output().contains("Read-only file system"));
    exec.mounts[0].output = 0;
    exec.meta.as_mut().unwrap().args[2] = "true".into();
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.changes(&results[0]), [""; 0], "no stub is left");
}

#[tokio::test]
async fn tmpfs_has_its_size_and_vanishes() {
    let bench = bench();
    let mut exec = sh("echo x > /t/x; grep -c ' /t tmpfs .*size=1024k' /proc/self/mounts");
    let tmpfs_opt = Some(pb::TmpfsOpt { size: 1 << 20 });
    exec.mounts.push(pb::Mount {
        tmpfs_opt,
        ..mount(pb::MountType::Tmpfs, "/t")
    });
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.output(), "1\n");
    assert_eq!(bench.changes(&results[0]), [""; 0]);
}

#[tokio::test]
async fn cache_mount_keeps_its_content_between_ops() {
    let bench = bench();
    let mut exec = sh("cat /cache/count 2>/dev/null; echo x >> /cache/count");
    exec.mounts
        .push(cache("../../id", "/cache", pb::CacheSharingOpt::Shared));
    for expected in ["", "x\n", "x\nx\n"] {
        let results = bench.succeeds(&exec).await;
        assert_eq!(bench.output(), expected);
        assert_eq!(bench.changes(&results[0]), [""; 0]);
    }
}

#[tokio::test]
async fn cache_mount_starts_from_a_part_of_a_state() {
    let bench = bench();
    let base = bench
        .succeeds(&sh("mkdir -p -m 700 /seed/dir; echo 1 > /seed/file"))
        .await;
    let mut exec = sh("cat /cache/file; stat -c %a /cache/dir; echo 2 > /cache/file");
    let mount = cache("c", "/cache", pb::CacheSharingOpt::Locked);
    exec.mounts.push(pb::Mount {
        input: 1,
        selector: "/seed".into(),
        ..mount
    });
    for expected in ["1\n700\n", "2\n700\n"] {
        let outcome = bench
            .run_on(
                &[&bench.image, &base[0]],
                &exec,
                Box::pin(std::future::pending()),
            )
            .await;
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
        assert_eq!(bench.output(), expected);
    }
}

#[tokio::test]
async fn locked_caches_in_crossed_order_do_not_block_each_other() {
    let bench = bench();
    let locked = |id: &str, dest: &str| cache(id, dest, pb::CacheSharingOpt::Locked);
    let mut one = sh("mkdir /a/held && rm -r /a/held && mkdir /b/held && rm -r /b/held");
    let mut two = one.clone();
    one.mounts.extend([locked("a", "/a"), locked("b", "/b")]);
    two.mounts.extend([locked("b", "/a"), locked("a", "/b")]);
    let runs = (0..8).map(|number| bench.run(if number % 2 == 0 { &one } else { &two }));
    for outcome in futures::future::join_all(runs).await {
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn t_a4_t_b3_link_in_a_shared_cache_never_shows_the_machine() {
    let bench = bench();
    let mut attacker = sh(
        "i=0; while [ $i -lt 400 ]; do rm -rf /cache/sub; mkdir /cache/sub; rm -rf /cache/sub; \
                           ln -s / /cache/sub; i=$((i+1)); done; rm -rf /cache/sub; mkdir /cache/sub",
    );
    attacker
        .mounts
        .push(cache("shared", "/cache", pb::CacheSharingOpt::Shared));
    let mut victim = sh("ls /work /target/sub");
    victim
        .mounts
        .push(cache("shared", "/target", pb::CacheSharingOpt::Shared));
    victim
        .mounts
        .push(mount(pb::MountType::Tmpfs, "/target/sub/deep"));
    let attack = bench.run(&attacker);
    let watch = async {
        for _ in 0..40 {
            // Refused or run: whatever the link leads to is the container's own.
            if let OpOutcome::Fault(failure) = bench.run(&victim).await {
                assert!(!failure.message.is_empty());
            }
        }
    };
    let (outcome, ()) = tokio::join!(attack, watch);
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    let output = bench.output();
    assert!(
        !output.contains("vmlinuz") && !output.contains("lost+found") && !output.contains("boot"),
        "{output}"
    );
}

#[tokio::test]
async fn secret_is_seen_inside_and_never_on_disk() {
    let bench = bench();
    let mut exec = sh(
        "test \"$(cat /run/secrets/key)\" = \"$KEY\" && stat -c '%a %u:%g' /run/secrets/key && ls /run/secrets; test -z \"$NONE\"",
    );
    let secret_opt = |id: &str, optional| {
        Some(pb::SecretOpt {
            id: id.into(),
            uid: 5,
            gid: 6,
            mode: 0o440,
            optional,
        })
    };
    let secret = mount(pb::MountType::Secret, "/run/secrets/key");
    exec.mounts.push(pb::Mount {
        secret_opt: secret_opt("key", false),
        ..secret.clone()
    });
    exec.mounts.push(pb::Mount {
        secret_opt: secret_opt("absent", true),
        dest: "/run/absent".into(),
        ..secret.clone()
    });
    exec.secretenv = vec![
        pb::SecretEnv {
            id: "key".into(),
            name: "KEY".into(),
            optional: false,
        },
        pb::SecretEnv {
            id: "absent".into(),
            name: "NONE".into(),
            optional: true,
        },
    ];
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.output(), "440 5:6\nkey\n");
    assert_eq!(bench.changes(&results[0]), [""; 0]);
    let found = std::process::Command::new("grep")
        .args(["-arl", CANARY])
        .arg(bench.temp.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    exec.mounts[1].secret_opt = secret_opt("absent", false);
    let failure = bench.fails(&exec).await;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::NotFound, "secret absent: not found")
    );
}

#[tokio::test]
async fn cancelled_op_leaves_nothing() {
    let bench = bench();
    let marker = "16.1803";
    let (ready, fifo) = (bench.temp.path().join("fifo"), "/cache/fifo");
    let mut exec = sh(&format!(
        "echo go > {fifo}; echo x > /x; sleep {marker} & sleep {marker}"
    ));
    exec.mounts
        .push(cache("c", "/cache", pb::CacheSharingOpt::Shared));
    // The cache mount's directory is ours to put a pipe into, by which the container says that it runs.
    bench
        .succeeds(&{
            let mut first = exec.clone();
            first.meta.as_mut().unwrap().args[2] = "/bin/busybox mkfifo /cache/fifo".into();
            first
        })
        .await;
    let caches = bench.temp.path().join("state/cachemounts");
    let directory = std::fs::read_dir(&caches)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::os::unix::fs::symlink(directory.join("data/fifo"), &ready).unwrap();
    let cancelled = async move {
        tokio::task::spawn_blocking(move || std::fs::read(ready).unwrap())
            .await
            .unwrap();
    };
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let outcome = bench
        .run_on(&[&bench.image], &exec, Box::pin(cancelled))
        .await;
    assert_eq!(outcome, OpOutcome::Cancelled);
    assert_eq!(bench.half_made_layers(), 0);
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        before
    );
    let alive = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .filter(|arguments| {
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == marker.as_bytes())
        });
    assert_eq!(alive.count(), 0);
}

#[tokio::test]
async fn cancel_before_the_container_runs_waits_for_no_lock() {
    let bench = bench();
    let mut holder = sh("echo held > /cache/fifo; cat /cache/fifo");
    holder
        .mounts
        .push(cache("c", "/cache", pb::CacheSharingOpt::Locked));
    let mut make = holder.clone();
    make.meta.as_mut().unwrap().args[2] = "/bin/busybox mkfifo /cache/fifo".into();
    bench.succeeds(&make).await;
    let data = std::fs::read_dir(bench.temp.path().join("state/cachemounts"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let fifo = data.join("data/fifo");
    let held = bench.run(&holder);
    let waiter = async {
        let open = fifo.clone();
        tokio::task::spawn_blocking(move || std::fs::read(open).unwrap())
            .await
            .unwrap();
        let mut wants = sh("true");
        wants
            .mounts
            .push(cache("c", "/cache", pb::CacheSharingOpt::Locked));
        let outcome = bench
            .run_on(&[&bench.image], &wants, Box::pin(std::future::ready(())))
            .await;
        assert_eq!(outcome, OpOutcome::Cancelled);
        tokio::task::spawn_blocking(move || std::fs::write(fifo, "release").unwrap())
            .await
            .unwrap();
    };
    let (outcome, ()) = tokio::join!(held, waiter);
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
}

/// One thing that makes an op another one.
type Change = fn(&mut pb::ExecOp);

#[tokio::test]
async fn what_is_not_built_or_not_known_is_refused_by_name() {
    let bench = bench();
    let refused = |change: Change| {
        let mut exec = sh("true");
        change(&mut exec);
        exec
    };
    let t_a10: [Change; 4] = [
        |e| e.security = 2,
        |e| e.security = 3,
        |e| e.security = -1,
        |e| e.security = i32::MAX,
    ];
    for change in t_a10 {
        assert_eq!(
            bench.fails(&refused(change)).await.kind,
            FailureKind::InvalidInput
        );
    }
    let unbuilt: [(Change, &str); 3] = [
        (|e| e.security = 1, "--security=insecure"),
        (
            |e| e.meta.as_mut().unwrap().cgroup_parent = "x".into(),
            "--cgroup-parent",
        ),
        (
            |e| e.mounts.push(mount(pb::MountType::Ssh, "/s")),
            "--mount=type=ssh",
        ),
    ];
    for (change, name) in unbuilt {
        let failure = bench.fails(&refused(change)).await;
        assert_eq!(failure.kind, FailureKind::Unsupported);
        assert!(failure.message.contains(name), "{}", failure.message);
    }
    let invalid: [Change; 8] = [
        |e| e.network = 9,
        |e| e.mounts[0].input = 5,
        |e| e.mounts.clear(),
        |e| e.meta = None,
        |e| e.mounts.push(mount(pb::MountType::Tmpfs, "/proc/x")),
        |e| {
            e.mounts
                .push(cache("dev", "/dev", pb::CacheSharingOpt::Shared))
        },
        |e| {
            e.mounts.push(pb::Mount {
                mount_type: 77,
                ..mount(pb::MountType::Bind, "/x")
            })
        },
        |e| e.meta.as_mut().unwrap().user = "4294967295".into(),
    ];
    for change in invalid {
        assert_eq!(
            bench.fails(&refused(change)).await.kind,
            FailureKind::InvalidInput
        );
    }
}
