//! The fields of LLB messages under the names of their JSON tags in BuildKit's generated code, in its order.

use cooper_proto::pb;
use cooper_proto::pb::user_opt::User;

use super::json::Object;

pub(super) fn exec(op: &pb::ExecOp, o: &mut Object<'_>) {
    o.message("meta", op.meta.as_ref(), meta);
    o.messages("mounts", &op.mounts, mount);
    o.number("network", op.network);
    o.number("security", op.security);
    o.messages("secretenv", &op.secretenv, |secret, o| {
        o.text("ID", &secret.id);
        o.text("name", &secret.name);
        o.flag("optional", secret.optional);
    });
    o.messages("cdiDevices", &op.cdi_devices, |device, o| {
        o.text("name", &device.name);
        o.flag("optional", device.optional);
    });
}

fn meta(meta: &pb::Meta, o: &mut Object<'_>) {
    o.texts("args", &meta.args);
    o.texts("env", &meta.env);
    o.text("cwd", &meta.cwd);
    o.text("user", &meta.user);
    o.message("proxy_env", meta.proxy_env.as_ref(), |proxy, o| {
        o.text("http_proxy", &proxy.http_proxy);
        o.text("https_proxy", &proxy.https_proxy);
        o.text("ftp_proxy", &proxy.ftp_proxy);
        o.text("no_proxy", &proxy.no_proxy);
        o.text("all_proxy", &proxy.all_proxy);
    });
    o.messages("extraHosts", &meta.extra_hosts, |host, o| {
        o.text("Host", &host.host);
        o.text("IP", &host.ip);
    });
    o.text("hostname", &meta.hostname);
    o.messages("ulimit", &meta.ulimit, |limit, o| {
        o.text("Name", &limit.name);
        o.number("Soft", limit.soft);
        o.number("Hard", limit.hard);
    });
    o.text("cgroupParent", &meta.cgroup_parent);
    o.flag(
        "removeMountStubsRecursive",
        meta.remove_mount_stubs_recursive,
    );
    o.numbers("validExitCodes", &meta.valid_exit_codes);
}

fn mount(mount: &pb::Mount, o: &mut Object<'_>) {
    o.number("input", mount.input);
    o.text("selector", &mount.selector);
    o.text("dest", &mount.dest);
    o.number("output", mount.output);
    o.flag("readonly", mount.readonly);
    o.number("mountType", mount.mount_type);
    o.message("TmpfsOpt", mount.tmpfs_opt.as_ref(), |tmpfs, o| {
        o.number("size", tmpfs.size);
    });
    o.message("cacheOpt", mount.cache_opt.as_ref(), |cache, o| {
        o.text("ID", &cache.id);
        o.number("sharing", cache.sharing);
    });
    o.message("secretOpt", mount.secret_opt.as_ref(), |secret, o| {
        o.text("ID", &secret.id);
        o.number("uid", secret.uid);
        o.number("gid", secret.gid);
        o.number("mode", secret.mode);
        o.flag("optional", secret.optional);
    });
    o.message("SSHOpt", mount.ssh_opt.as_ref(), |ssh, o| {
        o.text("ID", &ssh.id);
        o.number("uid", ssh.uid);
        o.number("gid", ssh.gid);
        o.number("mode", ssh.mode);
        o.flag("optional", ssh.optional);
    });
    o.text("resultID", &mount.result_id);
    o.number("contentCache", mount.content_cache);
}

pub(super) fn copy(copy: &pb::FileActionCopy, o: &mut Object<'_>) {
    o.text("src", &copy.src);
    o.text("dest", &copy.dest);
    o.message("owner", copy.owner.as_ref(), owner);
    o.number("mode", copy.mode);
    o.flag("followSymlink", copy.follow_symlink);
    o.flag("dirCopyContents", copy.dir_copy_contents);
    o.flag(
        "attemptUnpackDockerCompatibility",
        copy.attempt_unpack_docker_compatibility,
    );
    o.flag("createDestPath", copy.create_dest_path);
    o.flag("allowWildcard", copy.allow_wildcard);
    o.flag("allowEmptyWildcard", copy.allow_empty_wildcard);
    o.number("timestamp", copy.timestamp);
    o.texts("include_patterns", &copy.include_patterns);
    o.texts("exclude_patterns", &copy.exclude_patterns);
    o.flag(
        "alwaysReplaceExistingDestPaths",
        copy.always_replace_existing_dest_paths,
    );
    o.text("modeStr", &copy.mode_str);
    o.texts("required_paths", &copy.required_paths);
}

pub(super) fn make_file(file: &pb::FileActionMkFile, o: &mut Object<'_>) {
    o.text("path", &file.path);
    o.number("mode", file.mode);
    o.bytes("data", &file.data);
    o.message("owner", file.owner.as_ref(), owner);
    o.number("timestamp", file.timestamp);
}

pub(super) fn symlink(link: &pb::FileActionSymlink, o: &mut Object<'_>) {
    o.text("oldpath", &link.oldpath);
    o.text("newpath", &link.newpath);
    o.message("owner", link.owner.as_ref(), owner);
    o.number("timestamp", link.timestamp);
}

pub(super) fn make_directory(directory: &pb::FileActionMkDir, o: &mut Object<'_>) {
    o.text("path", &directory.path);
    o.number("mode", directory.mode);
    o.flag("makeParents", directory.make_parents);
    o.message("owner", directory.owner.as_ref(), owner);
    o.number("timestamp", directory.timestamp);
}

pub(super) fn remove(remove: &pb::FileActionRm, o: &mut Object<'_>) {
    o.text("path", &remove.path);
    o.flag("allowNotFound", remove.allow_not_found);
    o.flag("allowWildcard", remove.allow_wildcard);
}

fn owner(owner: &pb::ChownOpt, o: &mut Object<'_>) {
    o.message("user", owner.user.as_ref(), user);
    o.message("group", owner.group.as_ref(), user);
}

/// BuildKit writes this message by hand, in an object of its own and with other names.
fn user(opt: &pb::UserOpt, o: &mut Object<'_>) {
    o.message("User", Some(opt), |opt, o| match &opt.user {
        Some(User::ByName(named)) => o.message("byName", Some(named), |named, o| {
            o.text("name", &named.name);
            o.number("input", named.input);
        }),
        Some(User::ById(id)) => o.number("byId", *id),
        None => {}
    });
}

pub(super) fn build(op: &pb::BuildOp, o: &mut Object<'_>) {
    o.number("builder", op.builder);
    o.map_of_messages("inputs", &op.inputs, |input, o| {
        o.number("input", input.input)
    });
    // A definition inside the op is refused when a graph is loaded.
    o.map_of_texts("attrs", &op.attrs);
}

pub(super) fn merge(op: &pb::MergeOp, o: &mut Object<'_>) {
    o.messages("inputs", &op.inputs, |input, o| {
        o.number("input", input.input)
    });
}

pub(super) fn diff(op: &pb::DiffOp, o: &mut Object<'_>) {
    o.message("lower", op.lower.as_ref(), |side, o| {
        o.number("input", side.input)
    });
    o.message("upper", op.upper.as_ref(), |side, o| {
        o.number("input", side.input)
    });
}

pub(super) fn passthrough(op: &pb::PassthroughOp, o: &mut Object<'_>) {
    o.text("id", &op.id);
    o.numbers("outputs", &op.outputs);
}
