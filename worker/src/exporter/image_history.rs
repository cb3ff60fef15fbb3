use cooper_proto::{Digest, oci::History};
use jiff::Timestamp;

/// What an image's configuration must know of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerFacts {
    pub(crate) diff_id: Digest,
    /// What made it.
    pub(crate) description: String,
    /// When it was made, in nanoseconds since 1970.
    pub(crate) created_ns: u64,
}

const ADDED_COMMENT: &str = "buildkit.exporter.image.v0";
/// What stands for a layer of which nobody knows what made it.
const UNKNOWN_MAKER: &str = "created by buildkit";

/// Makes a history that accounts for exactly these layers and has times everywhere (parity
/// sheet A11, export fix-ups).
pub(super) fn normalized(history: &[History], layers: &[LayerFacts]) -> Vec<History> {
    let mut history = history.to_vec();
    let mut accounted = 0;
    for entry in &mut history {
        // More entries than layers should not be; the later ones are said to be empty.
        entry.empty_layer |= accounted >= layers.len();
        accounted += usize::from(!entry.empty_layer);
        entry.created = entry.created.as_deref().map(as_go_writes);
    }
    for layer in &layers[accounted..] {
        let known = !layer.description.is_empty();
        history.push(History {
            created: Some(time_text(layer.created_ns)),
            created_by: match known {
                true => layer.description.clone(),
                false => UNKNOWN_MAKER.to_owned(),
            },
            comment: ADDED_COMMENT.to_owned(),
            ..History::default()
        });
    }
    let mut facts = layers.iter();
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        let made = facts.next().map(|layer| layer.created_ns);
        if entry.created.is_none() {
            entry.created = made.map(time_text);
        }
    }
    fill_times(&mut history);
    history
}

/// Entries without a time get that of the entry before; those before the first new layer
/// get that layer's, so that they do not look as old as the base image.
fn fill_times(history: &mut [History]) {
    let mut created: Option<String> = None;
    let mut gap = false;
    for entry in history.iter() {
        match &entry.created {
            Some(time) => {
                created = Some(time.clone());
                if gap {
                    break;
                }
            }
            None => gap = true,
        }
    }
    gap = false;
    for entry in history {
        match &entry.created {
            Some(time) if gap => created = Some(time.clone()),
            Some(_) => {}
            None => {
                gap = true;
                entry.created.clone_from(&created);
            }
        }
    }
}

/// Sets times after the epoch to it. What the base image's history has as well stays.
pub(super) fn clamped(history: &mut [History], base: &[History], epoch: i64) {
    let mut diverged = false;
    for (index, entry) in history.iter_mut().enumerate() {
        let same = base.get(index).is_some_and(|base| {
            let base = History {
                created: base.created.as_deref().map(as_go_writes),
                ..base.clone()
            };
            base == *entry
        });
        if same && !diverged {
            continue;
        }
        diverged = true;
        if entry
            .created
            .as_deref()
            .is_none_or(|time| is_after(time, epoch))
        {
            entry.created = Some(epoch_text(epoch));
        }
    }
}

/// Whether a time is later than an epoch; a text that is no time is.
pub(super) fn is_after(time: &str, epoch: i64) -> bool {
    match (time.parse::<Timestamp>(), Timestamp::from_second(epoch)) {
        (Ok(time), Ok(epoch)) => time > epoch,
        _ => true,
    }
}

/// An epoch as documents have it.
pub(super) fn epoch_text(epoch: i64) -> String {
    Timestamp::from_second(epoch)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// A time as documents have it: RFC 3339 in UTC, without zeroes at the end of the fraction.
pub(crate) fn time_text(nanoseconds: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// The same time as Go's `time.Time` writes what it read.
fn as_go_writes(time: &str) -> String {
    let parsed = time.parse::<Timestamp>();
    match parsed {
        Ok(parsed) if time.ends_with('Z') || time.ends_with("+00:00") => parsed.to_string(),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, second: u64) -> LayerFacts {
        LayerFacts {
            diff_id: Digest::sha256_of(name),
            description: name.into(),
            created_ns: second * 1_000_000_000,
        }
    }

    fn entry(by: &str, created: Option<&str>, empty_layer: bool) -> History {
        History {
            created: created.map(Into::into),
            created_by: by.into(),
            empty_layer,
            ..History::default()
        }
    }

    fn times(history: &[History]) -> Vec<&str> {
        history
            .iter()
            .map(|it| it.created.as_deref().unwrap_or("-"))
            .collect()
    }

    #[test]
    fn layers_that_no_entry_accounts_for_get_one() {
        let base = entry("base", Some("1970-01-01T00:00:01Z"), false);
        let layers = [layer("b", 1), layer("RUN x", 5), layer("", 6)];
        let history = normalized(&[base], &layers);
        assert_eq!(history.len(), 3);
        assert_eq!(history[1].created_by, "RUN x");
        assert_eq!(history[1].comment, ADDED_COMMENT);
        assert_eq!(history[2].created_by, UNKNOWN_MAKER);
    }

    #[test]
    fn entries_without_a_layer_are_said_to_be_empty() {
        let entries = [entry("a", None, false), entry("b", None, false)];
        let history = normalized(&entries, &[layer("a", 1)]);
        assert_eq!(
            history.iter().map(|it| it.empty_layer).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn missing_times_come_from_the_first_new_layer_and_then_from_the_one_before() {
        let entries = [
            entry("base", Some("1970-01-01T00:00:01.500Z"), false),
            entry("ENV", None, true),
            entry("RUN", None, false),
            entry("CMD", None, true),
            entry("RUN 2", None, false),
            entry("LABEL", None, true),
        ];
        let layers = [layer("b", 1), layer("r", 5), layer("r2", 9)];
        let history = normalized(&entries, &layers);
        assert_eq!(
            times(&history),
            [
                "1970-01-01T00:00:01.5Z",
                "1970-01-01T00:00:05Z",
                "1970-01-01T00:00:05Z",
                "1970-01-01T00:00:05Z",
                "1970-01-01T00:00:09Z",
                "1970-01-01T00:00:09Z",
            ]
        );
    }

    #[test]
    fn an_epoch_clamps_what_is_not_the_base_images() {
        let base = [entry("base", Some("2020-01-01T00:00:00Z"), false)];
        let mut history = vec![
            base[0].clone(),
            entry("RUN", Some("2020-01-01T00:00:00Z"), false),
            entry("OLD", Some("1970-01-01T00:00:01Z"), true),
        ];
        clamped(&mut history, &base, 10);
        assert_eq!(
            times(&history),
            [
                "2020-01-01T00:00:00Z",
                "1970-01-01T00:00:10Z",
                "1970-01-01T00:00:01Z"
            ]
        );
    }
}
