use cooper_core::model::FailureKind;
use cooper_proto::pb;

use crate::bench::{bench, mount, other_ids, sh};

fn ssh(id: &str, optional: bool) -> pb::Mount {
    let (uid, gid) = other_ids(5, 6);
    pb::Mount {
        ssh_opt: Some(pb::SshOpt {
            id: id.into(),
            uid,
            gid,
            mode: 0o640,
            optional,
        }),
        ..mount(pb::MountType::Ssh, "/run/deep/agent")
    }
}

#[tokio::test]
async fn agent_s_socket_is_there_for_the_step_alone() {
    let bench = bench();
    let mut exec = sh("stat -c '%F %a %u:%g' /run/deep/agent");
    exec.mounts.push(ssh("default", false));
    let results = bench.succeeds(&exec).await;
    let (uid, gid) = other_ids(5, 6);
    assert_eq!(bench.output(), format!("socket 640 {uid}:{gid}\n"));
    assert_eq!(bench.changes(&results[0]), [""; 0], "no stub is left");
}

#[tokio::test]
async fn agent_that_nobody_forwards_is_named_or_left_out() {
    let bench = bench();
    let mut exec = sh("test ! -e /run/deep");
    exec.mounts.push(ssh("other", true));
    bench.succeeds(&exec).await;
    exec.mounts[1] = ssh("other", false);
    let failure = bench.fails(&exec).await;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::NotFound, "unset ssh forward key other")
    );
}

/// What this process is connected to by names that every process of its network could use.
fn abstract_sockets() -> Vec<String> {
    let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| target.to_str().map(String::from))
        .collect();
    let all = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    let names = all.lines().filter(|line| line.contains(" @"));
    let ours = names.filter(|line| {
        let inode = line.split_whitespace().nth(6).unwrap();
        own.contains(&format!("socket:[{inode}]"))
    });
    ours.map(String::from).collect()
}

// T-C12
#[tokio::test]
async fn a_step_on_the_machine_s_network_finds_no_socket_of_ours_by_name() {
    let bench = bench();
    let mut exec = sh("grep ' @.*cooper' /proc/net/unix; echo up; sleep 1000");
    exec.network = pb::NetMode::Host.into();
    exec.mounts.push(ssh("default", false));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let cancelled = Box::pin(async move { drop(stopped.await) });
    let inputs = [&bench.image];
    let run = bench.run_on(&inputs, &exec, cancelled);
    let look = async {
        let mut said = String::new();
        while !said.contains("up\n") {
            tokio::task::yield_now().await;
            said.push_str(&bench.output());
        }
        assert_eq!(abstract_sockets(), [""; 0]);
        drop(stop);
        said
    };
    tokio::pin!(run, look);
    let said = tokio::select! {
        ended = &mut run => panic!("it ended by itself: {ended:?}"),
        said = &mut look => said,
    };
    run.await;
    assert_eq!(said, "up\n");
}
