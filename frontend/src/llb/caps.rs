//! Ids of the capabilities that ops ask for (features.md B4). They travel in metadata and enter no digest.

pub(super) const CONSTRAINTS: &str = "constraints";
pub(super) const PLATFORM: &str = "platform";
pub(super) const META_IGNORE_CACHE: &str = "meta.ignorecache";
pub(super) const META_DESCRIPTION: &str = "meta.description";

pub(super) const EXEC_BASE: &str = "exec.meta.base";
pub(super) const EXEC_CDI: &str = "exec.meta.cdi";
pub(super) const EXEC_DEFAULT_PATH: &str = "exec.meta.setsdefaultpath";
pub(super) const EXEC_LINUX_RESOURCES: &str = "exec.meta.linux.resources";
pub(super) const EXEC_NETWORK: &str = "exec.meta.network";
pub(super) const EXEC_PROXY: &str = "exec.meta.proxyenv";
pub(super) const EXEC_SECURITY: &str = "exec.meta.security";
pub(super) const EXEC_ULIMIT: &str = "exec.meta.ulimit";
pub(super) const EXEC_SECRET_ENV: &str = "exec.secretenv";
pub(super) const MOUNT_BIND: &str = "exec.mount.bind";
pub(super) const MOUNT_CACHE: &str = "exec.mount.cache";
pub(super) const MOUNT_CACHE_SHARING: &str = "exec.mount.cache.sharing";
pub(super) const MOUNT_SECRET: &str = "exec.mount.secret";
pub(super) const MOUNT_SELECTOR: &str = "exec.mount.selector";
pub(super) const MOUNT_SSH: &str = "exec.mount.ssh";
pub(super) const MOUNT_TMPFS: &str = "exec.mount.tmpfs";
pub(super) const MOUNT_TMPFS_SIZE: &str = "exec.mount.tmpfs.size";

pub(super) const FILE_BASE: &str = "file.base";
pub(super) const MERGE: &str = "mergeop";

pub(super) const IMAGE: &str = "source.image";
pub(super) const IMAGE_RESOLVE_MODE: &str = "source.image.resolvemode";
pub(super) const LOCAL: &str = "source.local";
pub(super) const LOCAL_EXCLUDE: &str = "source.local.excludepatterns";
pub(super) const LOCAL_FOLLOW: &str = "source.local.followpaths";
pub(super) const LOCAL_SESSION: &str = "source.local.sessionid";
pub(super) const LOCAL_SHARED_KEY: &str = "source.local.sharedkeyhint";
pub(super) const LOCAL_UNIQUE: &str = "source.local.unique";
pub(super) const OCI_LAYOUT: &str = "source.ocilayout";
pub(super) const HTTP: &str = "source.http";
pub(super) const HTTP_CHECKSUM: &str = "source.http.checksum";
pub(super) const GIT: &str = "source.git";
pub(super) const GIT_CHECKSUM: &str = "source.git.checksum";
pub(super) const GIT_FETCH_BY_COMMIT: &str = "source.git.fetchbycommit";
pub(super) const GIT_FULL_URL: &str = "source.git.fullurl";
pub(super) const GIT_KEEP_DIR: &str = "source.git.keepgitdir";
pub(super) const GIT_KNOWN_HOSTS: &str = "source.git.knownsshhosts";
pub(super) const GIT_MTIME: &str = "source.git.mtime";
pub(super) const GIT_SKIP_SUBMODULES: &str = "source.git.skipsubmodules";
pub(super) const GIT_SSH_SOCKET: &str = "source.git.mountsshsock";
