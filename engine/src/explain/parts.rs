//! An op as named texts: what its cache key covers, in the words of a Dockerfile. Values of secrets are in no op.

use cooper_core::model::redacted;
use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op;

use super::evidence::Part;

pub(super) const COMMAND: &str = "command";
pub(super) const VARIABLE: &str = "variable ";
pub(super) const SOURCE: &str = "source";
pub(super) const IGNORED: &str = "ignored files";

/// Attributes of sources that differ between clients or builds and are in no key.
const NOT_KEYS: [&str; 5] = [
    "local.session",
    "local.unique",
    "local.sharedkeyhint",
    "local.followpaths",
    "local.differ",
];

#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if !value.is_empty() {
            self.0.push(Part { name, value });
        }
    }
}

pub(super) fn of(op: &pb::Op) -> Vec<Part> {
    let mut parts = Parts::default();
    match &op.op {
        Some(Op::Exec(exec)) => of_exec(exec, &mut parts),
        Some(Op::File(file)) => {
            let several = file.actions.len() > 1;
            for (at, action) in file.actions.iter().enumerate() {
                let place = if several {
                    format!(" {}", at + 1)
                } else {
                    String::new()
                };
                of_action(action, &place, &mut parts);
            }
        }
        Some(Op::Source(source)) => of_source(source, &mut parts),
        Some(Op::Build(build)) => {
            for (key, value) in &build.attrs {
                parts.add(key.clone(), value.clone());
            }
        }
        Some(Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_)) | None => {}
    }
    if let (Some(platform), Some(Op::Exec(_))) = (&op.platform, &op.op) {
        parts.add("platform", cooper_proto::platform::format_all(platform));
    }
    parts.0
}

fn of_exec(exec: &pb::ExecOp, parts: &mut Parts) {
    if let Some(meta) = &exec.meta {
        parts.add(COMMAND, meta.args.join(" "));
        for entry in &meta.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            // An empty value is a value.
            parts.0.push(Part {
                name: format!("{VARIABLE}{name}"),
                value: value.to_owned(),
            });
        }
        parts.add("working folder", meta.cwd.clone());
        parts.add("user", meta.user.clone());
        parts.add("host name", meta.hostname.clone());
        for host in &meta.extra_hosts {
            parts.add(format!("host {}", host.host), host.ip.clone());
        }
    }
    let network = exec.network().as_str_name();
    if exec.network() != pb::NetMode::Unset {
        parts.add("network", network.to_lowercase());
    }
    if exec.security() == pb::SecurityMode::Insecure {
        parts.add("security", "insecure");
    }
    for mount in &exec.mounts {
        of_mount(mount, parts);
    }
    for secret in &exec.secretenv {
        parts.add(format!("secret in {}", secret.name), secret.id.clone());
    }
}

fn of_mount(mount: &pb::Mount, parts: &mut Parts) {
    let kind = mount.mount_type();
    let mut text = kind.as_str_name().to_lowercase();
    match kind {
        pb::MountType::Bind if mount.dest == "/" => return,
        pb::MountType::Secret => {
            let id = mount.secret_opt.as_ref().map_or("", |secret| &secret.id);
            text = format!("secret {id}");
        }
        pb::MountType::Ssh => {
            let id = mount.ssh_opt.as_ref().map_or("", |agent| &agent.id);
            text = format!("ssh {id}");
        }
        pb::MountType::Cache => {
            let id = mount.cache_opt.as_ref().map_or("", |cache| &cache.id);
            text = format!("cache {id}");
        }
        pb::MountType::Bind | pb::MountType::Tmpfs => {}
    }
    if !mount.selector.is_empty() {
        text.push_str(&format!(" from {}", mount.selector));
    }
    if mount.readonly {
        text.push_str(", read only");
    }
    parts.add(format!("mount on {}", mount.dest), text);
}

fn of_action(action: &pb::FileAction, place: &str, parts: &mut Parts) {
    let mut add = |name: &str, value: String| parts.add(format!("{name}{place}"), value);
    let mode = |mode: i32| {
        if mode < 0 {
            String::new()
        } else {
            format!("{mode:04o}")
        }
    };
    match &action.action {
        Some(Action::Copy(copy)) => {
            add("copied path", copy.src.clone());
            add("destination", copy.dest.clone());
            add("owner", owner(copy.owner.as_ref()));
            let wanted = match copy.mode_str.as_str() {
                "" => mode(copy.mode),
                text => text.to_owned(),
            };
            add("mode", wanted);
            add("included paths", copy.include_patterns.join(" "));
            add("excluded paths", copy.exclude_patterns.join(" "));
            add("time", time(copy.timestamp));
        }
        Some(Action::Mkfile(file)) => {
            add("file", file.path.clone());
            add("content", String::from_utf8_lossy(&file.data).into_owned());
            add("owner", owner(file.owner.as_ref()));
            add("mode", mode(file.mode));
        }
        Some(Action::Mkdir(folder)) => {
            add("folder", folder.path.clone());
            add("owner", owner(folder.owner.as_ref()));
            add("mode", mode(folder.mode));
            add("time", time(folder.timestamp));
        }
        Some(Action::Rm(remove)) => add("removed path", remove.path.clone()),
        Some(Action::Symlink(link)) => {
            add("link", format!("{} to {}", link.newpath, link.oldpath));
        }
        None => {}
    }
}

fn time(timestamp: i64) -> String {
    if timestamp < 0 {
        String::new()
    } else {
        timestamp.to_string()
    }
}

fn owner(owner: Option<&pb::ChownOpt>) -> String {
    let Some(owner) = owner else {
        return String::new();
    };
    let name = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|user| user.user.as_ref())
    {
        Some(pb::user_opt::User::ByName(name)) => name.name.clone(),
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        None => String::new(),
    };
    format!("{}:{}", name(&owner.user), name(&owner.group))
}

fn of_source(source: &pb::SourceOp, parts: &mut Parts) {
    parts.add(SOURCE, redacted(&source.identifier));
    for (key, value) in &source.attrs {
        if NOT_KEYS.contains(&key.as_str()) {
            continue;
        }
        match key.strip_prefix("local.") {
            Some("excludepatterns") => parts.add(IGNORED, value.clone()),
            Some(other) => parts.add(other.to_owned(), value.clone()),
            None => parts.add(key.clone(), redacted(value)),
        }
    }
}
