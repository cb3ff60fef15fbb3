use std::fs;
use std::path::Path;

/// Has all threads allocate from few places. By itself the C library makes up to eight for each processor, of which each
/// keeps what is free between what is not: after some exports that was more than half of what a daemon held.
///
/// Call it before the first thread starts.
pub fn allocate_from_few_places() {
    #[cfg(target_env = "gnu")]
    {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let places = libc::c_int::try_from(processors.clamp(2, 8)).unwrap_or(2);
        // SAFETY: the call sets a number of the allocator's; one that it refuses changes nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, places);
        }
    }
}

/// Gives heap back that is free between what is not. Costs about a millisecond.
pub(crate) fn give_back_heap() {
    // SAFETY: the allocator walks its own free lists, under its own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives memory back that the work so far needed and the next may not: free heap, and code, which is in the program's
/// file and comes back page by page when it is called. Costs about a millisecond.
pub fn give_back_memory() {
    give_back_heap();
    let (Ok(maps), Ok(program)) = (
        fs::read_to_string("/proc/self/maps"),
        fs::read_link("/proc/self/exe"),
    ) else {
        return;
    };
    for (start, length) in code(&maps, &program) {
        // SAFETY: the pages are mapped, executable and not writable, so that nobody has changed them; the kernel reads
        // them from the file again.
        unsafe {
            let start = std::ptr::with_exposed_provenance_mut(start);
            libc::madvise(start, length, libc::MADV_DONTNEED);
        }
    }
}

/// Where the code of `program` is mapped: address and length.
fn code(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let ranges = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?;
        if rights != "r-xp" || Path::new(path) != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        Some((start, end.checked_sub(start)?))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let maps = "\
55d0-55d8 r--p 00000000 fe:00 12 /usr/bin/cooperd
55d8-55e0 r-xp 00001000 fe:00 12 /usr/bin/cooperd
55e0-55e1 rw-p 00002000 fe:00 12 /usr/bin/cooperd
7f00-7f10 r-xp 00000000 fe:00 13 /usr/lib/libc.so.6
7fff-8000 r-xp 00000000 00:00 0 [vdso]
";
        let code = code(maps, Path::new("/usr/bin/cooperd"));
        assert_eq!(code, [(0x55d8, 8)]);
    }

    #[test]
    fn the_program_runs_on_without_its_code_in_memory() {
        give_back_memory();
        assert_eq!(format!("{:?}", [1, 2]), "[1, 2]");
    }
}
