//! Commands do the same with a daemon as with an engine of their own. Needs root, busybox-static, openssh-client and
//! skopeo.

#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml lets tests unwrap, but not functions that tests call"
)]

#[expect(dead_code, reason = "each test program needs a part of it")]
mod bench;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use bench::place::{Bench, lines_until, names_in, signal, with_input};
use bench::registry::Registry;
use rustix::process::Signal;

#[test]
fn build_sends_files_and_secrets_and_gets_every_kind_of_output() {
    for bench in Bench::both() {
        bench.write("kept", "in the context");
        bench.write("ignored", "not sent");
        bench.write(".dockerignore", "ignored\n");
        bench.write("secret", "s3cret");
        bench.write("lib/part", "from a named context");
        bench.dockerfile(
            "COPY . /context\nCOPY --from=lib part /part\n\
             RUN --mount=type=secret,id=s cat /run/secrets/s > /secret\n\
             RUN --mount=type=secret,id=e,env=E printf %s \"$E\" > /environment\n\
             FROM scratch\nCOPY --from=1 /context/kept /context/ignored* /part /secret /environment /\n",
        );
        let common = [
            "--build-context=lib=lib",
            "--secret=id=s,src=secret",
            "--secret=id=e,env=VALUE",
            "-t=app:1",
            "--iidfile=id",
            "--metadata-file=metadata",
            ".",
        ];
        let outputs = [
            "-o=type=image",
            "-o=out",
            "-o=type=tar,dest=out.tar",
            "-o=type=oci,dest=oci.tar",
            "-o=type=docker,dest=docker.tar",
            "-o=type=oci,tar=false,dest=layout",
        ];
        let mut build = bench.build(&[&common[..], &outputs].concat());
        build.env("VALUE", "from the environment");
        bench.succeed(build);
        assert_eq!(bench.read("out/kept"), "in the context");
        assert_eq!(bench.read("out/part"), "from a named context");
        assert_eq!(bench.read("out/secret"), "s3cret");
        assert_eq!(bench.read("out/environment"), "from the environment");
        assert!(!bench.file("out/ignored").exists());
        assert!(names_in(&bench.file("out.tar")).contains(&"kept".to_owned()));
        assert!(names_in(&bench.file("oci.tar")).contains(&"oci-layout".to_owned()));
        assert!(names_in(&bench.file("docker.tar")).contains(&"manifest.json".to_owned()));
        let metadata: serde_json::Value = serde_json::from_str(&bench.read("metadata")).unwrap();
        assert_eq!(metadata["containerimage.config.digest"], bench.read("id"));
        assert_eq!(metadata["image.name"], "docker.io/library/app:1");
        let inspected = Command::new("skopeo")
            .args(["inspect", "--raw"])
            .arg(format!("oci:{}:1", bench.file("layout").display()))
            .output()
            .unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!(manifest["config"]["digest"], bench.read("id"));
        let listed = bench.succeed(bench.command(&["image", "ls"]));
        assert!(listed.contains("app:1"), "{listed}");
    }
}

#[test]
fn folder_that_mirrors_loses_what_the_result_does_not_have() {
    for bench in Bench::both() {
        bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /new\n");
        bench.write("out/old", "");
        bench.succeed(bench.build(&["-o", "out", "."]));
        assert!(bench.file("out/old").exists() && bench.file("out/new").exists());
        bench.succeed(bench.build(&["-o", "type=local,dest=out,mode=delete", "."]));
        assert!(!bench.file("out/old").exists() && bench.file("out/new").exists());
    }
}

#[test]
fn image_of_an_oci_layout_is_read_from_the_client() {
    for bench in Bench::both() {
        bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /first\n");
        bench.succeed(bench.build(&["-t=base:1", "-o=type=oci,tar=false,dest=layout", "."]));
        // Another state than the one that has the blobs already.
        let other = Bench::daemon();
        fs::rename(bench.file("layout"), other.file("layout")).unwrap();
        other.write("Dockerfile", "FROM named\nCOPY Dockerfile /second\n");
        let named = "--build-context=named=oci-layout://layout:1";
        other.succeed(other.build(&[named, "-o=out", "."]));
        assert!(other.file("out/first").exists() && other.file("out/second").exists());
    }
}

/// Puts a program of this machine and its libraries into the context, in `root`.
fn take_program(bench: &Bench, program: &str) {
    let found = Command::new("ldd").arg(program).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let libraries = found
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let target = bench.file("root").join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

/// An SSH agent that has no keys, for one client.
fn agent_without_keys(socket: &Path) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 5];
            // A client that only looks whether somebody is there says nothing.
            if stream.read_exact(&mut request).is_ok() {
                assert_eq!(request, [0, 0, 0, 1, 11], "it asks for the keys");
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
                return;
            }
        }
    })
}

