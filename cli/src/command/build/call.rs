//! `--call` and `--check`: asking the frontend something else than to build.
//!
//! What is printed and how the program exits is what users of buildx know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_core::ports::ExportResponse;
use cooper_frontend::diagnostic::Lines;
use cooper_frontend::subrequest::excerpt;
use serde_json::Value;

use super::csv;
use super::error::UsageError;
use crate::command::{FAILED, OK};

const METHODS: &str = "methods are build, check, outline, targets and describe";

/// A question to the frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The question's id without `frontend.`.
    name: String,
    json: bool,
    ignore_status: bool,
}

/// What to print on standard output, what on standard error, and how to exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) out: String,
    pub(super) error: Option<String>,
    pub(super) code: u8,
}

impl Call {
    /// Reads the flag; `None` for a build.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, UsageError> {
        let fields = csv::fields(text)
            .ok_or_else(|| UsageError::new(format!("invalid value {text:?} of --call"), METHODS))?;
        let mut call = Self {
            name: String::new(),
            json: false,
            ignore_status: false,
        };
        for field in fields {
            match field.split_once('=') {
                Some(("format", format)) => {
                    call.json = match format {
                        "json" => true,
                        "" | "text" => false,
                        other => {
                            return Err(UsageError::new(
                                format!("invalid format {other:?} of --call"),
                                "formats are text and json",
                            ));
                        }
                    }
                }
                Some(("ignorestatus", value)) => {
                    call.ignore_status = value.parse().map_err(|_| {
                        UsageError::plain(format!("invalid value {value:?} of ignorestatus"))
                    })?;
                }
                None if call.name.is_empty() => call.name = field,
                _ => {
                    return Err(UsageError::new(
                        format!("invalid value {field:?} of --call"),
                        METHODS,
                    ));
                }
            }
        }
        call.name = match call.name.as_str() {
            "" | "build" => return Ok(None),
            "check" | "lint" => "lint".to_owned(),
            "describe" | "subrequests.describe" => "subrequests.describe".to_owned(),
            "outline" | "targets" => call.name,
            other => {
                return Err(UsageError::new(
                    format!("unknown method {other:?} of --call"),
                    METHODS,
                ));
            }
        };
        Ok(Some(call))
    }

    /// The frontend's option.
    pub(super) fn request(&self) -> String {
        format!("frontend.{}", self.name)
    }

    /// What to say of an answer.
    pub(super) fn report(&self, response: &ExportResponse) -> Answer {
        let text = |key: &str| response.get(key).map_or("", String::as_str);
        let mut answer = Answer {
            out: String::new(),
            error: None,
            code: OK,
        };
        if !["result.json", "result.txt"]
            .iter()
            .any(|key| response.contains_key(*key))
        {
            // BuildKit's daemons tell it only to clients that are frontends themselves.
            answer.error =
                Some("the daemon builds and gives no answers; ask one of Cooper's\n".to_owned());
            answer.code = FAILED;
            return answer;
        }
        if self.name == "lint" {
            self.lint(text("result.json"), text("result.txt"), &mut answer);
        } else if self.json {
            answer.out = format!("{}\n", text("result.json"));
        } else {
            text("result.txt").clone_into(&mut answer.out);
        }
        if answer.code == OK && !self.ignore_status {
            answer.code = text("result.statuscode").parse().unwrap_or(OK);
        }
        answer
    }

    fn lint(&self, json: &str, text: &str, answer: &mut Answer) {
        let result: Value = serde_json::from_str(json).unwrap_or_default();
        let found = result["warnings"].as_array().map_or(0, Vec::len);
        if self.json {
            answer.out = format!("{json}\n");
        } else {
            match found {
                0 => {}
                1 => answer
                    .out
                    .push_str("Check complete, 1 warning has been found!\n"),
                n => answer
                    .out
                    .push_str(&format!("Check complete, {n} warnings have been found!\n")),
            }
            answer.out.push_str(text);
        }
        if result["buildError"].is_object() {
            if !self.json && found > 0 {
                answer.out.push('\n');
            }
            answer.error = Some(build_error(&result));
            answer.code = FAILED;
        } else if found == 0 && !self.json {
            answer.out.push_str("Check complete, no warnings found.\n");
        }
    }
}

