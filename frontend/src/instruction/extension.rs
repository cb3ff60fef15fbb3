//! What Cooper adds to the language, for files that ask for it with `# extensions=cooper`.

use super::flags::Flags;
use crate::diagnostic::Fault;
use crate::dockerfile::directive::Directive;
use crate::golang::duration;
use crate::golang::quote::quote;

/// The directive that asks for extensions, and its one value.
const DIRECTIVE: (&str, &str) = ("extensions", "cooper");

/// More tries than these are refused, here with a place and by the engine.
const MOST_RETRIES: u32 = 100;

/// Whether a file may use what Cooper adds to the language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Whether it asked for that.
    pub on: bool,
}

impl Extensions {
    /// What a file asks for at its top.
    ///
    /// # Errors
    /// Extensions of somebody else.
    pub fn of(directives: &[Directive]) -> Result<Self, Fault> {
        let Some(asked) = directives.iter().find(|it| it.name == DIRECTIVE.0) else {
            return Ok(Self::default());
        };
        if asked.value != DIRECTIVE.1 {
            let message = format!("unknown extensions {}", quote(&asked.value));
            return Err(Fault::new(message)
                .suggest(&asked.value, [DIRECTIVE.1])
                .at(asked.lines));
        }
        Ok(Self { on: true })
    }
}

/// What to do about a word that is not known without extensions.
pub(super) fn without(mut fault: Fault) -> Fault {
    fault.suggestion = None;
    fault.message.push_str(
        "; it is an extension of Cooper's: write \"# extensions=cooper\" at the top of the file to use it",
    );
    fault
}

/// The same for flags, if one of them is ours.
pub(super) fn explain(fault: Fault, flags: &[String]) -> Fault {
    let is_ours = |flag: &String| {
        let name = flag.trim_start_matches('-').split('=').next();
        matches!(name, Some("timeout" | "retries"))
    };
    match flags.iter().any(is_ours) {
        true => without(fault),
        false => fault,
    }
}

/// `RUN --timeout=5m`, in nanoseconds.
pub(super) fn timeout(flags: &Flags) -> Result<Option<i64>, Fault> {
    let text = flags.text("timeout");
    if text.is_empty() {
        return Ok(None);
    }
    match duration::parse(&text).map_err(|message| Fault::new(format!("--timeout: {message}")))? {
        time if time < 1_000_000 => Err(Fault::new(format!(
            "--timeout={text} is less than 1ms: no step can end within it"
        ))),
        time => Ok(Some(time)),
    }
}

/// `RUN --retries=3`.
pub(super) fn retries(flags: &Flags) -> Result<Option<u32>, Fault> {
    let text = flags.text("retries");
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(retries) if retries <= MOST_RETRIES => Ok(Some(retries)),
        _ => Err(Fault::new(format!(
            "--retries={text} is no number from 0 to {MOST_RETRIES}"
        ))),
    }
}
