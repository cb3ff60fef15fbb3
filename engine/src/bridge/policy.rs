use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureDetail, FailureKind, redacted};
use cooper_core::patterns::path_inside;
use cooper_core::policy::{Rules, replace_sources, sources_of};
use cooper_core::ports::{ImageQuery, Session, Sessions};
use cooper_proto::frontend::ResolveSourceMetaResponse;
use cooper_proto::pb;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::policy_session::check_policy_response::Result as Answer;
use cooper_proto::policy_session::{CheckPolicyRequest, DecisionResponse};
use cooper_proto::reference::Reference;
use cooper_proto::source_policy::PolicyAction;

use super::{BuildBridge, source_meta};

/// How often a client may be asked about one source.
const MOST_QUESTIONS: usize = 10;

const IMAGE: &str = "docker-image://";

/// The type under which BuildKit's clients find the reasons of a refusal.
const DECISION: &str = "github.com/moby/buildkit/policysession.DecisionResponse+json";

/// Asks the build's rules, and whoever decides in its client, about all sources of a definition. Returns the definition
/// with the sources that they want.
///
/// # Errors
/// `Denied` for a source that may not be used.
pub(super) async fn govern(
    bridge: &BuildBridge,
    definition: pb::Definition,
    more: &Rules,
) -> Result<pb::Definition, Failure> {
    if !is_governed(bridge, more) {
        return Ok(definition);
    }
    let sources = sources_of(&definition)?;
    let judged = sources.iter().map(|(digest, op)| async {
        let replaced = judge(bridge, op, more).await;
        replaced
            .map(|replaced| Some((digest.clone(), replaced?)))
            .map_err(|failure| prefixed("error evaluating the source policy", failure))
    });
    let replaced: BTreeMap<_, _> = futures::future::try_join_all(judged)
        .await?
        .into_iter()
        .flatten()
        .collect();
    replace_sources(&definition, &replaced)
}

/// What the rules make of an image.
pub(super) enum GovernedImage {
    /// An image, the same or another.
    Image(ImageQuery),
    /// The identifier of a source of another kind.
    Other(String),
}

/// The same for an image that a frontend wants to know of.
///
/// # Errors
/// As [`govern`].
pub(super) async fn govern_image(
    bridge: &BuildBridge,
    mut query: ImageQuery,
    more: &Rules,
) -> Result<GovernedImage, Failure> {
    if query.oci_layout_store.is_some() || !is_governed(bridge, more) {
        return Ok(GovernedImage::Image(query));
    }
    let source = pb::SourceOp {
        identifier: format!("{IMAGE}{}", query.reference),
        ..pb::SourceOp::default()
    };
    if let Some(replaced) = govern_source(bridge, source, query.platform.clone(), more).await? {
        let Some(reference) = replaced.identifier.strip_prefix(IMAGE) else {
            return Ok(GovernedImage::Other(replaced.identifier));
        };
        reference.clone_into(&mut query.reference);
    }
    Ok(GovernedImage::Image(query))
}

/// The same for one source that somebody wants to know of; `None` when it stays as it is.
///
/// # Errors
/// As [`govern`].
pub(super) async fn govern_source(
    bridge: &BuildBridge,
    source: pb::SourceOp,
    platform: Option<pb::Platform>,
    more: &Rules,
) -> Result<Option<pb::SourceOp>, Failure> {
    if !is_governed(bridge, more) {
        return Ok(None);
    }
    let op = pb::Op {
        op: Some(Kind::Source(source)),
        platform,
        ..pb::Op::default()
    };
    judge(bridge, &op, more)
        .await
        .map_err(|failure| prefixed("could not resolve image due to policy", failure))
}

fn is_governed(bridge: &BuildBridge, more: &Rules) -> bool {
    let job = bridge.job();
    !(job.source_rules.is_empty() && more.is_empty() && job.policy_session.is_none())
}