/// Why the file cannot be built, with the lines of it.
fn build_error(result: &Value) -> String {
    let error = &result["buildError"];
    let places: Vec<Lines> = error["location"]["ranges"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|range| {
            let line = |end: &str| u32::try_from(range[end]["line"].as_u64()?).ok();
            Some(Lines::new(line("start")?, line("end")?))
        })
        .collect();
    let message = error["message"].as_str().unwrap_or_default();
    let (name, text) = source(result);
    format!("{message}\n{}", excerpt(&name, &text, &places))
}

/// The name and the text of the Dockerfile that a lint result is about.
pub(super) fn source(result: &Value) -> (String, String) {
    let source = &result["sources"][0];
    let data = source["data"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(data).unwrap_or_default();
    (
        source["filename"].as_str().unwrap_or_default().to_owned(),
        String::from_utf8_lossy(&bytes).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(pairs: &[(&str, &str)]) -> ExportResponse {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn methods_have_formats_and_aliases() {
        assert_eq!(Call::parse("build").unwrap(), None);
        let check = Call::parse("check,format=json,ignorestatus=true")
            .unwrap()
            .unwrap();
        assert_eq!(check.request(), "frontend.lint");
        assert!(check.json && check.ignore_status);
        let describe = Call::parse("describe").unwrap().unwrap();
        assert_eq!(describe.request(), "frontend.subrequests.describe");
        for wrong in ["nonsense", "check,outline", "check,format=xml", "check,a=b"] {
            assert!(Call::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn findings_are_counted_and_decide_the_exit_code() {
        let call = Call::parse("check").unwrap().unwrap();
        let none = call.report(&response(&[
            ("result.json", r#"{"warnings":null}"#),
            ("result.statuscode", "0"),
        ]));
        assert_eq!(none.out, "Check complete, no warnings found.\n");
        assert_eq!(none.code, 0);
        let some = call.report(&response(&[
            ("result.json", r#"{"warnings":[{},{}]}"#),
            ("result.txt", "\nWARNING: A\n"),
            ("result.statuscode", "1"),
        ]));
        assert_eq!(
            some.out,
            "Check complete, 2 warnings have been found!\n\nWARNING: A\n"
        );
        assert_eq!(some.code, 1);
        let ignored = Call::parse("check,ignorestatus=true").unwrap().unwrap();
        let json = r#"{"warnings":[{}]}"#;
        let status = response(&[("result.json", json), ("result.statuscode", "1")]);
        assert_eq!(ignored.report(&status).code, 0);
    }

    #[test]
    fn no_answer_is_not_a_good_one() {
        let call = Call::parse("check").unwrap().unwrap();
        let answer = call.report(&ExportResponse::new());
        assert_eq!((answer.code, answer.out.as_str()), (1, ""));
        assert!(answer.error.is_some());
    }

    #[test]
    fn a_file_that_cannot_be_built_is_an_error_with_its_lines() {
        let call = Call::parse("check").unwrap().unwrap();
        let data = STANDARD.encode("FROM a\nRUM b\n");
        let json = format!(
            r#"{{"warnings":null,"sources":[{{"filename":"Dockerfile","data":"{data}"}}],"buildError":{{"message":"unknown instruction: RUM","location":{{"ranges":[{{"start":{{"line":2}},"end":{{"line":2}}}}]}}}}}}"#
        );
        let answer = call.report(&response(&[("result.json", &json)]));
        assert_eq!(answer.code, 1);
        let error = answer.error.unwrap();
        assert!(error.contains("unknown instruction: RUM"), "{error}");
        assert!(error.contains("   2 | >>> RUM b"), "{error}");
    }
}
