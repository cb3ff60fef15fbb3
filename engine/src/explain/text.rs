use super::cause::{Cause, Explanation, Files, Verdict};

/// Explanations for people: a step a paragraph. Steps that nobody needed are counted only.
#[must_use]
pub fn to_text(all: &[Explanation]) -> String {
    let mut out = String::new();
    for one in all {
        let word = match one.verdict {
            Verdict::Ran => "ran",
            Verdict::Failed => "failed; it had to run",
            Verdict::Reused => "reused",
            Verdict::NotNeeded => continue,
        };
        out.push_str(&one.name);
        out.push('\n');
        for (at, cause) in one.causes.iter().enumerate() {
            let head = if at == 0 { word } else { "and" };
            out.push_str(&format!("    {head}: {}\n", words(cause)));
            if let Cause::FilesChanged(files) = cause {
                push_files(&mut out, files);
            }
        }
    }
    let idle = all
        .iter()
        .filter(|one| one.verdict == Verdict::NotNeeded)
        .count();
    match idle {
        0 => {}
        1 => out.push_str("1 step was not needed, because a later one was reused\n"),
        n => out.push_str(&format!(
            "{n} steps were not needed, because later ones were reused\n"
        )),
    }
    out
}

fn push_files(out: &mut String, files: &Files) {
    for (sign, list) in [
        ('+', &files.added),
        ('-', &files.removed),
        ('~', &files.changed),
    ] {
        for path in list {
            out.push_str(&format!("        {sign} {path}\n"));
        }
    }
    if files.more > 0 {
        out.push_str(&format!("        and {} more\n", files.more));
    }
}

fn words(cause: &Cause) -> String {
    let value = |value: &Option<String>| match value {
        Some(value) => format!("{:?}", shortened(value)),
        None => "nothing".to_owned(),
    };
    match cause {
        Cause::FirstBuild => "there is no earlier build to compare with".to_owned(),
        Cause::NewStep => "the earlier build has no such step".to_owned(),
        Cause::CacheOff => "the build was told not to use the cache".to_owned(),
        Cause::ResultGone => "its result is gone from the cache".to_owned(),
        Cause::InstructionChanged { before, after } => format!(
            "the instruction changed from `{}` to `{}`",
            shortened(before),
            shortened(after)
        ),
        Cause::VariableChanged {
            name,
            before,
            after,
        } => match (before, after) {
            (None, after) => format!("{name} is new: {}", value(after)),
            (Some(_), None) => format!("{name} is not set any more"),
            _ => format!("{name} changed from {} to {}", value(before), value(after)),
        },
        Cause::BaseMoved { before, after } => format!("{before} is now {after}"),
        Cause::IgnoreFileChanged { added, removed } => {
            let mut parts = Vec::new();
            if !added.is_empty() {
                parts.push(format!("now with {}", added.join(", ")));
            }
            if !removed.is_empty() {
                parts.push(format!("without {}", removed.join(", ")));
            }
            format!("the ignore file changed: {}", parts.join(", "))
        }
        Cause::PartChanged {
            part,
            before,
            after,
        } => format!(
            "its {part} changed from {} to {}",
            value(before),
            value(after)
        ),
        Cause::FilesChanged(files) => {
            let count = files.added.len() + files.removed.len() + files.changed.len() + files.more;
            match count {
                1 => "a file that it reads changed".to_owned(),
                n => format!("{n} files that it reads changed"),
            }
        }
        Cause::Reordered { before, after } => {
            format!(
                "it comes after `{}` now, not after `{}`",
                shortened(after),
                shortened(before)
            )
        }
        Cause::InputRan { name } => format!("it stands on a step that ran: {name}"),
        Cause::ReadsTheSame { name } => {
            format!("what it reads is as before, although this ran: {name}")
        }
        Cause::Unchanged => "nothing that it reads changed".to_owned(),
        Cause::AskedEveryTime => "the client's files are compared in every build".to_owned(),
        Cause::NoDifference => "nothing that was kept of the earlier build is different".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const LENGTH: usize = 120;
    if text.chars().count() <= LENGTH {
        return text.to_owned();
    }
    let start: String = text.chars().take(LENGTH).collect();
    format!("{start}…")
}
