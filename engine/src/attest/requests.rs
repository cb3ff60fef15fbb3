use std::collections::BTreeMap;

use cooper_core::model::JobId;
use cooper_proto::{Digest, pb};
use parking_lot::Mutex;
use prost::Message;

use super::parameters::{RequestProvenance, told_options};
use super::scope::{Request, Scope};
use super::sources::Sources;

/// Which requests made which results, of all builds that are open: a result of one may be an input of another.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_result: Mutex<BTreeMap<Digest, Vec<(JobId, RequestProvenance)>>>,
}

impl Requests {
    /// Notes that a frontend in this scope made this definition.
    pub(crate) fn register(&self, job: &JobId, definition: &pb::Definition, scope: &Scope) {
        let (Some(result), Some(made)) = (result_of(definition), self.of_scope(scope)) else {
            return;
        };
        let mut known = self.by_result.lock();
        let entries = known.entry(result).or_default();
        let entry = (job.clone(), made);
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }

    /// A build is over.
    pub(crate) fn forget(&self, job: &JobId) {
        self.by_result.lock().retain(|_, entries| {
            entries.retain(|(of, _)| of != job);
            !entries.is_empty()
        });
    }

    /// The one request that a definition came from; `None` when there are several, or nobody knows.
    fn find(&self, definition: &pb::Definition) -> Option<RequestProvenance> {
        let result = result_of(definition)?;
        let known = self.by_result.lock();
        let entries = known.get(&result)?.iter();
        let mut made = entries.map(|(_, made)| made.clone().without_root());
        let first = made.next()?;
        made.all(|other| other == first).then_some(first)
    }

    /// The requests that a request's inputs came from, as far as they are known.
    pub(super) fn of_inputs(&self, request: &Request) -> BTreeMap<String, RequestProvenance> {
        let inputs = request.inputs.iter();
        inputs
            .filter_map(|(name, definition)| Some((name.clone(), self.find(definition)?)))
            .collect()
    }

    /// What the client asked of the build, where that is told apart from what its frontends asked.
    pub(super) fn of_root(&self, scope: &Scope, sources: &Sources) -> Option<RequestProvenance> {
        let root = scope.root()?;
        let told = self.of_request(root, sources);
        let request = told.request.as_ref()?;
        let is_empty =
            request.frontend.is_empty() && request.args.is_empty() && request.inputs.is_empty();
        (!is_empty).then_some(told)
    }

    /// What a request says of itself and of its inputs.
    pub(super) fn of_request(&self, request: &Request, sources: &Sources) -> RequestProvenance {
        let options = told_options(&request.options);
        let mut told = RequestProvenance::of(&request.frontend, &options, sources);
        if let Some(parameters) = &mut told.request {
            parameters.inputs = self.of_inputs(request);
        }
        told
    }

    fn of_scope(&self, scope: &Scope) -> Option<RequestProvenance> {
        let sources = Sources::default();
        let mut told = self.of_request(scope.request()?, &sources);
        let root = self.of_root(scope, &sources);
        if let (Some(root), Some(parameters)) =
            (root.filter(|root| *root != told), &mut told.request)
        {
            parameters.root = Some(Box::new(root));
        }
        Some(told)
    }
}

/// What tells a definition's result from those of others, whatever else is said of it.
fn result_of(definition: &pb::Definition) -> Option<Digest> {
    let end = pb::Op::decode(definition.def.last()?.as_slice()).ok()?;
    end.inputs.first()?.digest.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str) -> pb::Definition {
        let end = pb::Op {
            inputs: vec![pb::Input {
                digest: Digest::sha256_of(name).to_string(),
                index: 0,
            }],
            ..pb::Op::default()
        };
        pb::Definition {
            def: vec![end.encode_to_vec()],
            ..pb::Definition::default()
        }
    }

    fn request(target: &str) -> Request {
        Request {
            frontend: "dockerfile.v0".into(),
            options: [("target".to_owned(), target.to_owned())].into(),
            ..Request::default()
        }
    }

    #[test]
    fn an_input_is_of_the_one_request_that_made_it_while_that_build_is_open() {
        let requests = Requests::default();
        let (one, other) = (JobId("one".into()), JobId("other".into()));
        let build = Scope::of_build(request("root"));
        requests.register(&one, &definition("a"), &build.child(request("base")));
        let found = requests.find(&definition("a")).unwrap().request.unwrap();
        assert_eq!(found.args["target"], "base");
        assert_eq!(found.root, None);
        assert!(requests.find(&definition("b")).is_none());
        requests.register(&other, &definition("a"), &build.child(request("else")));
        assert!(requests.find(&definition("a")).is_none());
        requests.forget(&other);
        assert!(requests.find(&definition("a")).is_some());
        requests.forget(&one);
        assert!(requests.find(&definition("a")).is_none());
    }

    #[test]
    fn a_graph_of_the_client_is_of_no_request() {
        let requests = Requests::default();
        let build = Scope::of_build(request("root"));
        requests.register(&JobId("one".into()), &definition("a"), &build);
        assert!(requests.find(&definition("a")).is_none());
    }
}
