use std::io;

/// Why this process has no rights over files and mounts of its own.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The kernel, or what guards it, gives plain users no user namespaces.
    #[error("cannot make a user namespace: {source}; {hint}")]
    Refused {
        /// The kernel's answer.
        #[source]
        source: io::Error,
        /// What may be in the way.
        hint: &'static str,
    },
    /// The namespace is there, and its ids cannot be set.
    #[error("cannot set the ids of the user namespace: {0}")]
    Ids(#[source] io::Error),
    /// The namespace is there, and gives no rights.
    #[error(
        "cannot mount in the user namespace: {0}; where AppArmor restricts user namespaces (Ubuntu 24.04 and later), \
         allow them by a profile for this program or by sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    )]
    Powerless(#[source] crate::mount::MountError),
    /// Something else on the way.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl EnterError {
    pub(super) fn step(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }

    /// What may be in the way, by what the kernel said (user_namespaces(7), unshare(2)).
    pub(super) fn refused(source: io::Error) -> Self {
        let hint = match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EUSERS) => {
                "no more are allowed: see sysctl user.max_user_namespaces"
            }
            Some(libc::EINVAL) => "this kernel has none",
            // Docker's seccomp profile says of what it forbids that it is not there.
            _ => {
                "in a container, its seccomp profile must allow unshare and mount (Docker: --security-opt \
                 seccomp=unconfined --security-opt apparmor=unconfined); on a machine, see sysctl \
                 kernel.unprivileged_userns_clone; in a chroot there are none"
            }
        };
        Self::Refused { source, hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_guessed_from_what_the_kernel_said() {
        let text = |errno| EnterError::refused(io::Error::from_raw_os_error(errno)).to_string();
        for errno in [libc::EPERM, libc::ENOSYS] {
            assert!(text(errno).contains("seccomp=unconfined"), "{errno}");
        }
        assert!(text(libc::ENOSPC).contains("user.max_user_namespaces"));
    }
}
