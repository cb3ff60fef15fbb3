use cooper_core::model::FailureKind;
use cooper_proto::pb;

use crate::bench::{bench, mount, sh};

fn ssh(id: &str, optional: bool) -> pb::Mount {
    pb::Mount {
        ssh_opt: Some(pb::SshOpt {
            id: id.into(),
            uid: 5,
            gid: 6,
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
    assert_eq!(bench.output(), "socket 640 5:6\n");
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
