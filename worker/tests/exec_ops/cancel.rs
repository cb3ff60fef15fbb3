use cooper_core::ports::OpOutcome;
use cooper_proto::pb;

use crate::bench::{bench, cache, sh};

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
