//! How long a container takes from being asked for to being gone: `true` on busybox-static, n times one after the other.
//!
//! `cargo bench -p cooper-worker --bench start_to_exit`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on fails, and prints what it found"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cooper_worker::cgroup::StepCgroup;
use cooper_worker::exec::{
    Container, ExitStatus, Filter, Permissions, RunnerProgram, Template, User,
};
use cooper_worker::mount::{DetachedMount, OverlayMount, Upper};

const ROUNDS: usize = 300;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let temp = tempfile::tempdir().unwrap();
    let image = temp.path().join("image");
    std::fs::create_dir_all(image.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", image.join("bin/true")).unwrap();
    let program =
        RunnerProgram::at(Path::new(env!("CARGO_BIN_EXE_cooper-container-helper"))).unwrap();
    let command = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        assert!(
            std::process::Command::new(image.join("bin/true"))
                .status()
                .unwrap()
                .success()
        );
        begun.elapsed()
    });
    report("the command alone", command.collect());
    let mut bound = Vec::new();
    let mut overlaid = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        run(
            &runtime,
            &program,
            DetachedMount::bind_path(&image).unwrap(),
        );
        bound.push(begun.elapsed());
        let directory = |name: &str| {
            let path = temp.path().join(format!("{round}-{name}"));
            std::fs::create_dir(&path).unwrap();
            path
        };
        let upper = Upper {
            changes: directory("changes"),
            work: directory("work"),
            flush: Default::default(),
        };
        let begun = Instant::now();
        let overlay = OverlayMount {
            layers: vec![image.clone()],
            upper: Some(upper),
        };
        run(&runtime, &program, overlay.mount().unwrap());
        overlaid.push(begun.elapsed());
    }
    report("a container on a directory", bound);
    report("a container on an overlay, mounted and unmounted", overlaid);
}

fn run(runtime: &tokio::runtime::Runtime, program: &RunnerProgram, root: DetachedMount) {
    let template = Template {
        args: vec!["/bin/true".into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        hostname: "bench".into(),
        user: User {
            uid: 0,
            gid: 0,
            additional_gids: vec![0],
        },
        ..Template::default()
    };
    let container = Container {
        config: template.config(),
        root,
        mounts: Vec::new(),
        stages: Vec::new(),
        filter: Some(Filter::default_profile()),
        network: None,
        cgroup: Arc::new(StepCgroup::default()),
        permissions: Permissions {
            host_network: true,
            ..Permissions::default()
        },
    };
    let ended = runtime.block_on(container.run(program, |_, _| {}, std::future::pending()));
    assert_eq!(ended.unwrap(), ExitStatus::Exited(0));
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what}: median {:?}, p10 {:?}, p99 {:?}, of {}",
        at(50),
        at(10),
        at(99),
        times.len()
    );
}
