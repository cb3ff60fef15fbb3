//! Platforms: `linux/arm/v7` and what stands behind it.

use cooper_proto::pb;

use crate::golang::path::join;
use crate::golang::quote::quote;

/// An operating system and an architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Architecture.
    pub architecture: String,
    /// Variant of the architecture, or empty.
    pub variant: String,
    /// Version of the operating system, or empty.
    pub os_version: String,
    /// Features of the operating system.
    pub os_features: Vec<String>,
}

const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// A platform without variant.
    #[must_use]
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..Self::default()
        }
    }

    /// Reads `os[(version+feature)]`, `arch`, `os/arch` or `os/arch/variant`. What a single word leaves out comes from `host`.
    ///
    /// # Errors
    /// A message that quotes the text.
    pub fn parse(text: &str, host: &Self) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let (system, options) = match parts[0]
            .strip_suffix(')')
            .and_then(|part| part.split_once('('))
        {
            Some((system, options)) => (system, options),
            None => (parts[0], ""),
        };
        let mut options = options.split('+');
        let version = options.next().unwrap_or_default();
        let named = |text: &str, more: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let well_formed = !system.is_empty()
            && named(system, "_-")
            && named(version, "_.%-")
            && options
                .clone()
                .all(|feature| !feature.is_empty() && named(feature, "_.%-"))
            && parts[1..]
                .iter()
                .all(|part| !part.is_empty() && named(part, "_.-"))
            && parts.len() < 4;
        if !well_formed {
            return Err(format!("{}: cannot parse platform specifier", quote(text)));
        }
        let mut platform = Self {
            os: normal_os(system, host),
            os_version: decode(version),
            os_features: options.map(decode).collect(),
            ..Self::default()
        };
        match parts.as_slice() {
            [_] if SYSTEMS.contains(&platform.os.as_str()) => {
                platform.architecture.clone_from(&host.architecture);
                if host.architecture == "arm" && host.variant != "v7" {
                    platform.variant.clone_from(&host.variant);
                }
            }
            [word] => {
                (platform.architecture, platform.variant) = normal_architecture(word, "");
                platform.drop_default_arm();
                if !ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Err(format!(
                        "{}: unknown operating system or architecture",
                        quote(text)
                    ));
                }
                platform.os.clone_from(&host.os);
            }
            [_, architecture] => {
                (platform.architecture, platform.variant) = normal_architecture(architecture, "");
                platform.drop_default_arm();
            }
            [_, architecture, variant] => {
                (platform.architecture, platform.variant) =
                    normal_architecture(architecture, variant);
                if platform.architecture == "arm64" && platform.variant.is_empty() {
                    platform.variant = "v8".to_owned();
                }
            }
            _ => {}
        }
        Ok(platform)
    }

    fn drop_default_arm(&mut self) {
        if self.architecture == "arm" && self.variant == "v7" {
            self.variant.clear();
        }
    }

    /// The same with canonical names.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut out = self.clone();
        out.os = normal_os(&self.os, &Self::new("linux", ""));
        (out.architecture, out.variant) = normal_architecture(&self.architecture, &self.variant);
        out.os_features.sort();
        out.os_features.dedup();
        out
    }

    /// `os/arch/variant`.
    #[must_use]
    pub fn short(&self) -> String {
        if self.os.is_empty() {
            return "unknown".to_owned();
        }
        join(&[&self.os, &self.architecture, &self.variant])
    }

    /// `os(version+feature)/arch/variant`.
    #[must_use]
    pub fn full(&self) -> String {
        if self.os.is_empty() || (self.os_version.is_empty() && self.os_features.is_empty()) {
            return self.short();
        }
        let mut features: Vec<&str> = self
            .os_features
            .iter()
            .map(String::as_str)
            .filter(|f| !f.is_empty())
            .collect();
        features.sort_unstable();
        features.dedup();
        let mut options = encode(&self.os_version);
        for feature in features {
            options.push('+');
            options.push_str(&encode(feature));
        }
        join(&[
            &format!("{}({options})", self.os),
            &self.architecture,
            &self.variant,
        ])
    }

    /// As ops carry it.
    #[must_use]
    pub fn to_pb(&self) -> pb::Platform {
        pb::Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// From an op or a worker.
    #[must_use]
    pub fn from_pb(platform: &pb::Platform) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
        }
    }
}

fn normal_os(os: &str, host: &Platform) -> String {
    match os.to_lowercase().as_str() {
        "" => host.os.clone(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let variant = variant.to_lowercase();
    let (architecture, variant) = match (architecture.to_lowercase().as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => {
            ("amd64", if variant == "v1" { "" } else { variant })
        }
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (other, variant) => return (other.to_owned(), variant.to_owned()),
    };
    (architecture.to_owned(), variant.to_owned())
}

const ESCAPES: [(&str, &str); 5] = [
    ("%", "%25"),
    ("+", "%2B"),
    ("(", "%28"),
    (")", "%29"),
    ("/", "%2F"),
];

fn encode(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (plain, code)| {
        text.replace(plain, code)
    })
}

fn decode(text: &str) -> String {
    ESCAPES
        .iter()
        .rev()
        .fold(text.to_owned(), |text, (plain, code)| {
            text.replace(code, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Platform, String> {
        Platform::parse(text, &Platform::new("linux", "amd64"))
    }

    #[test]
    fn words_are_completed_from_the_host() {
        for (text, want) in [
            ("linux", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("armhf", "linux/arm"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm/6", "linux/arm/v6"),
            (
                "windows(10.0.17763+win32k)/amd64",
                "windows(10.0.17763+win32k)/amd64",
            ),
            ("macos/x86_64", "darwin/amd64"),
        ] {
            assert_eq!(parse(text).unwrap().full(), want, "{text}");
        }
        for text in [
            "",
            "nonsense",
            "a/b/c/d",
            "linux/",
            "linux/a*b",
            "li nux/amd64",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn normal_names_are_canonical() {
        assert_eq!(
            parse("linux/arm64/v8").unwrap().normalized().full(),
            "linux/arm64"
        );
        assert_eq!(
            parse("linux/arm").unwrap().normalized().full(),
            "linux/arm/v7"
        );
    }
}
