/// The fields of one line of comma-separated values; a field in double quotes may hold commas, and two double
/// quotes in it stand for one. `None` when a quote is not closed or stands in the wrong place.
pub(super) fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let end = quoted.find('"')?;
                field.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                let Some(after) = quoted.strip_prefix('"') else {
                    break;
                };
                field.push('"');
                quoted = after;
            }
            rest = quoted;
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return None;
            }
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_and_quotes() {
        let read = |line| fields(line).unwrap();
        assert_eq!(read("a=1,b=2"), ["a=1", "b=2"]);
        assert_eq!(read(r#""a=1,2",b"#), ["a=1,2", "b"]);
        assert_eq!(read(r#""a=""x""","#), [r#"a="x""#, ""]);
        assert_eq!(read(""), [""]);
        assert_eq!(fields(r#""a"#), None);
        assert_eq!(fields(r#"a"b"#), None);
        assert_eq!(fields(r#""a"b"#), None);
    }
}
