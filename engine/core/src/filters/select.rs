use std::borrow::Cow;

use regex::Regex;

use super::parse::{FilterError, check_size, parse};

/// Something whose fields can be asked for.
pub trait Fields {
    /// The value under a path such as `labels.kind`; `None` when it has no such field. A field that is a mere yes has
    /// the empty value, and none at all for no.
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>>;
}

/// A list of filters that was understood.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    texts: Vec<String>,
    any_of: Vec<Vec<Selector>>,
}

/// One condition.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    pub(super) path: Vec<String>,
    pub(super) condition: Condition,
}

/// What a field must be.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filters {
    /// Reads filters.
    ///
    /// # Errors
    /// When one of them is not in containerd's syntax, or when they are too many.
    pub fn parse(texts: &[String]) -> Result<Self, FilterError> {
        check_size(texts)?;
        Ok(Self {
            any_of: texts
                .iter()
                // containerd takes everything by an empty one, which `docker buildx du` sends.
                .map(|text| match text.as_str() {
                    "" => Ok(Vec::new()),
                    text => parse(text),
                })
                .collect::<Result<_, _>>()?,
            texts: texts.to_vec(),
        })
    }

    /// Whether any of them takes this; all things are taken when there are none.
    pub fn take(&self, candidate: &impl Fields) -> bool {
        let holds = |selectors: &Vec<Selector>| selectors.iter().all(|it| it.holds(candidate));
        self.any_of.is_empty() || self.any_of.iter().any(holds)
    }

    /// The filters as they were written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl PartialEq for Filters {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Filters {}

impl Selector {
    fn holds(&self, candidate: &impl Fields) -> bool {
        let value = candidate.field(&self.path);
        let text = value.as_deref().unwrap_or_default();
        match &self.condition {
            Condition::Present => value.is_some(),
            Condition::Equal(wanted) => value.is_some() && text == wanted,
            Condition::NotEqual(unwanted) => text != unwanted,
            Condition::Matches(pattern) => pattern.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Record;

    impl Fields for Record {
        fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
            match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["type"] => Some("source.local".into()),
                ["inuse"] => Some("".into()),
                ["labels", "a.b"] => Some("one, two".into()),
                _ => None,
            }
        }
    }

    fn takes(texts: &[&str]) -> Result<bool, FilterError> {
        let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
        Ok(Filters::parse(&texts)?.take(&Record))
    }

    #[test]
    fn all_selectors_of_one_filter_of_many_must_hold() {
        for (filters, taken) in [
            (&[][..], true),
            (&[""], true),
            (&["type==regular", ""], true),
            (&["type==source.local"], true),
            (&["type==regular"], false),
            (&["type!=regular,inuse"], true),
            (&["type==regular", "inuse"], true),
            (&["shared"], false),
            (&["shared!=x"], true),
            (&["type~=^source\\."], true),
            (&["type~=/^source.(git|http)/"], false),
            (&["type=='source.local'"], false),
            (&["labels.\"a.b\"==\"one, two\""], true),
            (&["type == source.local , inuse"], true),
            // As buildx sends it where nothing is filtered.
            (&[""], true),
        ] {
            assert_eq!(takes(filters), Ok(taken), "{filters:?}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for bad in [
            ",",
            "type=",
            "type=x",
            "type==",
            "==x",
            "type~=(",
            "type==\"x",
            "a..b",
        ] {
            assert!(takes(&[bad]).is_err(), "{bad:?}");
        }
        let error = takes(&["inuse,type=x"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "filter \"inuse,type=x\": unknown operator at character 11"
        );
    }

    // A request has room for a million of these, and the thread that reads them serves other clients as well.
    #[test]
    fn filters_that_take_long_to_read_are_refused() {
        let pattern = |repeated: &str| format!("type~=\"{repeated}\"");
        let many = vec![pattern("x"); 65];
        let long = vec!["type".to_owned(); (64 << 10) / 4 + 1];
        for texts in [many, long] {
            assert_eq!(Filters::parse(&texts), Err(FilterError::TooMany));
        }
        let large = [pattern("\\\\pL{5000}")];
        let refused = Filters::parse(&large).unwrap_err().to_string();
        assert!(refused.contains("no regular expression"), "{refused}");
        assert!(Filters::parse(&vec![pattern("x"); 64]).is_ok());
    }
}