#[test]
fn agent_is_forwarded_to_the_step_that_mounts_it() {
    for bench in Bench::both() {
        take_program(&bench, "/usr/bin/ssh-add");
        bench.dockerfile(
            "COPY root /\nRUN --mount=type=ssh,required=true /usr/bin/ssh-add -l > /said || true\n\
             FROM scratch\nCOPY --from=1 /said /\n",
        );
        let agent = agent_without_keys(&bench.path("agent"));
        let ssh = format!("default={}", bench.path("agent").display());
        bench.succeed(bench.build(&["--ssh", &ssh, "-o=out", "."]));
        agent.join().unwrap();
        assert!(bench.read("out/said").contains("no identities"));
        let missing = bench.fail(bench.build(&["--no-cache", "."]), 1);
        assert!(
            missing.contains("--ssh default") || missing.contains("ssh forward"),
            "{missing}"
        );
    }
}

#[test]
fn cache_is_written_to_a_folder_of_the_client_and_read_from_it() {
    for bench in Bench::both() {
        bench.dockerfile("RUN head -c 100 /dev/urandom | base64 > /random\n");
        let to = "--cache-to=type=local,dest=cache,mode=max";
        bench.succeed(bench.build(&[to, "-o=first", "."]));
        bench.succeed(bench.command(&["prune", "--all"]));
        let from = "--cache-from=type=local,src=cache";
        bench.succeed(bench.build(&[from, "-o=second", "."]));
        assert_eq!(bench.read("first/random"), bench.read("second/random"));
        bench.succeed(bench.command(&["prune", "--all"]));
        bench.succeed(bench.build(&["-o=third", "."]));
        assert_ne!(bench.read("first/random"), bench.read("third/random"));
    }
}

#[test]
fn images_are_imported_listed_named_and_removed() {
    for bench in Bench::both() {
        bench.write("root/etc/motd", "hello");
        let told = bench.succeed(bench.command(&["image", "import", "root", "motd:1"]));
        assert!(told.starts_with("motd:1 sha256:"), "{told}");
        bench.succeed(bench.command(&["image", "tag", "motd:1", "motd:2"]));
        bench.write("Dockerfile", "FROM motd:2\nCOPY Dockerfile /\n");
        bench.succeed(bench.build(&["-o=out", "."]));
        assert_eq!(bench.read("out/etc/motd"), "hello");
        let shown = bench.succeed(bench.command(&["image", "inspect", "motd:1"]));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["name"], "docker.io/library/motd:1");
        let history = bench.succeed(bench.command(&["image", "history", "motd:1"]));
        assert!(history.contains("Imported from root"), "{history}");
        bench.succeed(bench.command(&["image", "rm", "motd:1", "motd:2"]));
        let listed = bench.succeed(bench.command(&["image", "ls", "-q"]));
        assert_eq!(listed, "");
        let gone = bench.fail(bench.command(&["image", "inspect", "motd:1"]), 1);
        assert!(gone.contains("motd:1"), "{gone}");
        let archive = with_input(bench.command(&["image", "import", "-", "x"]), b"no archive");
        assert_eq!(archive.status.code(), Some(1));
    }
}

#[test]
fn why_a_step_ran_and_what_it_said_is_told_after_the_build() {
    for bench in Bench::both() {
        bench.write("file", "1");
        bench.dockerfile("COPY file /file\nRUN echo said $(cat /file)\n");
        bench.succeed(bench.build(&["."]));
        bench.write("file", "2");
        let mut build = bench.build(&["--explain", "."]);
        let output = build.output().unwrap();
        assert!(
            bench::place::stderr(&output).contains("file"),
            "{}",
            bench::place::stderr(&output)
        );
        let explained = bench.succeed(bench.command(&["explain", "--format=json"]));
        let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
        let build = explained["build"].as_str().unwrap();
        assert!(
            explained["steps"].to_string().contains("\"file\""),
            "{explained}"
        );
        let listed = bench.succeed(bench.command(&["history"]));
        assert!(listed.contains(build), "{listed}");
        let said = bench.succeed(bench.command(&["logs", build]));
        assert!(said.contains("said 2"), "{said}");
        let unknown = bench.fail(bench.command(&["explain", "zz"]), 1);
        assert!(unknown.contains("there is no build zz"), "{unknown}");
    }
}

