use std::ffi::{CStr, CString};
use std::io;

/// Replaces this process's program. Arguments and environment arrive in the order given, duplicates included, which
/// [`std::process::Command`] does not promise.
///
/// Returns only to say why it failed.
pub(crate) fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays are NULL-terminated and their strings outlive the call, being borrowed by our caller.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
