use std::borrow::Cow;
use std::cmp::Ordering;

use cooper_core::filters::{Fields, Filters, check_size};
use cooper_core::model::{Failure, FailureKind};

use super::Record;
use super::duration::{parse_duration, parse_time};

/// Which builds a client wants to hear of (parity sheet C5): `ref`, `status` and `repository` as in containerd's
/// filters, `startedAt`, `completedAt` and `duration` with `<`, `<=`, `>` and `>=`.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildFilters {
    any_of: Vec<BuildFilter>,
}

#[derive(Debug, Clone)]
struct BuildFilter {
    times: Vec<TimeCondition>,
    others: Filters,
}

#[derive(Debug, Clone)]
struct TimeCondition {
    field: TimeField,
    /// What the comparison of the record's value with `bound` must give.
    wanted: Vec<Ordering>,
    bound: i128,
}

#[derive(Debug, Clone, Copy)]
enum TimeField {
    Started,
    Completed,
    Duration,
}

impl BuildFilters {
    /// Reads filters; times that are durations count back from now.
    ///
    /// # Errors
    /// `InvalidInput` for what is none, and for too many.
    pub(crate) fn parse(texts: &[String], now_ns: u64) -> Result<Self, Failure> {
        check_size(texts).map_err(|error| invalid(&error.to_string()))?;
        let any_of = texts.iter().map(|text| BuildFilter::parse(text, now_ns));
        Ok(Self {
            any_of: any_of.collect::<Result<_, _>>()?,
        })
    }

    /// Whether any of them takes this build; all builds are taken when there are none.
    pub(crate) fn take(&self, record: &Record) -> bool {
        self.any_of.is_empty() || self.any_of.iter().any(|filter| filter.takes(record))
    }
}

impl BuildFilter {
    fn parse(text: &str, now_ns: u64) -> Result<Self, Failure> {
        let mut times = Vec::new();
        let mut others = Vec::new();
        for field in split(text) {
            match TimeCondition::parse(field, now_ns)? {
                Some(condition) => times.push(condition),
                None => others.push(field),
            }
        }
        let others = Some(others.join(",")).filter(|others| !others.is_empty());
        let others: Vec<_> = others.into_iter().collect();
        Ok(Self {
            times,
            others: Filters::parse(&others).map_err(|error| invalid(&error.to_string()))?,
        })
    }

    fn takes(&self, record: &Record) -> bool {
        self.times.iter().all(|condition| condition.holds(record)) && self.others.take(record)
    }
}

impl TimeCondition {
    /// Reads `name<op>value`; `None` when it is not about a time.
    fn parse(text: &str, now_ns: u64) -> Result<Option<Self>, Failure> {
        let Some(at) = text.find(['<', '>']) else {
            return Ok(None);
        };
        let field = match &text[..at] {
            "startedAt" => TimeField::Started,
            "completedAt" => TimeField::Completed,
            "duration" => TimeField::Duration,
            _ => return Ok(None),
        };
        let strict = match text.as_bytes()[at] {
            b'<' => Ordering::Less,
            _ => Ordering::Greater,
        };
        let rest = &text[at + 1..];
        let (wanted, value) = match rest.strip_prefix('=') {
            Some(value) => (vec![strict, Ordering::Equal], value),
            None => (vec![strict], rest),
        };
        let duration = parse_duration(value);
        let bound = match (field, duration) {
            (TimeField::Duration, Some(length)) => length,
            (TimeField::Duration, None) => {
                return Err(invalid(&format!("invalid duration {value}")));
            }
            (_, Some(length)) => i128::from(now_ns).saturating_sub(length),
            (_, None) => {
                parse_time(value).ok_or_else(|| invalid(&format!("invalid time {value}")))?
            }
        };
        Ok(Some(Self {
            field,
            wanted,
            bound,
        }))
    }

    fn holds(&self, record: &Record) -> bool {
        let begun = i128::from(record.begun_ns);
        let ended = record
            .ending
            .as_ref()
            .map(|ending| i128::from(ending.at_ns));
        let (value, unit) = match self.field {
            // Times are compared by whole seconds, as the client writes them.
            TimeField::Started => (begun, 1_000_000_000),
            TimeField::Completed => (ended.unwrap_or(0), 1_000_000_000),
            TimeField::Duration => (ended.map_or(0, |ended| ended - begun), 1),
        };
        let order = value.div_euclid(unit).cmp(&self.bound.div_euclid(unit));
        self.wanted.contains(&order)
    }
}

impl Fields for Record {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "ref" => Some(self.job.as_str().into()),
            "status" => Some(status(self).into()),
            "repository" => repository(self).map(Into::into),
            _ => None,
        }
    }
}

