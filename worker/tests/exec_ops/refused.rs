use cooper_core::model::FailureKind;
use cooper_proto::pb;

use crate::bench::{bench, cache, mount, sh};

/// One thing that makes an op another one.
type Change = fn(&mut pb::ExecOp);

#[tokio::test]
async fn t_a10_what_is_not_known_is_refused() {
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
    let invalid: [Change; 10] = [
        |e| e.meta.as_mut().unwrap().cgroup_parent = "a/../..".into(),
        |e| e.mounts.push(mount(pb::MountType::Ssh, "/s")),
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
