use std::io;

/// One instruction of a classic BPF program: the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) operand: u32,
}

/// Puts a filter before every system call that this thread and what it starts will make.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_ADMIN` and without `no_new_privs`; `InvalidInput` for a program that the kernel's
/// checker refuses.
pub(crate) fn install_filter(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the filter has too many instructions",
        )
    })?;
    let program = libc::sock_fprog {
        len: length,
        // The kernel only reads it; the pointer is `*mut` for historical reasons. The layouts are the same (`repr(C)`).
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` and the instructions it points to outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&program),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
