//! Rights over files and mounts: root has them, and a plain user gets them in a user namespace.

use cooper_worker::userns::{EnterError, Entered, Identity, enter};

/// Gives this process the rights that building takes, and notes how. Call it before any thread is started.
///
/// # Errors
/// Where a plain user can have none.
pub fn take() -> Result<(), EnterError> {
    match enter()? {
        Entered::Nothing => {}
        Entered::Already => tracing::debug!("in a user namespace that was there already"),
        Entered::Mapped => tracing::debug!("in a user namespace with further ids"),
        Entered::Single { why } => tracing::warn!(
            "there is no user but root in what is built: {why}; steps cannot become another user, and files of others \
             become root's"
        ),
    }
    Ok(())
}

/// Whether they are those of a user namespace, and end at what belongs to the machine.
#[must_use]
pub fn are_those_of_a_user() -> bool {
    Identity::of_this_process().is_mapped()
}
