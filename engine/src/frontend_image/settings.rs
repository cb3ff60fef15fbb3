use cooper_core::model::{Failure, FailureKind};
use cooper_proto::reference::Reference;

/// Which images may be frontends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendImages {
    /// Whether any may.
    pub enabled: bool,
    /// Their repositories; empty for all.
    pub allowed_repositories: Vec<String>,
}

impl Default for FrontendImages {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_repositories: Vec::new(),
        }
    }
}

impl FrontendImages {
    /// Refuses an image that may not be a frontend.
    ///
    /// # Errors
    /// `Denied`, and `InvalidInput` for what is no reference.
    pub(super) fn check(&self, source: &str) -> Result<(), Failure> {
        if !self.enabled {
            return Err(Failure::new(
                FailureKind::Denied,
                "frontends that are images (gateway.v0) are disabled by build daemon configuration",
            ));
        }
        if self.allowed_repositories.is_empty() {
            return Ok(());
        }
        let name = parse(source)?.name();
        let mut allowed = self.allowed_repositories.iter();
        if allowed.any(|it| parse(it).is_ok_and(|allowed| allowed.name() == name)) {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Denied,
            format!("'{source}' is not an allowed gateway source"),
        ))
    }
}

pub(super) fn parse(source: &str) -> Result<Reference, Failure> {
    source.parse().map_err(|error| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("the frontend {source:?}: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_repositories_may_be_frontends() {
        let some = FrontendImages {
            allowed_repositories: vec!["docker/dockerfile".into(), "example.com/a:1".into()],
            ..FrontendImages::default()
        };
        for good in [
            "docker.io/docker/dockerfile:1",
            "docker/dockerfile",
            "example.com/a:2",
        ] {
            assert!(some.check(good).is_ok(), "{good}");
        }
        for bad in [
            "docker/dockerfile-upstream",
            "example.com/a/b",
            "example.org/a",
        ] {
            assert!(some.check(bad).is_err(), "{bad}");
        }
        assert!(FrontendImages::default().check("anything/else").is_ok());
        let none = FrontendImages {
            enabled: false,
            ..FrontendImages::default()
        };
        assert!(none.check("docker/dockerfile").is_err());
    }
}
