use std::collections::BTreeMap;

use cooper_proto::pb::SourceOp;
use cooper_proto::source_policy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector,
};
use regex::Regex;

use crate::model::{Failure, FailureKind, redacted};

/// How often one source may be changed; BuildKit's own bound.
const MOST_CHANGES: usize = 20;

/// Longest pattern that is compiled, in bytes.
const PATTERN_BYTES: usize = 16 << 10;

/// The rules that hold for a build.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    policies: Vec<Policy>,
}

impl Rules {
    /// Reads policies.
    ///
    /// # Errors
    /// `InvalidInput` for a rule that lacks what it needs (security.md T-A3).
    pub fn read(policies: Vec<Policy>) -> Result<Self, Failure> {
        for rule in policies.iter().flat_map(|policy| &policy.rules) {
            if rule.selector.is_none() {
                return Err(invalid("invalid nil selector in policy"));
            }
        }
        Ok(Self { policies })
    }

    /// These rules, and after them others.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let both = self.policies.iter().chain(&others.policies);
        Self {
            policies: both.cloned().collect(),
        }
    }

    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.iter().all(|policy| policy.rules.is_empty())
    }

    /// Changes a source as the rules say, and says whether it did. All rules are asked again after each change.
    ///
    /// # Errors
    /// `Denied` when the last rule that matches denies it; `InvalidInput` for rules that cannot be read or never come
    /// to an end.
    pub fn apply(&self, source: &mut SourceOp) -> Result<bool, Failure> {
        for round in 0.. {
            if round > MOST_CHANGES {
                return Err(invalid(
                    "too many mutations on a single source: too many operations",
                ));
            }
            let mut changed = false;
            for policy in &self.policies {
                changed = apply_once(policy, source)?;
                if changed {
                    break;
                }
            }
            if !changed {
                return Ok(round > 0);
            }
        }
        unreachable!("the rounds are bounded")
    }
}

fn apply_once(policy: &Policy, source: &mut SourceOp) -> Result<bool, Failure> {
    let mut is_denied = false;
    let name = source.identifier.clone();
    for rule in &policy.rules {
        let selector = rule.selector.as_ref();
        let selector = selector.ok_or_else(|| invalid("invalid nil selector in policy"))?;
        let matches = matches(selector, source)
            .map_err(|what| invalid(&format!("error matching source policy: {what}")))?;
        if !matches {
            continue;
        }
        match PolicyAction::try_from(rule.action) {
            Ok(PolicyAction::Allow) => is_denied = false,
            Ok(PolicyAction::Deny) => is_denied = true,
            Ok(PolicyAction::Convert) => {
                let changed = change(rule, selector, source)
                    .map_err(|what| invalid(&format!("error mutating source policy: {what}")))?;
                if changed {
                    return Ok(true);
                }
            }
            Err(_) => {
                return Err(invalid(&format!(
                    "source policy: rule {} {}: unknown type {:?}",
                    rule.action,
                    selector.identifier,
                    redacted(&name)
                )));
            }
        }
    }
    if is_denied {
        return Err(Failure::new(
            FailureKind::Denied,
            format!(
                "source {:?} denied by policy: source denied by policy",
                redacted(&name)
            ),
        ));
    }
    Ok(false)
}

fn matches(selector: &Selector, source: &SourceOp) -> Result<bool, String> {
    for constraint in &selector.constraints {
        if !holds(constraint, &source.attrs)? {
            return Ok(false);
        }
    }
    if selector.identifier == source.identifier {
        return Ok(true);
    }
    match MatchType::try_from(selector.match_type) {
        Ok(MatchType::Exact) => Ok(false),
        Ok(MatchType::Wildcard | MatchType::Regex) => {
            Ok(pattern(selector)?.is_match(&source.identifier))
        }
        Err(_) => Err(format!("unknown match type: {}", selector.match_type)),
    }
}

