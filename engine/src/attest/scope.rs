use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::Material;
use cooper_core::ports::{FrontendRequest, RefId};
use cooper_proto::pb;
use parking_lot::Mutex;

/// What somebody asked of a frontend.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Request {
    /// The frontend's name, empty when there is none.
    pub(crate) frontend: String,
    /// What it was told.
    pub(crate) options: BTreeMap<String, String>,
    /// The definitions that it was given.
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
}

/// What one frontend asked for while it answered one request. The scope of a build itself is above all others.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// What the frontend was asked; `None` for the build itself, which has no frontend between it and its graphs.
    request: Option<Request>,
    /// What the client asked of the build.
    root: Option<Request>,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    refs: Vec<RefId>,
    images: Vec<Material>,
    children: Vec<Arc<Scope>>,
}

impl Request {
    /// What was asked of a frontend.
    pub(crate) fn new(frontend: &str, request: &FrontendRequest) -> Self {
        Self {
            frontend: frontend.to_owned(),
            options: request.options.clone(),
            inputs: request.inputs.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.frontend.is_empty() && self.options.is_empty() && self.inputs.is_empty()
    }
}

impl Scope {
    /// The scope of a build, of which the client asked this.
    pub(crate) fn of_build(asked: Request) -> Self {
        Self {
            root: Some(asked).filter(|asked| !asked.is_empty()),
            ..Self::default()
        }
    }

    /// The scope of a frontend that is asked something in this one.
    pub(crate) fn child(&self, request: Request) -> Arc<Self> {
        let child = Arc::new(Self {
            root: self.root.clone().or_else(|| self.request.clone()),
            request: Some(request),
            noted: Mutex::default(),
        });
        self.noted.lock().children.push(Arc::clone(&child));
        child
    }

    /// What the frontend was asked.
    pub(super) fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// What the client asked of the build.
    pub(super) fn root(&self) -> Option<&Request> {
        self.root.as_ref()
    }

    /// Notes a result that was named here.
    pub(crate) fn note_ref(&self, id: &RefId) {
        self.noted.lock().refs.push(id.clone());
    }

    /// Notes an image that was looked up here.
    pub(crate) fn note_image(&self, image: Material) {
        self.noted.lock().images.push(image);
    }

    /// The results that were named here and below, each with the scope that it was named in.
    pub(super) fn refs(self: &Arc<Self>) -> Vec<(RefId, Arc<Self>)> {
        let noted = self.noted.lock();
        let own = noted.refs.iter().map(|id| (id.clone(), Arc::clone(self)));
        let mut all: Vec<_> = own.collect();
        for child in &noted.children {
            all.extend(child.refs());
        }
        all
    }

    /// The images that were looked up here and below.
    pub(super) fn images(&self) -> Vec<Material> {
        let noted = self.noted.lock();
        let mut all = noted.images.clone();
        for child in &noted.children {
            all.extend(child.images());
        }
        all
    }
}
