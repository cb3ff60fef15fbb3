use cooper_proto::pb;

use super::KeyError;
use super::cache_map::{normalized, of_text};
use super::json::object;
use super::selector::{absolute, digest_of_paths, without_nested};
use super::wire;
use crate::model::{CacheMap, ContentSelector, InputKeyRule};

/// The key of an exec op: its message without what cannot change outputs (proxies, addresses of extra hosts, where in
/// its input a mount starts, which cache a cache mount shares), and the platform.
pub(super) fn cache_map(
    op: &pb::ExecOp,
    inputs: usize,
    platform: &pb::Platform,
) -> Result<CacheMap, KeyError> {
    let hashed = without_surroundings(op);
    let platform = normalized(platform);
    let text = object(|o| {
        o.always_text("Type", "buildkit.exec.v0");
        o.message("Exec", Some(&hashed), wire::exec);
        o.always_text("OS", &platform.os);
        o.always_text("Arch", &platform.architecture);
        o.text("Variant", &platform.variant);
        o.text("OSVersion", &platform.os_version);
        o.texts("OSFeatures", &platform.os_features);
    });
    Ok(of_text(&text, rules(op, inputs)?))
}

fn without_surroundings(op: &pb::ExecOp) -> pb::ExecOp {
    let mut op = op.clone();
    if let Some(meta) = &mut op.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut op.mounts {
        mount.selector.clear();
        if let Some(cache) = &mut mount.cache_opt
            && !is_default_cache(cache, &mount.dest)
        {
            *cache = pb::CacheOpt::default();
        }
    }
    if let [root] = op.mounts.as_slice()
        && is_plain_root(root)
    {
        // Old versions of BuildKit left mounts out, and caches written by them should stay warm.
        op.mounts.clear();
    }
    op
}

/// Whether a cache is what a Dockerfile gets when it names none: shared, called by its place, perhaps below a name
/// space.
fn is_default_cache(cache: &pb::CacheOpt, dest: &str) -> bool {
    let in_name_space = |id: &str| id.split_once('/').is_some_and(|(_, rest)| rest == dest);
    cache.sharing == i32::from(pb::CacheSharingOpt::Shared)
        && (cache.id == dest || in_name_space(&cache.id))
}

fn is_plain_root(mount: &pb::Mount) -> bool {
    mount.dest == "/"
        && mount.selector.is_empty()
        && !mount.readonly
        && mount.mount_type == i32::from(pb::MountType::Bind)
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

/// What the mounts look at in each input. The last mount of an input says whether its content may be the key.
fn rules(op: &pb::ExecOp, inputs: usize) -> Result<Vec<InputKeyRule>, KeyError> {
    let mut looked_at = vec![(Vec::new(), false); inputs];
    for mount in &op.mounts {
        let takes_state = matches!(
            mount.mount_type(),
            pb::MountType::Bind | pb::MountType::Cache
        );
        let input = usize::try_from(mount.input).ok();
        if let Some((paths, by_content)) = input.and_then(|input| looked_at.get_mut(input))
            && takes_state
        {
            let path = absolute(&mount.selector);
            *by_content = may_use_content(mount, &path)?;
            paths.push(path);
        }
    }
    let rule = |(paths, by_content): (Vec<String>, bool)| InputKeyRule {
        selector: (!paths.is_empty()).then(|| digest_of_paths(paths.iter().map(String::as_str))),
        content: by_content.then(|| content_of(paths)),
    };
    Ok(looked_at.into_iter().map(rule).collect())
}

/// Whether the content of what a mount shows may stand for its input.
///
/// That is safe when nothing that the mount hides can come out again: it gives no output, cannot be changed, or
/// shows all of its input. A root file system is large, and its content is looked at only when asked for.
fn may_use_content(mount: &pb::Mount, path: &str) -> Result<bool, KeyError> {
    let safe = mount.output == -1 || mount.readonly || path == "/";
    match mount.content_cache() {
        pb::MountContentCache::Off => Ok(false),
        pb::MountContentCache::On if safe => Ok(true),
        pb::MountContentCache::On => Err(KeyError::UnsafeContentCache {
            dest: mount.dest.clone(),
        }),
        pb::MountContentCache::Default => Ok(safe && mount.dest != "/"),
    }
}

fn content_of(paths: Vec<String>) -> Vec<ContentSelector> {
    let paths = without_nested(paths);
    if paths.iter().any(|path| path == "/") {
        return vec![ContentSelector {
            path: String::from("/"),
            ..ContentSelector::default()
        }];
    }
    let selector = |path| ContentSelector {
        path,
        follow_links: true,
        ..ContentSelector::default()
    };
    paths.into_iter().map(selector).collect()
}
