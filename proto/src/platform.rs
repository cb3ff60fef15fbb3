//! Platforms in text: `os/architecture[/variant]`.
//!
//! Source of the rules: containerd's `platforms` package, whose names images and
//! build arguments use.

use crate::pb::Platform;

/// Why a text names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlatformError {
    /// One word that is no operating system and no architecture.
    #[error(
        "{0:?} is no operating system or architecture; write os/architecture, for example linux/amd64"
    )]
    UnknownWord(String),
    /// A part between slashes is empty or has a character that names do not have.
    #[error("{part:?} in platform {whole:?} is not a name of letters, digits, `.`, `_` and `-`")]
    Part {
        /// The part.
        part: String,
        /// The whole text.
        whole: String,
    },
    /// The part before the first slash is no operating system with options.
    #[error(
        "{part:?} in platform {whole:?} is not an operating system, which may have a version and features after it, as in windows(10.0+win32k)"
    )]
    System {
        /// The part.
        part: String,
        /// The whole text.
        whole: String,
    },
    /// There are more than three parts.
    #[error("platform {0:?} has more parts than os/architecture/variant")]
    TooMany(String),
}

/// The platform that this program was compiled for.
#[must_use]
pub fn host() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", ""),
        "arm" => ("arm", "v7"),
        "powerpc64" => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        other => (other, ""),
    };
    Platform {
        architecture: architecture.into(),
        os: std::env::consts::OS.into(),
        variant: variant.into(),
        ..Platform::default()
    }
}

/// Reads a platform; what the text leaves out is taken from `default`.
///
/// # Errors
/// When the text names no platform.
pub fn parse(text: &str, default: &Platform) -> Result<Platform, ParsePlatformError> {
    let mut parts: Vec<&str> = text.splitn(4, '/').collect();
    let first = parts[0];
    let (os, options) = split_options(first);
    parts[0] = os;
    let mut options = options.unwrap_or_default().split('+');
    let os_version = options.next().unwrap_or_default();
    let features: Vec<&str> = options.collect();
    let refuse = |part: &str| ParsePlatformError::Part {
        part: part.into(),
        whole: text.into(),
    };
    let refuse_system = |_: &str| ParsePlatformError::System {
        part: first.into(),
        whole: text.into(),
    };
    check(os, "_-", &refuse_system)?;
    for part in &parts[1..] {
        check(part, "_.-", &refuse)?;
    }
    for feature in &features {
        check(feature, "_.%-", &refuse_system)?;
    }
    if !os_version.is_empty() {
        check(os_version, "_.%-", &refuse_system)?;
    }
    let os = normalize_os(os);
    let mut platform = Platform {
        os_version: decode(os_version),
        os_features: features.into_iter().map(decode).collect(),
        ..Platform::default()
    };
    match *parts.as_slice() {
        [_] if KNOWN_OS.contains(&os.as_str()) => {
            platform.os = os;
            platform.architecture.clone_from(&default.architecture);
            if default.architecture == "arm" && default.variant != "v7" {
                platform.variant.clone_from(&default.variant);
            }
        }
        [word] => {
            let (architecture, variant) = normalize_architecture(word, "");
            if !KNOWN_ARCHITECTURES.contains(&architecture.as_str()) {
                return Err(ParsePlatformError::UnknownWord(text.into()));
            }
            platform.os.clone_from(&default.os);
            set_short(&mut platform, architecture, variant);
        }
        [_, word] => {
            platform.os = os;
            let (architecture, variant) = normalize_architecture(word, "");
            set_short(&mut platform, architecture, variant);
        }
        [_, word, variant] => {
            platform.os = os;
            (platform.architecture, platform.variant) = normalize_architecture(word, variant);
            if platform.architecture == "arm64" && platform.variant.is_empty() {
                platform.variant = "v8".into();
            }
        }
        _ => return Err(ParsePlatformError::TooMany(text.into())),
    }
    Ok(platform)
}

