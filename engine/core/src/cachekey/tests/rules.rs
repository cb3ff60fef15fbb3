use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;

use super::golden::{amd64, map_of};
use crate::cachekey::{is_of_session, source_cache_map};
use crate::model::{ContentSelector, Pin};

fn op(inputs: usize, kind: Kind) -> pb::Op {
    let input = |index: usize| pb::Input {
        digest: cooper_proto::Digest::sha256_of(index.to_string())
            .as_str()
            .to_owned(),
        index: 0,
    };
    pb::Op {
        inputs: (0..inputs).map(input).collect(),
        op: Some(kind),
        ..pb::Op::default()
    }
}

fn run(change: impl Fn(&mut pb::ExecOp)) -> pb::Op {
    let mount = |input: i64, dest: &str, output: i64| pb::Mount {
        input,
        dest: dest.to_owned(),
        output,
        ..pb::Mount::default()
    };
    let mut exec = pb::ExecOp {
        meta: Some(pb::Meta {
            args: vec![String::from("make")],
            extra_hosts: vec![pb::HostIp {
                host: String::from("db"),
                ip: String::from("10.0.0.1"),
            }],
            ..pb::Meta::default()
        }),
        mounts: vec![mount(0, "/", 0), mount(1, "/src", -1)],
        ..pb::ExecOp::default()
    };
    change(&mut exec);
    op(2, Kind::Exec(exec))
}

fn digest(op: pb::Op) -> String {
    map_of(op).unwrap().digest.as_str().to_owned()
}

fn copy(src: &str, change: impl Fn(&mut pb::FileActionCopy)) -> pb::Op {
    let mut copy = pb::FileActionCopy {
        src: src.to_owned(),
        dest: String::from("/dest"),
        follow_symlink: true,
        ..pb::FileActionCopy::default()
    };
    change(&mut copy);
    op(
        2,
        Kind::File(pb::FileOp {
            actions: vec![pb::FileAction {
                input: 0,
                secondary_input: 1,
                output: 0,
                action: Some(Action::Copy(copy)),
            }],
        }),
    )
}

#[test]
fn surroundings_of_an_exec_do_not_change_its_digest() {
    let plain = digest(run(|_| {}));
    let same = [
        digest(run(|exec| exec.mounts[1].selector = String::from("/sub"))),
        digest(run(|exec| {
            exec.meta.as_mut().unwrap().proxy_env = Some(pb::ProxyEnv::default())
        })),
        digest(run(|exec| {
            exec.meta.as_mut().unwrap().extra_hosts[0].ip.clear()
        })),
        digest(pb::Op {
            platform: Some(amd64()),
            ..run(|_| {})
        }),
    ];
    assert!(same.iter().all(|same| *same == plain));
    let other = [
        digest(run(|exec| {
            exec.meta.as_mut().unwrap().user = String::from("me")
        })),
        digest(run(|exec| exec.network = 2)),
        digest(run(|exec| exec.security = 1)),
        digest(run(|exec| exec.mounts[1].readonly = true)),
        digest(run(|exec| exec.secretenv = vec![pb::SecretEnv::default()])),
    ];
    assert!(other.iter().all(|other| *other != plain));
}

#[test]
fn content_of_a_mount_counts_only_where_nothing_hidden_can_come_out() {
    let content = |change: &dyn Fn(&mut pb::Mount)| {
        let map = map_of(run(|exec| change(&mut exec.mounts[1]))).unwrap();
        map.inputs[1].content.is_some()
    };
    assert!(content(&|_| {}), "no output");
    assert!(content(&|mount| (mount.output, mount.readonly) = (1, true)));
    assert!(
        content(&|mount| mount.output = 1),
        "all of the input is shown"
    );
    let part = |mount: &mut pb::Mount| (mount.output, mount.selector) = (1, String::from("/bar"));
    assert!(!content(&part), "a file outside /bar would come out");
    assert!(!content(
        &|mount| mount.content_cache = pb::MountContentCache::Off.into()
    ));
    assert!(!content(&|mount| mount.dest = String::from("/")));
    let forced = run(|exec| {
        part(&mut exec.mounts[1]);
        exec.mounts[1].content_cache = pb::MountContentCache::On.into();
    });
    assert!(map_of(forced).is_err());
}

#[test]
fn only_the_last_name_of_a_copied_path_is_in_the_digest() {
    let plain = digest(copy("/a/b/c", |_| {}));
    assert_eq!(plain, digest(copy("/other/c", |_| {})));
    assert_ne!(plain, digest(copy("/a/b/d", |_| {})));
    let selectors = |src| {
        map_of(copy(src, |_| {})).unwrap().inputs[1]
            .selector
            .clone()
    };
    assert_ne!(selectors("/a/b/c"), selectors("/other/c"));
}