fn status(record: &Record) -> &'static str {
    const CANCELLED: i32 = 1;
    match &record.ending {
        None => "running",
        Some(ending) => match &ending.failure {
            None => "completed",
            Some(failure)
                if failure.code == CANCELLED || failure.message.contains("context canceled") =>
            {
                "canceled"
            }
            Some(_) => "error",
        },
    }
}

/// The git repository that a build is of, as the client says it or else as its context is called.
fn repository(record: &Record) -> Option<&str> {
    if let Some(source) = record.options.get("vcs:source") {
        return Some(source);
    }
    let context = record.options.get("context")?;
    let remote = context.split(['#', '?']).next().unwrap_or_default();
    let is_git = ["git://", "ssh://", "git@"]
        .iter()
        .any(|it| remote.starts_with(it))
        || (remote.starts_with("http") && remote.ends_with(".git"));
    is_git.then_some(remote)
}

/// The fields of a filter; a comma between quotes is part of its field.
fn split(text: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut begin, mut is_quoted) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                fields.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[begin..]);
    fields
        .into_iter()
        .filter(|field| !field.is_empty())
        .collect()
}

fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use cooper_core::model::JobId;

    use super::*;
    use crate::history::{Ending, RecordedFailure};
    use crate::job::{Build, SolveSpec};

    const SECOND: u64 = 1_000_000_000;

    fn record(job: &str, begun: u64, ended: Option<u64>, error: Option<&str>) -> Record {
        let build = Build::Definition(cooper_proto::pb::Definition::default());
        let mut record = Record::begin(&SolveSpec::new(JobId(job.into()), build), begun * SECOND);
        record.ending = ended.map(|at| Ending {
            at_ns: at * SECOND,
            response: std::collections::BTreeMap::new(),
            failure: error.map(|message| RecordedFailure {
                code: 2,
                message: message.into(),
            }),
            vertices: Vec::new(),
            warnings: 0,
        });
        record
    }

    #[test]
    fn builds_are_chosen_by_name_state_and_time() {
        let mut git = record("git", 100, Some(160), None);
        let context = "https://example.org/a.git#main:dir";
        git.options.insert("context".into(), context.into());
        let builds = [
            git,
            record("bad", 200, Some(205), Some("exit code: 1")),
            record("stopped", 300, Some(301), Some("context canceled")),
            record("now", 990, None, None),
        ];
        let chosen = |filters: &[&str]| -> Vec<String> {
            let texts: Vec<_> = filters.iter().map(ToString::to_string).collect();
            let filters = BuildFilters::parse(&texts, 1000 * SECOND).unwrap();
            let taken = builds.iter().filter(|it| filters.take(it));
            taken.map(|record| record.job.clone()).collect()
        };
        assert_eq!(chosen(&[]).len(), 4);
        assert_eq!(chosen(&["ref==bad"]), ["bad"]);
        assert_eq!(chosen(&["status==completed"]), ["git"]);
        assert_eq!(
            chosen(&["status==canceled", "status==running"]),
            ["stopped", "now"]
        );
        assert_eq!(chosen(&["repository==https://example.org/a.git"]), ["git"]);
        assert_eq!(chosen(&["duration>=5s,status!=running"]), ["git", "bad"]);
        assert_eq!(chosen(&["startedAt>1m"]), ["now"]);
        assert_eq!(chosen(&["startedAt<=1970-01-01T00:03:20Z"]), ["git", "bad"]);
        assert_eq!(chosen(&["completedAt>1970-01-01T00:04:00Z"]), ["stopped"]);
    }

    #[test]
    fn what_is_no_filter_of_builds_is_refused() {
        for text in ["duration>long", "startedAt<yesterday", "status=="] {
            assert!(
                BuildFilters::parse(&[text.to_owned()], 0).is_err(),
                "{text}"
            );
        }
    }
    // The first overflowed while it was taken from now.
    #[test]
    fn times_beyond_all_time_are_read_or_refused() {
        for text in [
            "startedAt>-170141183460469231731687303715884105727ns",
            "completedAt<170141183460469231731687303715884105727ns",
            "duration>=-170141183460469231731687303715884105727ns",
            "startedAt<+9223372036854775807-12-31T23:59:59Z",
            "startedAt<-9223372036854775808-01-01T00:00:00Z",
            "startedAt<\u{e4}\u{e4}\u{e4}\u{e4}-01-01T00:00:00Z",
        ] {
            if let Ok(filters) = BuildFilters::parse(&[text.to_owned()], SECOND) {
                let _either = filters.take(&record("any", 1, Some(2), None));
            }
        }
    }
}
