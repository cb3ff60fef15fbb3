use std::fs;
use std::io;
use std::path::Path;

/// The ids that a user was given beside its own (subuid(5)): first id and count of each range.
///
/// # Errors
/// Where the file is there and cannot be read.
pub(super) fn ranges(file: &Path, user: u32) -> io::Result<Vec<(u32, u32)>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let names = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Ok(of_user(&text, &names, user))
}

fn of_user(text: &str, passwd: &str, user: u32) -> Vec<(u32, u32)> {
    let number = user.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    text.lines()
        .filter_map(|line| {
            let (owner, range) = line.trim().split_once(':')?;
            let (first, count) = range.split_once(':')?;
            let is_ours = owner == number || Some(owner) == name;
            is_ours.then_some(())?;
            Some((first.parse().ok()?, count.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        let text = "# comment\nada:100000:65536\nbob:200000:1\n1000:300000:7\nada:x:1\nada:5\n";
        assert_eq!(
            of_user(text, passwd, 1000),
            [(100_000, 65_536), (300_000, 7)]
        );
        assert_eq!(of_user(text, passwd, 1001), []);
        let unnamed = of_user("ada:1:1\n1000:2:2", "", 1000);
        assert_eq!(unnamed, [(2, 2)], "a user without a name");
    }

    #[test]
    fn missing_file_gives_nothing() {
        assert_eq!(ranges(Path::new("/no/such/file"), 0).unwrap(), []);
    }
}
