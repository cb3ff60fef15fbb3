//! Names of steps: `[linux/arm64->amd64 builder 2/7] RUN make`.

use crate::expand::{Expander, Variables};
use crate::platform::{self, Platform};
use crate::stage::Conversion;

impl Conversion<'_> {
    /// The name of a stage's next step. `variables` tell which platform a cross build is for.
    pub(crate) fn step_name(
        &mut self,
        at: usize,
        text: &str,
        platform: Option<&Platform>,
        variables: Option<&dyn Variables>,
    ) -> String {
        let multi = self.options.multi_platform;
        let node = &mut self.nodes[at];
        if node.count.total == 0 {
            return text.to_owned();
        }
        let mut name = String::from("[");
        if let (true, Some(platform)) = (multi, platform) {
            name.push_str(&platform::full(platform));
            let target = variables.and_then(|variables| cross_target(variables, &self.input.host));
            name.push_str(&arrow(platform, target));
            name.push(' ');
        }
        if !node.label.is_empty() {
            name.push_str(&node.label);
            name.push(' ');
        }
        node.count.at += 1;
        let width = node.count.total.to_string().len();
        name.push_str(&format!("{:width$}/{}] ", node.count.at, node.count.total));
        if node.count.on_build {
            name.push_str("ONBUILD ");
        }
        name + text
    }

    /// The same step again under another text.
    pub(super) fn step_name_again(
        &mut self,
        at: usize,
        text: &str,
        platform: Option<&Platform>,
        variables: Option<&dyn Variables>,
    ) -> String {
        let count = &mut self.nodes[at].count;
        count.at = count.at.saturating_sub(1);
        self.step_name(at, text, platform, variables)
    }
}

/// An instruction as steps show it: keyword in capitals, variables replaced where that works.
pub(super) fn shown(expander: Expander, text: &str, variables: &dyn Variables) -> String {
    let text = expander
        .expand(text, variables)
        .map_or_else(|_| text.to_owned(), |expanded| expanded.text);
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// The platform that TARGET variables name.
fn cross_target(variables: &dyn Variables, host: &Platform) -> Option<Platform> {
    let mut target = Platform::default();
    let mut found = false;
    for name in variables.names() {
        let value = variables.get(name).unwrap_or_default();
        match name {
            "TARGETPLATFORM" => match platform::parse(value, host) {
                Ok(platform) => return Some(platform),
                Err(_) => continue,
            },
            "TARGETOS" => value.clone_into(&mut target.os),
            "TARGETARCH" => value.clone_into(&mut target.architecture),
            "TARGETVARIANT" => value.clone_into(&mut target.variant),
            _ => continue,
        }
        found = true;
    }
    found.then_some(target)
}

/// `->arch` for another architecture, `->os/arch` for another system, nothing for the same.
fn arrow(base: &Platform, target: Option<Platform>) -> String {
    let Some(mut target) = target else {
        return String::new();
    };
    if target.os.is_empty() {
        target.os.clone_from(&base.os);
    }
    if target.architecture.is_empty() {
        target.architecture.clone_from(&base.architecture);
    }
    let target = platform::normalize(&target);
    if target.os != base.os {
        return format!("->{}", platform::full(&target));
    }
    if target.architecture == base.architecture {
        return String::new();
    }
    match target.variant.as_str() {
        "" => format!("->{}", target.architecture),
        variant => format!("->{}/{variant}", target.architecture),
    }
}
