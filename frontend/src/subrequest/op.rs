//! An op in protobuf's JSON: names in camel case, numbers of 64 bits as texts, zero values left out.

use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op;

use super::wire::{Names, push_bytes, push_definition, push_list};
use crate::golang::json::{Object, push_string};

/// Appends an op.
pub(super) fn push_op(out: &mut String, op: &pb::Op) {
    let mut object = Object::open(out);
    if !op.inputs.is_empty() {
        push_list(object.key("inputs"), &op.inputs, |out, input| {
            let mut written = Object::open(out);
            written.string_or_none("digest", &input.digest);
            written.big_or_none("index", input.index);
            written.close();
        });
    }
    match &op.op {
        Some(Op::Exec(exec)) => push_exec(object.key("exec"), exec),
        Some(Op::Source(source)) => {
            let mut written = Object::open(object.key("source"));
            written.string_or_none("identifier", &source.identifier);
            push_texts(&mut written, "attrs", &source.attrs);
            written.close();
        }
        Some(Op::File(file)) => {
            let mut written = Object::open(object.key("file"));
            if !file.actions.is_empty() {
                push_list(written.key("actions"), &file.actions, push_action);
            }
            written.close();
        }
        Some(Op::Build(build)) => push_build(object.key("build"), build),
        Some(Op::Merge(merge)) => {
            let mut written = Object::open(object.key("merge"));
            if !merge.inputs.is_empty() {
                push_list(written.key("inputs"), &merge.inputs, |out, input| {
                    push_input(out, input.input);
                });
            }
            written.close();
        }
        Some(Op::Diff(diff)) => {
            let mut written = Object::open(object.key("diff"));
            if let Some(lower) = &diff.lower {
                push_input(written.key("lower"), lower.input);
            }
            if let Some(upper) = &diff.upper {
                push_input(written.key("upper"), upper.input);
            }
            written.close();
        }
        Some(Op::Passthrough(passthrough)) => {
            let mut written = Object::open(object.key("passthrough"));
            written.string_or_none("id", &passthrough.id);
            if !passthrough.outputs.is_empty() {
                push_list(
                    written.key("outputs"),
                    &passthrough.outputs,
                    |out, output| {
                        push_string(out, &output.to_string());
                    },
                );
            }
            written.close();
        }
        None => {}
    }
    if let Some(platform) = &op.platform {
        let mut written = Object::open(object.key("platform"));
        written.string_or_none("Architecture", &platform.architecture);
        written.string_or_none("OS", &platform.os);
        written.string_or_none("Variant", &platform.variant);
        written.string_or_none("OSVersion", &platform.os_version);
        written.list_or_none("OSFeatures", &platform.os_features);
        written.close();
    }
    if let Some(constraints) = &op.constraints {
        let mut written = Object::open(object.key("constraints"));
        written.list_or_none("filter", &constraints.filter);
        written.close();
    }
    object.close();
}

fn push_input(out: &mut String, input: i64) {
    let mut object = Object::open(out);
    object.big_or_none("input", input);
    object.close();
}

fn push_texts<'a>(
    object: &mut Object<'_>,
    name: &str,
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    let mut texts = texts.into_iter().peekable();
    if texts.peek().is_none() {
        return;
    }
    let mut written = Object::open(object.key(name));
    for (key, value) in texts {
        written.string(key, value);
    }
    written.close();
}

fn push_build(out: &mut String, build: &pb::BuildOp) {
    let mut object = Object::open(out);
    object.big_or_none("builder", build.builder);
    if !build.inputs.is_empty() {
        let mut written = Object::open(object.key("inputs"));
        for (name, input) in &build.inputs {
            push_input(written.key(name), input.input);
        }
        written.close();
    }
    if let Some(definition) = &build.def {
        push_definition(object.key("def"), definition, Names::Camel);
    }
    push_texts(&mut object, "attrs", &build.attrs);
    object.close();
}

