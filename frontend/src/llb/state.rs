//! What a stage knows about the file system it is at.

use std::rc::Rc;

use cooper_proto::pb;

use super::graph::Output;
use crate::environment::Environment;
use crate::platform::{self, Platform};

/// A file system and how processes run in it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The file system; `None` is the empty one.
    pub(crate) output: Option<Output>,
    /// Variables.
    pub(crate) environment: Rc<Environment>,
    /// Working folder, absolute.
    pub(crate) directory: String,
    /// User, or empty.
    pub(crate) user: String,
    /// Host name, or empty.
    pub(crate) hostname: String,
    /// Network.
    pub(crate) network: pb::NetMode,
    /// Platform, if something said one.
    pub(crate) platform: Option<Platform>,
}

impl State {
    /// The state of an output of which nothing else is known.
    pub(crate) fn of(output: Option<Output>) -> Self {
        Self {
            output,
            environment: Rc::default(),
            directory: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            network: pb::NetMode::Unset,
            platform: None,
        }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: impl Into<Rc<str>>, value: impl Into<Rc<str>>) {
        Rc::make_mut(&mut self.environment).set(name, value);
    }

    /// Says the platform.
    pub(crate) fn set_platform(&mut self, platform: &Platform) {
        self.platform = Some(platform::normalize(platform));
    }
}
