use super::{Expanded, Expander, NoVariables, Overlay};
use crate::environment::Environment;

fn environment() -> Environment {
    let mut environment = Environment::default();
    for (name, value) in [
        ("HOME", "/home"),
        ("EMPTY", ""),
        ("PATHS", "/usr/lib/a.tar.gz"),
        ("WORDS", "two words"),
        ("DOLLAR", "$HOME"),
        ("Ünï", "code"),
    ] {
        environment.set(name, value);
    }
    environment
}

fn expand(word: &str) -> Result<Expanded, String> {
    Expander::new('\\').expand(word, &environment())
}

fn text(word: &str) -> String {
    expand(word)
        .unwrap_or_else(|error| panic!("{word}: {error}"))
        .text
}

#[test]
fn variables_have_values() {
    for (word, want) in [
        ("a$HOME.b", "a/home.b"),
        ("${HOME}x", "/homex"),
        ("$HOMEx", ""),
        ("$UNSET-", "-"),
        ("$EMPTY|", "|"),
        ("$DOLLAR", "$HOME"),
        ("$Ünï", "code"),
        ("$1x$23$@$$", "x"),
        ("$.", "$."),
        ("a$", "a$"),
        ("\\$HOME", "$HOME"),
        ("\\\\$HOME", "\\/home"),
    ] {
        assert_eq!(text(word), want, "{word}");
    }
}

#[test]
fn quotes_group_and_vanish() {
    for (word, want) in [
        ("'$HOME'", "$HOME"),
        ("\"$HOME\"", "/home"),
        ("\"a'b\"", "a'b"),
        ("'a\\'", "a\\"),
        ("\"a\\\"b\\x\\$\"", "a\"b\\x$"),
        ("a\\tb", "atb"),
        ("a\\", "a"),
        ("''", ""),
    ] {
        assert_eq!(text(word), want, "{word}");
    }
}

#[test]
fn operators_choose_trim_and_replace() {
    for (word, want) in [
        ("${UNSET:-d}", "d"),
        ("${UNSET-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${HOME:-d}", "/home"),
        ("${UNSET:+a}${UNSET+a}", ""),
        ("${EMPTY:+a}", ""),
        ("${EMPTY+a}", "a"),
        ("${HOME:+a}", "a"),
        ("${HOME:?no}${EMPTY?no}", "/home"),
        ("${UNSET:-${EMPTY:-$HOME}}", "/home"),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:-\"}\"}", "}"),
        ("${PATHS#*/}", "usr/lib/a.tar.gz"),
        ("${PATHS##*/}", "a.tar.gz"),
        ("${PATHS%.*}", "/usr/lib/a.tar"),
        ("${PATHS%%.*}", "/usr/lib/a"),
        ("${PATHS#?usr}", "/lib/a.tar.gz"),
        ("${PATHS#nothing}", "/usr/lib/a.tar.gz"),
        ("${PATHS/a/A}", "/usr/lib/A.tar.gz"),
        ("${PATHS//a/A}", "/usr/lib/A.tAr.gz"),
        ("${PATHS/\\/usr/}", "/lib/a.tar.gz"),
        ("${PATHS/l*a/x}", "/usr/xr.gz"),
        ("${PATHS//[/x}", "/usr/lib/a.tar.gz"),
        ("${PATHS%\\*}", "/usr/lib/a.tar.gz"),
        ("${aaa}}", "}"),
    ] {
        assert_eq!(text(word), want, "{word}");
    }
}

#[test]
fn what_cannot_be_expanded_says_why() {
    for (word, why) in [
        ("'a", "single-quote"),
        ("\"a", "double-quote"),
        ("\"a\\\"", "double-quote"),
        ("${}", "bad substitution"),
        ("${:-a}", "bad substitution"),
        ("${{a}}", "bad substitution"),
        ("${a", "missing '}'"),
        ("${a:-b", "missing '}'"),
        ("${a/b}", "missing '/'"),
        ("${a/b/c", "missing '}'"),
        ("${.}", "unsupported modifier (.)"),
        ("${HOME:=x}", "unsupported modifier (:=)"),
        ("${HOME:#x}", "unsupported modifier (:#)"),
        ("${UNSET:?}", "UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${UNSET?said so}", "UNSET: said so"),
        ("${HOME#\\a}", "invalid escape"),
    ] {
        let error = expand(word).expect_err(word);
        assert!(error.contains(why), "{word}: {error}");
        assert!(error.starts_with("failed to process "), "{error}");
    }
}

#[test]
fn words_split_at_blanks_that_are_not_quoted() {
    for (word, want) in [
        (" a  b ", vec!["a", "b"]),
        ("'a b' c", vec!["a b", "c"]),
        ("$WORDS", vec!["two", "words"]),
        ("\"$WORDS\"", vec!["two words"]),
        ("x${UNSET:-y z}", vec!["xy", "z"]),
        ("'' a", vec!["a"]),
        ("a\\ b", vec!["a b"]),
        ("<< EOF", vec!["<< EOF"]),
        ("< a", vec!["<", "a"]),
    ] {
        assert_eq!(expand(word).unwrap().words, want, "{word}");
    }
}

#[test]
fn modes_keep_what_others_remove() {
    let kept = |expander: Expander, word: &str| expander.expand(word, &environment()).unwrap().text;
    let plain = Expander::new('\\');
    assert_eq!(
        kept(plain.keeping_quotes(), "'a' \"$HOME\""),
        "'a' \"/home\""
    );
    assert_eq!(
        kept(plain.ignoring_quotes(), "it's \"$HOME\""),
        "it's \"/home\""
    );
    assert_eq!(kept(plain.keeping_escapes(), "a\\b\\$HOME"), "a\\b\\$HOME");
    assert_eq!(
        kept(
            plain.keeping_unset(),
            "$HOME $NO ${NO} ${NO:-$HOME} ${NO/a/b}"
        ),
        "/home $NO ${NO} ${NO:-/home} ${NO/a/b}"
    );
    assert_eq!(kept(Expander::new('`'), "`$HOME \\$HOME"), "$HOME \\/home");
}

#[test]
fn names_are_told_apart_by_whether_they_have_a_value() {
    let expanded = expand("$HOME ${EMPTY} $NO ${HOME:-$OTHER}").unwrap();
    assert!(expanded.matched.iter().eq(["EMPTY", "HOME"]));
    assert!(expanded.unmatched.iter().eq(["NO", "OTHER"]));
}

#[test]
fn an_overlay_hides_what_is_below() {
    use super::Variables;
    let below = environment();
    let above = [("HOME".to_owned(), "****".to_owned())];
    let both = Overlay {
        above: &above,
        below: &below,
    };
    assert_eq!(
        Expander::new('\\')
            .expand("$HOME $WORDS", &both)
            .unwrap()
            .text,
        "**** two words"
    );
    assert_eq!(both.names().last(), Some(&"HOME"));
    assert_eq!(
        both.names().iter().filter(|name| **name == "HOME").count(),
        1
    );
    assert!(NoVariables.names().is_empty());
}