/// The platform as text, `os/architecture[/variant]`; `unknown` when it has no
/// operating system.
#[must_use]
pub fn format(platform: &Platform) -> String {
    join(platform, false)
}

/// As [`format()`], with the version and the features of the operating system in parentheses:
/// `os(version+feature)/architecture`.
#[must_use]
pub fn format_all(platform: &Platform) -> String {
    join(platform, true)
}

fn join(platform: &Platform, with_version: bool) -> String {
    if platform.os.is_empty() {
        return "unknown".into();
    }
    let mut text = platform.os.clone();
    if with_version && !(platform.os_version.is_empty() && platform.os_features.is_empty()) {
        text.push('(');
        text.push_str(&encode(&platform.os_version));
        for feature in sorted(&platform.os_features) {
            if !feature.is_empty() {
                text.push('+');
                text.push_str(&encode(&feature));
            }
        }
        text.push(')');
    }
    for part in [&platform.architecture, &platform.variant] {
        if !part.is_empty() {
            text.push('/');
            text.push_str(part);
        }
    }
    text
}

/// The same platform in the names that images use: `x86_64` becomes `amd64`,
/// `aarch64` becomes `arm64`, `arm` without a variant becomes `arm/v7`.
#[must_use]
pub fn normalize(platform: &Platform) -> Platform {
    let (architecture, variant) = normalize_architecture(&platform.architecture, &platform.variant);
    Platform {
        architecture,
        os: normalize_os(&platform.os),
        variant,
        os_version: platform.os_version.clone(),
        os_features: sorted(&platform.os_features),
    }
}

/// Platforms whose images run on `platform`, best first and itself always first.
///
/// # Shape
/// Normalized. Lower variants follow their own; 386 follows amd64; arm follows arm64.
#[must_use]
pub fn runnable_on(platform: &Platform) -> Vec<Platform> {
    let platform = normalize(platform);
    let like = |architecture: &str, variant: String| {
        normalize(&Platform {
            architecture: architecture.into(),
            variant,
            ..platform.clone()
        })
    };
    let level = |variant: &str| variant.trim_start_matches('v').parse::<u32>().ok();
    let mut all = vec![platform.clone()];
    match platform.architecture.as_str() {
        "amd64" => {
            let highest = level(&platform.variant).unwrap_or(1);
            all.extend(
                (1..highest.min(5))
                    .rev()
                    .map(|n| like("amd64", format!("v{n}"))),
            );
            all.push(like("386", String::new()));
        }
        "arm" => {
            let highest = level(&platform.variant).unwrap_or(5);
            all.extend(
                (5..highest.min(9))
                    .rev()
                    .map(|n| like("arm", format!("v{n}"))),
            );
        }
        "arm64" => {
            for (major, minor) in lower_arm64_variants(&platform.variant) {
                let minor = if minor == 0 {
                    String::new()
                } else {
                    format!(".{minor}")
                };
                all.push(like("arm64", format!("v{major}{minor}")));
            }
            all.extend((5..=8).rev().map(|n| like("arm", format!("v{n}"))));
        }
        _ => {}
    }
    let mut unique = Vec::with_capacity(all.len());
    for one in all {
        if !unique.contains(&one) {
            unique.push(one);
        }
    }
    unique
}

/// An arm64 v9.x runs what v8.(x+5) runs, and each runs the ones below it.
fn lower_arm64_variants(variant: &str) -> Vec<(u32, u32)> {
    let text = variant.trim_start_matches('v');
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    match (major.parse(), minor.parse::<u32>()) {
        (Ok(9), Ok(minor)) if minor <= 7 => (0..=minor)
            .rev()
            .map(|m| (9, m))
            .chain((0..=(minor + 5).min(9)).rev().map(|m| (8, m)))
            .collect(),
        (Ok(8), Ok(minor)) if minor <= 9 => (0..=minor).rev().map(|m| (8, m)).collect(),
        _ => vec![(8, 0)],
    }
}