#[test]
fn failing_step_exits_with_one_and_its_place_in_the_dockerfile() {
    for bench in Bench::both() {
        bench.dockerfile("RUN echo before; exit 7\n");
        let said = bench.fail(bench.build(&["."]), 1);
        assert!(
            said.contains("before") && said.contains("exit code: 7"),
            "{said}"
        );
        assert!(
            said.contains("   5 | >>> RUN echo before; exit 7"),
            "{said}"
        );
        bench.write("Dockerfile", "FROM scratch\nRUM x\n");
        let said = bench.fail(bench.build(&["."]), 1);
        assert!(said.contains("RUM"), "{said}");
        let checked = bench.build(&["--check", "."]).output().unwrap();
        assert_eq!(checked.status.code(), Some(1));
        assert!(bench::place::stderr(&checked).contains("unknown instruction: RUM"));
    }
}

/// Whether a file below a folder has these bytes.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap()).any(|entry| {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            return holds(&entry.path(), wanted);
        }
        let content = match kind.is_file() {
            true => fs::read(entry.path()).unwrap_or_default(),
            false => Vec::new(),
        };
        content.windows(wanted.len()).any(|part| part == wanted)
    })
}

#[test]
fn credentials_of_the_user_reach_the_registry_and_nothing_else() {
    for bench in Bench::both() {
        let registry = Registry::start_private(&bench.path(""));
        let auth = format!(
            r#"{{"auths":{{"{}":{{"auth":"bWU6Q0FOQVJZ"}}}}}}"#,
            registry.address
        );
        fs::create_dir(bench.path("docker")).unwrap();
        fs::write(bench.path("docker/config.json"), auth).unwrap();
        bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        let name = format!("{}/private:1", registry.address);
        let push = |config: &str| {
            let mut build = bench.build(&["--push", "-t", &name, "."]);
            build.env("DOCKER_CONFIG", bench.path(config));
            build
        };
        bench.fail(push("nowhere"), 1);
        bench.succeed(push("docker"));
        assert!(!holds(&bench.path("state"), b"CANARY"));
        assert!(!bench.log().contains("CANARY"));
    }
}

/// The processes that run with this argument.
fn processes_with(argument: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    let has = |line: &Vec<u8>| {
        line.split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
    };
    lines.filter(has).count()
}

#[test]
fn interrupt_cancels_the_build_where_it_runs() {
    for (bench, seconds) in Bench::both().into_iter().zip(["918273", "918274"]) {
        bench.dockerfile(&format!("RUN echo started; sleep {seconds}\n"));
        let mut child = bench.build(&["."]).stderr(Stdio::piped()).spawn().unwrap();
        lines_until(&mut child, " started\n");
        while processes_with(seconds) == 0 {
            std::thread::yield_now();
        }
        signal(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{}", bench.log());
        assert_eq!(processes_with(seconds), 0, "{}", bench.log());
    }
}

// RT-11
#[test]
fn build_ends_when_its_daemon_dies() {
    let mut bench = Bench::daemon();
    bench.dockerfile("RUN echo started; sleep 918276\n");
    let mut child = bench.build(&["."]).stderr(Stdio::piped()).spawn().unwrap();
    lines_until(&mut child, " started\n");
    bench.kill_daemon();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = bench::place::stderr(&output);
    assert!(said.contains("the connection to the daemon at"), "{said}");
    // The next daemon ends what the last one left.
    let address = format!("unix://{}", bench.path("cooperd.sock").display());
    bench.start_daemon(&["--addr", &address]);
    bench.succeed(bench.command(&["history"]));
}

#[test]
fn daemon_is_found_by_the_environment() {
    let bench = Bench::daemon();
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.succeed(bench.build(&["."]));
    let listed = |name: &str, address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.args(["history"]).env(name, address);
        bench.succeed(command)
    };
    let address = format!("unix://{}", bench.path("cooperd.sock").display());
    for name in ["BUILDKIT_HOST", "COOPER_HOST"] {
        assert_eq!(listed(name, &address).lines().count(), 2);
    }
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_cooper"));
    nobody
        .args(["du"])
        .env("COOPER_HOST", "unix:///nowhere/cooperd.sock");
    let said = bench.fail(nobody, 1);
    assert!(
        said.contains("cannot connect to the daemon at unix:///nowhere/cooperd.sock"),
        "{said}"
    );
}

/// Certificates of an authority, a daemon and a client, in files.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(folder);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{arguments}: {}",
            bench::place::stderr(&output)
        );
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority"
    ));
    for (name, prefix) in [("builder.test", "server-"), ("me", "")] {
        openssl(&format!(
            "req -x509 {key} -keyout {prefix}key.pem -out {prefix}cert.pem -CA ca.pem -CAkey ca.key -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:FALSE"
        ));
    }
}

