//! What expansion asks for values.

/// A source of variables.
pub trait Variables {
    /// The value of `name`, or `None` when it is not set. An empty value is set.
    fn get(&self, name: &str) -> Option<&str>;

    /// The names that are set, in the order they were last set.
    fn names(&self) -> Vec<&str>;
}

/// Holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Variables of which some are replaced: used to show `****` for values that come from a secret.
#[derive(Clone, Copy)]
pub struct Overlay<'a> {
    /// Names and the values shown for them.
    pub above: &'a [(String, String)],
    /// Everything else.
    pub below: &'a dyn Variables,
}

impl Variables for Overlay<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.above
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .or_else(|| self.below.get(name))
    }

    fn names(&self) -> Vec<&str> {
        let hidden = |name: &str| self.above.iter().any(|(key, _)| key == name);
        let mut names: Vec<&str> = self
            .below
            .names()
            .into_iter()
            .filter(|name| !hidden(name))
            .collect();
        names.extend(self.above.iter().map(|(key, _)| key.as_str()));
        names
    }
}