/// Whether an image for `image` runs on `platform`.
#[must_use]
pub fn runs_on(image: &Platform, platform: &Platform) -> bool {
    let image = normalize(image);
    runnable_on(platform).iter().any(|candidate| {
        candidate.os == image.os
            && candidate.architecture == image.architecture
            && candidate.variant == image.variant
    })
}

fn set_short(platform: &mut Platform, architecture: String, variant: String) {
    // v7 is what arm means when nothing is said, so that it is not said.
    if !(architecture == "arm" && variant == "v7") {
        platform.variant = variant;
    }
    platform.architecture = architecture;
}

fn split_options(part: &str) -> (&str, Option<&str>) {
    match part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        Some((os, options)) => (os, Some(options)),
        None => (part, None),
    }
}

/// Whether a part is a name of letters, digits and the characters of `more`.
fn check(
    part: &str,
    more: &str,
    refuse: &dyn Fn(&str) -> ParsePlatformError,
) -> Result<(), ParsePlatformError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if part.is_empty() || !part.chars().all(fits) {
        return Err(refuse(part));
    }
    Ok(())
}

fn sorted(features: &[String]) -> Vec<String> {
    let mut features = features.to_vec();
    features.sort();
    features.dedup();
    features
}

/// What stands between other signs is written in per cent codes.
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

fn normalize_os(os: &str) -> String {
    let os = os.to_ascii_lowercase();
    if os == "macos" { "darwin".into() } else { os }
}

fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.into(), variant.into())
}

const KNOWN_OS: &[&str] = &[
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

const KNOWN_ARCHITECTURES: &[&str] = &[
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

#[cfg(test)]
mod tests {
    use super::*;

    fn amd64() -> Platform {
        Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            ..Platform::default()
        }
    }

    #[test]
    fn names_are_read_as_containerd_reads_them() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/x86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm", "linux/arm"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("linux", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows/amd64"),
            ("linux/my-arch", "linux/my-arch"),
        ] {
            assert_eq!(format(&parse(text, &amd64()).unwrap()), expected, "{text}");
        }
        let windows = parse("windows(10.0.17763)/amd64", &amd64()).unwrap();
        assert_eq!(windows.os_version, "10.0.17763");
        assert_eq!(format_all(&windows), "windows(10.0.17763)/amd64");
        let text = "windows(10.0.17763+win32k)/amd64";
        let featured = parse(text, &amd64()).unwrap();
        assert_eq!(featured.os_features, ["win32k"]);
        assert_eq!(format_all(&featured), text);
        assert_eq!(format(&Platform::default()), "unknown");
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in [
            "",
            "/",
            "linux/",
            "linux//v7",
            "*",
            "linux/*",
            "a/b/c/d",
            "haiku",
            "nonsense",
            "linux/a*b",
            "li nux/amd64",
        ] {
            assert!(parse(text, &amd64()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lower_variants_run_and_higher_ones_do_not() {
        let platform = |text| parse(text, &amd64()).unwrap();
        let texts =
            |text| -> Vec<String> { runnable_on(&platform(text)).iter().map(format).collect() };
        assert_eq!(texts("linux/amd64"), ["linux/amd64", "linux/386"]);
        assert_eq!(
            texts("linux/amd64/v3"),
            [
                "linux/amd64/v3",
                "linux/amd64/v2",
                "linux/amd64",
                "linux/386"
            ]
        );
        assert_eq!(
            texts("linux/arm64"),
            [
                "linux/arm64",
                "linux/arm/v8",
                "linux/arm/v7",
                "linux/arm/v6",
                "linux/arm/v5"
            ]
        );
        assert!(runs_on(
            &platform("linux/arm/v6"),
            &platform("linux/arm/v7")
        ));
        assert!(!runs_on(
            &platform("linux/arm/v7"),
            &platform("linux/arm/v6")
        ));
        assert!(runs_on(
            &platform("linux/arm64/v8"),
            &platform("linux/arm64")
        ));
        assert!(!runs_on(&platform("linux/arm64"), &platform("linux/amd64")));
        assert!(!runs_on(
            &platform("windows/amd64"),
            &platform("linux/amd64")
        ));
    }
}
