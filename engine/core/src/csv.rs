//! One line of comma-separated values, as flags use it.

/// The fields. A field in double quotes may hold commas, and quotes when they are doubled.
///
/// # Errors
/// A quote within a plain field, or one that does not close.
pub fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => in_quotes(quoted)?,
            None => {
                let (field, after) = match rest.split_once(',') {
                    Some((field, after)) => (field, Some(after)),
                    None => (rest, None),
                };
                if field.contains('"') {
                    return Err("bare \" in non-quoted field".to_owned());
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

fn in_quotes(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest
            .split_once('"')
            .ok_or("extraneous or missing \" in quoted-field")?;
        field.push_str(before);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(more) = after.strip_prefix(',') {
            return Ok((field, Some(more)));
        } else {
            return Err("extraneous or missing \" in quoted-field".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(
            fields("a=b,\"c=d,\"\"e\"\"\",").unwrap(),
            ["a=b", "c=d,\"e\"", ""]
        );
        assert!(fields("a\"b").is_err());
        assert!(fields("\"a").is_err());
    }
}