#[test]
fn copied_paths_are_told_for_the_content_key() {
    let map = map_of(copy("a/../b*", |copy| {
        copy.allow_wildcard = true;
        copy.exclude_patterns = vec![String::from("*.o")];
    }))
    .unwrap();
    assert_eq!(map.inputs[0].content, None, "the state that is copied into");
    assert_eq!(
        map.inputs[1].content,
        Some(vec![ContentSelector {
            path: String::from("/b*"),
            wildcard: true,
            follow_links: true,
            exclude_patterns: vec![String::from("*.o")],
            ..ContentSelector::default()
        }])
    );
    let plain = map_of(copy("/b*", |_| {})).unwrap();
    let selector = &plain.inputs[1].content.as_ref().unwrap()[0];
    assert!(!selector.wildcard, "the op does not allow wildcards");
}

#[test]
fn nested_paths_of_mounts_are_looked_at_once() {
    let map = map_of(run(|exec| {
        for path in ["/a/b", "/a", "/ab", "/a"] {
            exec.mounts.push(pb::Mount {
                selector: path.to_owned(),
                dest: path.to_owned(),
                readonly: true,
                ..exec.mounts[1].clone()
            });
        }
        exec.mounts.remove(1);
    }))
    .unwrap();
    let paths: Vec<_> = map.inputs[1]
        .content
        .iter()
        .flatten()
        .map(|selector| selector.path.as_str())
        .collect();
    assert_eq!(paths, ["/a", "/ab"]);
}

#[test]
fn source_digest_is_made_of_the_workers_text() {
    let map = source_cache_map("key", Pin::default(), true);
    // printf 'buildkit.source.v0:key' | sha256sum
    assert_eq!(
        map.digest,
        cooper_proto::Digest::sha256_of("buildkit.source.v0:key")
    );
    assert!(map.more);
    assert!(is_of_session("session:context:sha256:00"));
    assert!(!is_of_session("sha256:00"));
}

// T-C17
#[test]
fn whatever_can_change_what_a_run_makes_changes_its_digest() {
    type Change = fn(&mut pb::ExecOp);
    let changes: [(&str, Change); 16] = [
        ("args", |exec| meta(exec).args.push("x".into())),
        ("args split otherwise", |exec| {
            meta(exec).args = vec!["ma".into(), "ke".into()]
        }),
        ("env", |exec| meta(exec).env.push("A=1".into())),
        ("cwd", |exec| meta(exec).cwd = "/x".into()),
        ("user", |exec| meta(exec).user = "1".into()),
        ("hostname", |exec| meta(exec).hostname = "x".into()),
        ("extra host", |exec| {
            meta(exec).extra_hosts[0].host = "x".into()
        }),
        ("valid exit codes", |exec| {
            meta(exec).valid_exit_codes = vec![1]
        }),
        ("network", |exec| exec.network = 1),
        ("security", |exec| exec.security = 1),
        ("mount", |exec| drop(exec.mounts.pop())),
        ("destination", |exec| exec.mounts[1].dest = "/x".into()),
        ("read-only", |exec| exec.mounts[1].readonly = true),
        ("output", |exec| exec.mounts[1].output = 1),
        ("kind of mount", |exec| exec.mounts[1].mount_type = 4),
        ("secret", |exec| {
            exec.secretenv = vec![pb::SecretEnv {
                id: "a".into(),
                name: "A".into(),
                optional: false,
            }]
        }),
    ];
    let mut seen = std::collections::BTreeMap::from([(digest(run(|_| {})), "nothing")]);
    for (name, change) in changes {
        let same = seen.insert(digest(run(change)), name);
        assert_eq!(same, None, "{name}");
    }
}

fn meta(exec: &mut pb::ExecOp) -> &mut pb::Meta {
    exec.meta.as_mut().unwrap()
}

// T-C17
#[test]
fn whatever_can_change_what_a_copy_makes_changes_its_digest() {
    type Change = fn(&mut pb::FileActionCopy);
    let changes: [(&str, Change); 11] = [
        ("destination", |copy| copy.dest = "/x".into()),
        ("owner", |copy| {
            copy.owner = Some(pb::ChownOpt {
                user: Some(pb::UserOpt {
                    user: Some(pb::user_opt::User::ById(7)),
                }),
                group: None,
            })
        }),
        ("mode", |copy| copy.mode = 0o600),
        ("symbolic mode", |copy| copy.mode_str = "u+x".into()),
        ("links", |copy| copy.follow_symlink = false),
        ("contents of a directory", |copy| {
            copy.dir_copy_contents = true
        }),
        ("unpacking", |copy| {
            copy.attempt_unpack_docker_compatibility = true
        }),
        ("making the way", |copy| copy.create_dest_path = true),
        ("wildcards", |copy| copy.allow_wildcard = true),
        ("exclusions", |copy| {
            copy.exclude_patterns = vec!["x".into()]
        }),
        ("time", |copy| copy.timestamp = 7),
    ];
    let plain = digest(copy("/src", |_| {}));
    let mut seen = std::collections::BTreeMap::from([(plain, "nothing")]);
    for (name, change) in changes {
        let same = seen.insert(digest(copy("/src", change)), name);
        assert_eq!(same, None, "{name}");
    }
}