fn push_exec(out: &mut String, exec: &pb::ExecOp) {
    let mut object = Object::open(out);
    if let Some(meta) = &exec.meta {
        push_meta(object.key("meta"), meta);
    }
    if !exec.mounts.is_empty() {
        push_list(object.key("mounts"), &exec.mounts, push_mount);
    }
    let network = ["UNSET", "HOST", "NONE"];
    push_name(&mut object, "network", exec.network, &network);
    push_name(
        &mut object,
        "security",
        exec.security,
        &["SANDBOX", "INSECURE"],
    );
    if !exec.secretenv.is_empty() {
        push_list(object.key("secretenv"), &exec.secretenv, |out, secret| {
            let mut written = Object::open(out);
            written.string_or_none("ID", &secret.id);
            written.string_or_none("name", &secret.name);
            written.truth_or_none("optional", secret.optional);
            written.close();
        });
    }
    if !exec.cdi_devices.is_empty() {
        push_list(
            object.key("cdiDevices"),
            &exec.cdi_devices,
            |out, device| {
                let mut written = Object::open(out);
                written.string_or_none("name", &device.name);
                written.truth_or_none("optional", device.optional);
                written.close();
            },
        );
    }
    object.close();
}

/// The name of an enum's value, unless it is the first.
fn push_name(object: &mut Object<'_>, field: &str, value: i32, names: &[&str]) {
    match usize::try_from(value).ok().and_then(|at| names.get(at)) {
        _ if value == 0 => {}
        Some(name) => object.string(field, name),
        None => object.number_or_none(field, i64::from(value)),
    }
}

fn push_meta(out: &mut String, meta: &pb::Meta) {
    let mut object = Object::open(out);
    object.list_or_none("args", &meta.args);
    object.list_or_none("env", &meta.env);
    object.string_or_none("cwd", &meta.cwd);
    object.string_or_none("user", &meta.user);
    if let Some(proxies) = &meta.proxy_env {
        let mut written = Object::open(object.key("proxyEnv"));
        written.string_or_none("httpProxy", &proxies.http_proxy);
        written.string_or_none("httpsProxy", &proxies.https_proxy);
        written.string_or_none("ftpProxy", &proxies.ftp_proxy);
        written.string_or_none("noProxy", &proxies.no_proxy);
        written.string_or_none("allProxy", &proxies.all_proxy);
        written.close();
    }
    if !meta.extra_hosts.is_empty() {
        push_list(object.key("extraHosts"), &meta.extra_hosts, |out, host| {
            let mut written = Object::open(out);
            written.string_or_none("Host", &host.host);
            written.string_or_none("IP", &host.ip);
            written.close();
        });
    }
    object.string_or_none("hostname", &meta.hostname);
    if !meta.ulimit.is_empty() {
        push_list(object.key("ulimit"), &meta.ulimit, |out, limit| {
            let mut written = Object::open(out);
            written.string_or_none("Name", &limit.name);
            written.big_or_none("Soft", limit.soft);
            written.big_or_none("Hard", limit.hard);
            written.close();
        });
    }
    object.string_or_none("cgroupParent", &meta.cgroup_parent);
    object.truth_or_none(
        "removeMountStubsRecursive",
        meta.remove_mount_stubs_recursive,
    );
    if !meta.valid_exit_codes.is_empty() {
        push_list(
            object.key("validExitCodes"),
            &meta.valid_exit_codes,
            |out, code| {
                out.push_str(&code.to_string());
            },
        );
    }
    object.close();
}

fn push_mount(out: &mut String, mount: &pb::Mount) {
    let mut object = Object::open(out);
    object.big_or_none("input", mount.input);
    object.string_or_none("selector", &mount.selector);
    object.string_or_none("dest", &mount.dest);
    object.big_or_none("output", mount.output);
    object.truth_or_none("readonly", mount.readonly);
    let kinds = ["BIND", "SECRET", "SSH", "CACHE", "TMPFS"];
    push_name(&mut object, "mountType", mount.mount_type, &kinds);
    if let Some(tmpfs) = &mount.tmpfs_opt {
        let mut written = Object::open(object.key("TmpfsOpt"));
        written.big_or_none("size", tmpfs.size);
        written.close();
    }
    if let Some(cache) = &mount.cache_opt {
        let mut written = Object::open(object.key("cacheOpt"));
        written.string_or_none("ID", &cache.id);
        let sharing = ["SHARED", "PRIVATE", "LOCKED"];
        push_name(&mut written, "sharing", cache.sharing, &sharing);
        written.close();
    }
    if let Some(secret) = &mount.secret_opt {
        let owner = [secret.uid, secret.gid, secret.mode];
        push_handed(object.key("secretOpt"), &secret.id, owner, secret.optional);
    }
    if let Some(agent) = &mount.ssh_opt {
        let owner = [agent.uid, agent.gid, agent.mode];
        push_handed(object.key("SSHOpt"), &agent.id, owner, agent.optional);
    }
    object.string_or_none("resultID", &mount.result_id);
    let caches = ["DEFAULT", "ON", "OFF"];
    push_name(&mut object, "contentCache", mount.content_cache, &caches);
    object.close();
}