fn holds(
    constraint: &AttrConstraint,
    attributes: &BTreeMap<String, String>,
) -> Result<bool, String> {
    let value = attributes.get(&constraint.key);
    let value = value.map_or("", String::as_str);
    match AttrMatch::try_from(constraint.condition) {
        Ok(AttrMatch::Equal) => Ok(value == constraint.value),
        Ok(AttrMatch::Notequal) => Ok(value != constraint.value),
        Ok(AttrMatch::Matches) => Ok(compiled(&constraint.value)?.is_match(value)),
        Err(_) => Err(format!("unknown attr condition: {}", constraint.condition)),
    }
}

fn change(rule: &Rule, selector: &Selector, source: &mut SourceOp) -> Result<bool, String> {
    let Some(updates) = &rule.updates else {
        return Err("missing destination for convert rule".to_owned());
    };
    let wanted = match updates.identifier.as_str() {
        "" => &selector.identifier,
        wanted => wanted,
    };
    let target = match MatchType::try_from(selector.match_type) {
        Ok(MatchType::Exact) => wanted.to_owned(),
        Ok(MatchType::Wildcard | MatchType::Regex) => {
            let replaced = pattern(selector)?.replace_all(&source.identifier, wanted);
            replaced.into_owned()
        }
        Err(_) => return Err(format!("unknown match type: {}", selector.match_type)),
    };
    let mut changed = false;
    if !target.is_empty() && target != source.identifier {
        source.identifier = target;
        changed = true;
    }
    for (key, value) in &updates.attrs {
        // In Go, an attribute that is not there and an empty one are the same.
        if source.attrs.get(key).map_or("", String::as_str) != value {
            source.attrs.insert(key.clone(), value.clone());
            changed = true;
        }
    }
    Ok(changed)
}

fn pattern(selector: &Selector) -> Result<Regex, String> {
    let text = &selector.identifier;
    if selector.match_type == MatchType::Regex as i32 {
        return compiled(text);
    }
    if text.contains("**") {
        return Err(format!(
            "failed to translate wildcard {text:?} to regexp: invalid wildcard: \"**\""
        ));
    }
    let escaped: Vec<String> = text.split('*').map(regex::escape).collect();
    compiled(&format!("^{}$", escaped.join("(.*)")))
}

fn compiled(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES {
        return Err(format!("a pattern of more than {PATTERN_BYTES} bytes"));
    }
    Regex::new(text).map_err(|error| format!("invalid regex {text:?}: {error}"))
}

fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooper_proto::source_policy::Update;

    fn rule(action: PolicyAction, kind: MatchType, from: &str, to: Option<&str>) -> Rule {
        Rule {
            action: action.into(),
            selector: Some(Selector {
                identifier: from.into(),
                match_type: kind.into(),
                constraints: Vec::new(),
            }),
            updates: to.map(|to| Update {
                identifier: to.into(),
                attrs: BTreeMap::new(),
            }),
        }
    }

    fn apply(rules: Vec<Rule>, from: &str) -> Result<(bool, String), Failure> {
        let rules = Rules::read(vec![Policy { version: 1, rules }])?;
        let mut source = SourceOp {
            identifier: from.into(),
            attrs: BTreeMap::new(),
        };
        let changed = rules.apply(&mut source)?;
        Ok((changed, source.identifier))
    }

    use MatchType::{Exact, Regex as Expression, Wildcard};
    use PolicyAction::{Allow, Convert, Deny};

    #[test]
    fn the_last_rule_that_matches_decides() {
        let (allow, deny) = (
            rule(Allow, Wildcard, "docker-image://*", None),
            rule(Deny, Wildcard, "docker-image://*", None),
        );
        let image = "docker-image://docker.io/library/alpine:latest";
        assert!(apply(vec![deny.clone(), allow.clone()], image).is_ok());
        let failure = apply(vec![allow, deny.clone()], image).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Denied);
        assert_eq!(
            failure.message,
            format!("source {image:?} denied by policy: source denied by policy")
        );
        assert!(apply(vec![deny], "https://host/").is_ok());
    }

    #[test]
    fn sources_are_changed_by_patterns_and_asked_about_again() {
        let image = "docker-image://docker.io/library/golang:1.19";
        for (kind, from) in [
            (Wildcard, "docker-image://docker.io/library/golang:*"),
            (
                Expression,
                r"docker\-image://docker\.io/library/golang:(.*)",
            ),
        ] {
            let to = "docker-image://fake.io/go:${1}-x";
            let changed = apply(vec![rule(Convert, kind, from, Some(to))], image);
            let want = "docker-image://fake.io/go:1.19-x";
            assert_eq!(changed.unwrap(), (true, want.to_owned()));
        }
        let rules = vec![
            rule(Convert, Exact, "a", Some("b")),
            rule(Convert, Exact, "b", Some("c")),
            rule(Deny, Exact, "c", None),
        ];
        assert!(
            apply(rules.clone(), "a")
                .unwrap_err()
                .message
                .contains("\"c\"")
        );
        assert_eq!(apply(rules, "d").unwrap(), (false, "d".to_owned()));
    }

    #[test]
    fn changing_without_end_is_an_error() {
        let rules = vec![
            rule(Convert, Exact, "a", Some("b")),
            rule(Convert, Exact, "b", Some("a")),
        ];
        let failure = apply(rules, "a").unwrap_err();
        assert!(
            failure.message.ends_with("too many operations"),
            "{failure}"
        );
    }

    // T-A3
    #[test]
    fn rules_that_lack_something_or_say_unknown_things_are_refused() {
        let good = rule(Allow, Exact, "a", None);
        let selector = |change: fn(&mut Selector)| {
            let mut rule = good.clone();
            rule.selector.as_mut().map(change);
            rule
        };
        let action = Rule {
            action: 9000,
            ..good.clone()
        };
        let none = Rule {
            selector: None,
            ..good.clone()
        };
        let condition = selector(|it| {
            it.constraints = vec![AttrConstraint {
                condition: 7,
                ..AttrConstraint::default()
            }];
        });
        for (rule, words) in [
            (none, "invalid nil selector in policy"),
            (action, "unknown type"),
            (
                rule(Convert, Exact, "a", None),
                "missing destination for convert rule",
            ),
            (condition, "unknown attr condition"),
            (
                selector(|it| {
                    it.match_type = 9;
                    it.identifier = "b".into();
                }),
                "unknown match type",
            ),
            (
                selector(|it| {
                    it.match_type = Expression.into();
                    it.identifier = "(".into();
                }),
                "invalid regex",
            ),
            (
                selector(|it| {
                    it.match_type = Wildcard.into();
                    it.identifier = "a**".into();
                }),
                "invalid wildcard",
            ),
        ] {
            let failure = apply(vec![rule], "a").unwrap_err();
            assert!(failure.message.contains(words), "{words}: {failure}");
        }
    }

    #[test]
    fn attributes_are_compared_and_set() {
        let mut pinned = rule(Convert, Exact, "https://host/a", Some(""));
        let sum = ("http.checksum".to_owned(), "sha256:1".to_owned());
        pinned.updates.as_mut().unwrap().attrs = BTreeMap::from([sum.clone()]);
        let mut denied = rule(Deny, Exact, "https://host/a", None);
        denied.selector.as_mut().unwrap().constraints = vec![AttrConstraint {
            key: sum.0.clone(),
            value: "^sha256:[2-9]".into(),
            condition: AttrMatch::Matches.into(),
        }];
        let rules = Rules::read(vec![Policy {
            version: 1,
            rules: vec![pinned, denied],
        }]);
        let mut source = SourceOp {
            identifier: "https://host/a".into(),
            attrs: BTreeMap::new(),
        };
        assert_eq!(rules.unwrap().apply(&mut source), Ok(true));
        assert_eq!(source.attrs, BTreeMap::from([sum]));
    }
}
