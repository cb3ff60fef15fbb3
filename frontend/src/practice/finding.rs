//! What a check found.

use crate::diagnostic::Lines;

macro_rules! practices {
    ($($name:ident, $page:literal, $description:literal;)*) => {
        /// A practice that is checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Practice {
            $(#[doc = $description] $name,)*
        }

        impl Practice {
            /// All practices.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that options and messages use.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The page of the documentation, as a path in `docs/checks`.
            #[must_use]
            pub fn page(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }

            /// What the practice is, in a sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }
        }
    };
}

practices! {
    PackageIndexSplit, "package-index-split.md", "A package index is updated in the step that installs from it";
    PackageCacheKept, "package-cache-kept.md", "Caches and lists of a package manager do not stay in a layer";
    RecommendedPackages, "recommended-packages.md", "Only packages that are asked for are installed";
    BroadCopyBeforeInstall, "broad-copy-before-install.md", "Dependencies are installed before all files are copied";
    DeletedInLaterLayer, "deleted-in-later-layer.md", "Files are deleted in the layer that made them";
    BuildToolsShipped, "build-tools-shipped.md", "The final image has no compilers";
    UnpinnedBase, "unpinned-base.md", "A base image is the same one tomorrow";
}

/// A place where a practice is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The practice.
    pub practice: Practice,
    /// Where.
    pub lines: Lines,
    /// What was found.
    pub message: String,
    /// What following it saves.
    pub saves: String,
    /// What to do.
    pub advice: String,
    /// The change, where a machine can make it.
    pub change: Option<Change>,
}

/// Other text for some lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The lines that are replaced.
    pub lines: Lines,
    /// What takes their place; without a line's end. `None` removes them.
    pub text: Option<String>,
}