#[test]
fn daemon_is_reached_over_tcp_with_certificates_and_not_without() {
    let mut bench = Bench::without_place();
    certificates(&bench.path(""));
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("tcp://127.0.0.1:{port}");
    let file = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    let (cert, key, ca) = (
        file("server-cert.pem"),
        file("server-key.pem"),
        file("ca.pem"),
    );
    let folder = file("");
    bench.start_daemon(&[
        "--addr",
        &address,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
        "--tlscacert",
        &ca,
    ]);
    bench.reach(
        &address,
        &["--tlsdir", &folder, "--tlsservername=builder.test"],
    );
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.succeed(bench.build(&["-o=out", "."]));
    assert!(bench.file("out/Dockerfile").exists());
    let refused = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.args(["--addr", &address]).args(arguments).arg("du");
        bench.fail(command, 1)
    };
    let cannot = format!("cannot connect to the daemon at {address}");
    // Plain, without a certificate of one's own, and to one of another name.
    for arguments in [
        &[][..],
        &["--tlscacert", &ca, "--tlsservername=builder.test"],
        &["--tlsdir", &folder],
    ] {
        let said = refused(arguments);
        assert!(said.contains(&cannot), "{said}");
    }
}

#[test]
fn daemon_is_reached_through_whichever_client_its_container_has() {
    let mut bench = Bench::daemon();
    let socket = format!("unix://{}", bench.path("cooperd.sock").display());
    // What `docker exec` does, for a container that has our client and not BuildKit's.
    let script = format!(
        "#!/bin/sh\nset -e\n[ \"$1 $2 $3\" = 'exec -i builder' ]\n\
         if [ \"$4\" = buildctl ]; then echo 'exec: \"buildctl\": not found' >&2; exit 127; fi\n\
         shift 4\nexec {} --addr {socket} \"$@\"\n",
        env!("CARGO_BIN_EXE_cooper"),
    );
    let programs = bench.path("bin");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("docker"), script).unwrap();
    fs::set_permissions(programs.join("docker"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.succeed(bench.command(&["du"]));
    bench.reach("docker-container://builder", &[]);
    bench.write("file", "hi");
    bench.dockerfile("COPY file /file\nRUN sha256sum /file\n");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let mut build = bench.build(&["-o=out", "."]);
    build.env("PATH", &path);
    bench.succeed(build);
    assert_eq!(bench.read("out/file"), "hi");
    bench.dockerfile("RUN echo started; sleep 918275\n");
    let mut build = bench.build(&["."]);
    let mut child = build
        .env("PATH", &path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lines_until(&mut child, " started\n");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(processes_with("918275"), 0);
    let mut missing = bench.command(&["du"]);
    missing.env("PATH", "/nowhere");
    let said = bench.fail(missing, 1);
    assert!(
        said.contains("needs the program docker, which is not here"),
        "{said}"
    );
}

#[test]
fn several_targets_are_built_in_one_run_that_does_what_they_share_once() {
    for bench in Bench::both() {
        bench.write("file", "shared");
        bench.dockerfile(
            "COPY file /file\nRUN head -c 100 /dev/urandom | base64 >> /file\n\
             FROM scratch AS app\nCOPY --from=1 /file /app\n\
             FROM scratch AS tests\nCOPY --from=1 /file /tests\n",
        );
        let two = ["--target=app,tests", "--metadata-file=metadata", "."];
        let outputs = [
            "-o=target=app,type=local,dest=app",
            "-o=target=tests,type=local,dest=tests",
            "-o=target=app,type=image,name=app:1",
        ];
        let output = bench
            .build(&[&two[..], &outputs].concat())
            .output()
            .unwrap();
        let said = bench::place::stderr(&output);
        assert!(output.status.success(), "{said}{}", bench.log());
        assert_eq!(bench.read("app/app"), bench.read("tests/tests"));
        assert!(bench.read("app/app").starts_with("shared"));
        assert!(!bench.file("app/tests").exists() && !bench.file("tests/app").exists());
        assert!(said.contains("app: exporting to image"), "{said}");
        let metadata: serde_json::Value = serde_json::from_str(&bench.read("metadata")).unwrap();
        assert_eq!(metadata["app"]["image.name"], "app:1");
        assert!(
            metadata["tests"]["buildx.build.ref"].is_string(),
            "{metadata}"
        );
        for (arguments, expected) in [
            (
                &["--target=app,tests", "-t=x", "."][..],
                "--tag does not say which",
            ),
            (&["--target=app,tests", "-o=out", "."], "is for no target"),
            (
                &["--target=app", "-o=target=tests,type=tar,dest=t", "."],
                "is not built",
            ),
        ] {
            let said = bench.fail(bench.build(arguments), 1);
            assert!(said.contains(expected), "{said}");
        }
        let missing = bench.fail(bench.build(&["--target=app,nothing", "."]), 1);
        assert!(missing.contains("nothing"), "{missing}");
    }
}
