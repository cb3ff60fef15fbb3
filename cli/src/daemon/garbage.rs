//! What a daemon is told about garbage collection (parity sheet C6, C7).

use cooper_core::filters::Filters;
use cooper_worker::gc::{DiskSpace, GcPolicy, GcRule};

use super::file::{OciTable, PolicyTable, SpaceText};
use super::flags::DaemonFlags;
use super::options::{OptionsError, duration};

/// The policy that flags and file ask for; flags win.
///
/// # Errors
/// For a size, duration or filter that is none.
pub(super) fn policy(flags: &DaemonFlags, table: &OciTable) -> Result<GcPolicy, OptionsError> {
    if !flags.oci_worker_gc.or(table.gc).unwrap_or(true) {
        return Ok(GcPolicy::Unneeded);
    }
    if !table.gcpolicy.is_empty() {
        let rules = table.gcpolicy.iter().map(rule);
        return Ok(GcPolicy::Rules(rules.collect::<Result<_, _>>()?));
    }
    let bound = |flag: &Option<String>, key: &Option<SpaceText>| match flag {
        Some(text) => of_text(text),
        None => of_key(key.as_ref()),
    };
    let kept = table.reserved_space.clone().or(table.keep_storage.clone());
    let reserved = bound(&flags.oci_worker_gc_reserved_space, &kept)?;
    let max_used = bound(&flags.oci_worker_gc_max_used_space, &table.max_used_space)?;
    let min_free = bound(&flags.oci_worker_gc_min_free_space, &table.min_free_space)?;
    let nothing = DiskSpace::default();
    if [reserved, max_used, min_free] == [nothing; 3] {
        return Ok(GcPolicy::Usual);
    }
    Ok(GcPolicy::Bounds {
        reserved,
        max_used,
        min_free,
    })
}

fn rule(table: &PolicyTable) -> Result<GcRule, OptionsError> {
    let keep_duration = table.keep_duration.as_ref().map(duration).transpose()?;
    let kept = table.reserved_space.as_ref().or(table.keep_bytes.as_ref());
    Ok(GcRule {
        filters: Filters::parse(&table.filters)
            .map_err(|error| OptionsError::Invalid(error.to_string()))?,
        all: table.all,
        keep_duration: keep_duration.unwrap_or_default(),
        reserved: of_key(kept)?,
        max_used: of_key(table.max_used_space.as_ref())?,
        min_free: of_key(table.min_free_space.as_ref())?,
    })
}

fn of_key(key: Option<&SpaceText>) -> Result<DiskSpace, OptionsError> {
    match key {
        None => Ok(DiskSpace::default()),
        Some(SpaceText::Bytes(bytes)) => match u64::try_from(*bytes) {
            Ok(bytes) => Ok(DiskSpace::Bytes(bytes)),
            Err(_) => Err(invalid(&bytes.to_string())),
        },
        Some(SpaceText::Text(text)) => of_text(text),
    }
}

/// A number with a unit; units are powers of 1024, as in buildkitd's configuration.
fn of_text(text: &str) -> Result<DiskSpace, OptionsError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(DiskSpace::default());
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.trim().parse().map_err(|_| invalid(text))?;
        return Ok(DiskSpace::Percent(percent));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid(text)),
    };
    let whole = digits.trim_end().parse::<u64>();
    let bytes = whole.ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.map(DiskSpace::Bytes).ok_or_else(|| invalid(text))
}

fn invalid(text: &str) -> OptionsError {
    OptionsError::Invalid(format!("{text:?} is no size; for example 512MB or 10%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024_or_are_parts_of_the_disk() {
        for (text, space) in [
            ("1024", DiskSpace::Bytes(1024)),
            ("512MB", DiskSpace::Bytes(512 << 20)),
            ("2 g", DiskSpace::Bytes(2 << 30)),
            ("10%", DiskSpace::Percent(10)),
            ("", DiskSpace::Bytes(0)),
        ] {
            assert_eq!(of_text(text), Ok(space), "{text:?}");
        }
        for text in ["much", "-1", "1.5.5GB", "99999999999999999999", "x%"] {
            assert!(of_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rules_of_the_file_replace_the_usual_ones() {
        let table: OciTable = toml::from_str(
            "[[gcpolicy]]\nall = true\nkeepDuration = '48h'\nmaxUsedSpace = '10%'\nkeepBytes = 5\n\
             filters = ['type==source.local']",
        )
        .unwrap();
        let Ok(GcPolicy::Rules(rules)) = policy(&DaemonFlags::default(), &table) else {
            panic!("the file has rules");
        };
        assert_eq!(rules[0].max_used, DiskSpace::Percent(10));
        assert_eq!(rules[0].reserved, DiskSpace::Bytes(5));
        assert!(rules[0].all && rules[0].filters.texts().len() == 1);
        let none = DaemonFlags {
            oci_worker_gc: Some(false),
            ..DaemonFlags::default()
        };
        assert_eq!(policy(&none, &table), Ok(GcPolicy::Unneeded));
    }
}