/// What a source becomes, `None` when it stays as it is.
async fn judge(
    bridge: &BuildBridge,
    op: &pb::Op,
    more: &Rules,
) -> Result<Option<pb::SourceOp>, Failure> {
    let Some(Kind::Source(source)) = &op.op else {
        return Ok(None);
    };
    let rules = bridge.job().source_rules.and(more);
    let mut source = pb::SourceOp {
        identifier: normal(source),
        attrs: source.attrs.clone(),
    };
    let mut changed = rules.apply(&mut source)?;
    let Some(session) = &bridge.job().policy_session else {
        return Ok(changed.then_some(source));
    };
    let session = bridge.parts().sessions.session(session).await?;
    let mut known = ResolveSourceMetaResponse {
        source: Some(source.clone()),
        ..ResolveSourceMetaResponse::default()
    };
    for _ in 0..MOST_QUESTIONS {
        match ask(session.as_ref(), op.platform.clone(), known).await? {
            Answer::Request(wanted) => {
                let same = wanted.source.as_ref() == Some(&source);
                if !same {
                    return Err(invalid("policy requested different source attrs"));
                }
                known = Box::pin(source_meta::look_up(bridge, wanted))
                    .await
                    .map_err(|failure| {
                        let what = "error resolving source metadata from policy request";
                        prefixed(what, failure)
                    })?;
            }
            Answer::Decision(decision) => match decided(&source, &decision)? {
                None => return Ok(changed.then_some(source)),
                Some(update) => {
                    changed = true;
                    source = pb::SourceOp {
                        identifier: normal(&update),
                        attrs: update.attrs,
                    };
                    rules.apply(&mut source)?;
                    known = ResolveSourceMetaResponse {
                        source: Some(source.clone()),
                        ..ResolveSourceMetaResponse::default()
                    };
                }
            },
        }
    }
    Err(invalid("too many policy requests"))
}

async fn ask(
    session: &dyn Session,
    platform: Option<pb::Platform>,
    known: ResolveSourceMetaResponse,
) -> Result<Answer, Failure> {
    let request = CheckPolicyRequest {
        platform,
        source: Some(known),
        ..CheckPolicyRequest::default()
    };
    let answer = session.check_policy(request).await?.result;
    answer.ok_or_else(|| invalid("no decision in policy response"))
}

/// What the client made of a source, `None` when it stays as it is.
fn decided(
    source: &pb::SourceOp,
    decision: &DecisionResponse,
) -> Result<Option<pb::SourceOp>, Failure> {
    let action = PolicyAction::try_from(decision.action);
    match action {
        Ok(PolicyAction::Allow) => Ok(None),
        Ok(PolicyAction::Convert) => {
            let update = decision.update.clone();
            let update = update.ok_or_else(|| invalid("convert action requires updated source"))?;
            Ok(Some(update))
        }
        Ok(PolicyAction::Deny) | Err(_) => {
            let name = action.map_or_else(
                |_| decision.action.to_string(),
                |it| it.as_str_name().to_owned(),
            );
            let mut failure = Failure::new(
                FailureKind::Denied,
                format!(
                    "source {:?} not allowed by policy: action {name}",
                    redacted(&source.identifier)
                ),
            );
            failure.details.extend(reasons(decision));
            Err(failure)
        }
    }
}

/// A client's reasons, in the form in which its like can read them.
fn reasons(decision: &DecisionResponse) -> Option<FailureDetail> {
    if decision.deny_messages.is_empty() {
        return None;
    }
    let messages: Vec<_> = decision
        .deny_messages
        .iter()
        .map(|it| serde_json::json!({ "message": it.message }))
        .collect();
    let value = serde_json::json!({ "action": decision.action, "denyMessages": messages });
    Some(FailureDetail {
        type_url: DECISION.to_owned(),
        value: value.to_string().into_bytes(),
    })
}

