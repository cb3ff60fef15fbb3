use std::sync::OnceLock;

use super::id_map::IdMap;

/// Which users and groups this process can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    users: IdMap,
    groups: IdMap,
    may_set_groups: bool,
    is_initial: bool,
}

/// The user namespace that a machine starts with (`PROC_USER_INIT_INO` in linux/proc_ns.h). Another one may have every id.
const INITIAL: &str = "user:[4026531837]";

impl Identity {
    /// Of this process, as it was at the first call: after [`enter`](super::enter()), nothing changes it any more.
    #[must_use]
    pub fn of_this_process() -> &'static Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        IDENTITY.get_or_init(Self::read)
    }

    /// Without `/proc`, or in a kernel without user namespaces, there is nothing that maps ids.
    pub(super) fn read() -> Self {
        let whole = "0 0 4294967295";
        let map = |path| {
            let text = std::fs::read_to_string(path);
            IdMap::parse(&text.unwrap_or_else(|_| whole.to_owned()))
        };
        let set_groups = std::fs::read_to_string("/proc/self/setgroups");
        Self {
            users: map("/proc/self/uid_map"),
            groups: map("/proc/self/gid_map"),
            is_initial: std::fs::read_link("/proc/self/ns/user")
                .map_or(true, |name| name.as_os_str() == INITIAL),
            may_set_groups: set_groups.map_or(true, |word| word.trim() != "deny"),
        }
    }

    /// Whether this process is in a user namespace: a root of it has no rights over the machine.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        !self.is_initial || !self.users.is_whole()
    }

    /// Whether it has no id but root's.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.users.count() == 1 || self.groups.count() == 1
    }

    /// Whether there is a user of this number.
    #[must_use]
    pub fn has_user(&self, id: u32) -> bool {
        self.users.has(id)
    }

    /// Whether there is a group of this number.
    #[must_use]
    pub fn has_group(&self, id: u32) -> bool {
        self.groups.has(id)
    }

    /// Whether supplementary groups can be set.
    #[must_use]
    pub fn may_set_groups(&self) -> bool {
        self.may_set_groups
    }

    pub(super) fn users(&self) -> &IdMap {
        &self.users
    }

    pub(super) fn groups(&self) -> &IdMap {
        &self.groups
    }
}