/// A secret or an agent; `owner` is user, group and mode.
fn push_handed(out: &mut String, id: &str, owner: [u32; 3], optional: bool) {
    let mut object = Object::open(out);
    object.string_or_none("ID", id);
    for (name, value) in ["uid", "gid", "mode"].into_iter().zip(owner) {
        object.number_or_none(name, i64::from(value));
    }
    object.truth_or_none("optional", optional);
    object.close();
}

fn push_action(out: &mut String, action: &pb::FileAction) {
    let mut object = Object::open(out);
    object.big_or_none("input", action.input);
    object.big_or_none("secondaryInput", action.secondary_input);
    object.big_or_none("output", action.output);
    match &action.action {
        Some(Action::Copy(copy)) => push_copy(object.key("copy"), copy),
        Some(Action::Mkfile(file)) => {
            let mut written = Object::open(object.key("mkfile"));
            written.string_or_none("path", &file.path);
            written.number_or_none("mode", i64::from(file.mode));
            if !file.data.is_empty() {
                push_bytes(written.key("data"), &file.data);
            }
            push_owner(&mut written, file.owner.as_ref());
            written.big_or_none("timestamp", file.timestamp);
            written.close();
        }
        Some(Action::Mkdir(folder)) => {
            let mut written = Object::open(object.key("mkdir"));
            written.string_or_none("path", &folder.path);
            written.number_or_none("mode", i64::from(folder.mode));
            written.truth_or_none("makeParents", folder.make_parents);
            push_owner(&mut written, folder.owner.as_ref());
            written.big_or_none("timestamp", folder.timestamp);
            written.close();
        }
        Some(Action::Rm(remove)) => {
            let mut written = Object::open(object.key("rm"));
            written.string_or_none("path", &remove.path);
            written.truth_or_none("allowNotFound", remove.allow_not_found);
            written.truth_or_none("allowWildcard", remove.allow_wildcard);
            written.close();
        }
        Some(Action::Symlink(link)) => {
            let mut written = Object::open(object.key("symlink"));
            written.string_or_none("oldpath", &link.oldpath);
            written.string_or_none("newpath", &link.newpath);
            push_owner(&mut written, link.owner.as_ref());
            written.big_or_none("timestamp", link.timestamp);
            written.close();
        }
        None => {}
    }
    object.close();
}

fn push_copy(out: &mut String, copy: &pb::FileActionCopy) {
    let mut object = Object::open(out);
    object.string_or_none("src", &copy.src);
    object.string_or_none("dest", &copy.dest);
    push_owner(&mut object, copy.owner.as_ref());
    object.number_or_none("mode", i64::from(copy.mode));
    object.truth_or_none("followSymlink", copy.follow_symlink);
    object.truth_or_none("dirCopyContents", copy.dir_copy_contents);
    let unpack = copy.attempt_unpack_docker_compatibility;
    object.truth_or_none("attemptUnpackDockerCompatibility", unpack);
    object.truth_or_none("createDestPath", copy.create_dest_path);
    object.truth_or_none("allowWildcard", copy.allow_wildcard);
    object.truth_or_none("allowEmptyWildcard", copy.allow_empty_wildcard);
    object.big_or_none("timestamp", copy.timestamp);
    object.list_or_none("includePatterns", &copy.include_patterns);
    object.list_or_none("excludePatterns", &copy.exclude_patterns);
    let replace = copy.always_replace_existing_dest_paths;
    object.truth_or_none("alwaysReplaceExistingDestPaths", replace);
    object.string_or_none("modeStr", &copy.mode_str);
    object.list_or_none("requiredPaths", &copy.required_paths);
    object.close();
}

fn push_owner(object: &mut Object<'_>, owner: Option<&pb::ChownOpt>) {
    let Some(owner) = owner else { return };
    let mut written = Object::open(object.key("owner"));
    for (name, user) in [("user", &owner.user), ("group", &owner.group)] {
        let Some(user) = user else { continue };
        let mut one = Object::open(written.key(name));
        match &user.user {
            Some(pb::user_opt::User::ByName(by_name)) => {
                let mut named = Object::open(one.key("byName"));
                named.string_or_none("name", &by_name.name);
                named.big_or_none("input", by_name.input);
                named.close();
            }
            Some(pb::user_opt::User::ById(id)) => one.key("byID").push_str(&id.to_string()),
            None => {}
        }
        one.close();
    }
    written.close();
}