/// A source's name in the one form that rules are written for.
fn normal(source: &pb::SourceOp) -> String {
    let name = &source.identifier;
    if let Some(reference) = name.strip_prefix(IMAGE) {
        return match reference.parse::<Reference>() {
            Ok(reference) => format!("{IMAGE}{}", reference.with_default_tag()),
            Err(_) => name.clone(),
        };
    }
    let Some(text) = name.strip_prefix("git://") else {
        return name.clone();
    };
    let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
    // What git is given counts, not what the source is called.
    let place = source
        .attrs
        .get("git.fullurl")
        .map_or(place, String::as_str);
    git_name(place, fragment)
}

/// A repository's name in one form, so that no rule is got round by another spelling: without scheme, user and query,
/// with paths that have no `..` in them.
fn git_name(place: &str, fragment: &str) -> String {
    let place = place.split(['#', '?']).next().unwrap_or_default();
    let (scheme, rest) = match place.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, place),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    // `user@host:path` has a colon where addresses with a scheme have a slash.
    let (host, path) = match host.split_once(':') {
        Some((host, first)) if scheme.is_none() && authority.contains('@') => {
            (host, format!("{first}/{path}"))
        }
        _ => (host, path.to_owned()),
    };
    let mut name = format!("git://{host}/{}", path_inside(&decoded(&path)));
    let fragment = decoded(fragment);
    let (reference, folder) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let folder = path_inside(folder);
    if !(reference.is_empty() && folder.is_empty()) {
        name.push('#');
        name.push_str(reference);
    }
    if !folder.is_empty() {
        name.push(':');
        name.push_str(&folder);
    }
    name
}

/// Undoes percent encoding.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|it| char::from(*it).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn prefixed(what: &str, mut failure: Failure) -> Failure {
    failure.message = format!("{what}: {}", failure.message);
    failure
}

fn invalid(what: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_their_full_form_and_without_passwords() {
        let name = |identifier: &str, full: Option<&str>| {
            normal(&pb::SourceOp {
                identifier: identifier.into(),
                attrs: full
                    .map(|full| ("git.fullurl".to_owned(), full.to_owned()))
                    .into_iter()
                    .collect(),
            })
        };
        assert_eq!(
            name("docker-image://alpine", None),
            "docker-image://docker.io/library/alpine:latest"
        );
        assert_eq!(name("https://host/a", None), "https://host/a");
        for (identifier, full, want) in [
            (
                "x/y#v1:sub",
                Some("https://u:p@host/a.git"),
                "host/a.git#v1:sub",
            ),
            ("x/y", Some("git@host:a/b.git"), "host/a/b.git"),
            ("x/y", Some("host/a"), "host/a"),
            ("host:8/a", Some("http://host:8/a?q"), "host:8/a"),
            ("h/r.git#main:../a/b", None, "h/r.git#main:a/b"),
            ("h/x/../r.git#main:%2e%2e/a//b/", None, "h/r.git#main:a/b"),
            ("h/r.git#:/", None, "h/r.git"),
        ] {
            assert_eq!(
                name(&format!("git://{identifier}"), full),
                format!("git://{want}")
            );
        }
    }

    #[test]
    fn a_refusal_tells_the_client_s_reasons() {
        let decision = DecisionResponse {
            action: PolicyAction::Deny.into(),
            deny_messages: vec![cooper_proto::policy_session::DenyMessage {
                message: "because".into(),
            }],
            update: None,
        };
        let source = pb::SourceOp {
            identifier: "https://host/a".into(),
            ..pb::SourceOp::default()
        };
        let failure = decided(&source, &decision).unwrap_err();
        assert_eq!(
            failure.message,
            "source \"https://host/a\" not allowed by policy: action DENY"
        );
        let told = String::from_utf8_lossy(&failure.details[0].value).into_owned();
        assert!(told.contains("because"), "{told}");
        let unknown = DecisionResponse {
            action: 77,
            ..DecisionResponse::default()
        };
        assert!(decided(&source, &unknown).is_err());
    }
}
