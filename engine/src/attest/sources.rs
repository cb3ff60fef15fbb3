use std::collections::{BTreeMap, BTreeSet};

use cooper_core::attest::{ImagePlace, image_purl};
use cooper_core::model::{GitBundle, Material, redacted};
use cooper_core::result_platforms::ResultPlatform;
use cooper_proto::reference::Reference;
use cooper_proto::{Digest, pb, platform};

/// Digests by their algorithms.
pub(super) type DigestSet = BTreeMap<String, String>;

/// What sources brought into a build, by their kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sources {
    pub(super) images: Vec<Image>,
    blobs: Vec<Blob>,
    git: Vec<Git>,
    http: Vec<File>,
    /// Names of the client's folders.
    pub(super) locals: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Image {
    reference: String,
    platform: Option<pb::Platform>,
    digest: Digest,
    local: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Blob {
    reference: String,
    digest: Digest,
    local: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Git {
    url: String,
    commit: String,
    bundle: Option<GitBundle>,
}

#[derive(Debug, Clone, PartialEq)]
struct File {
    url: String,
    digest: Digest,
}

/// One thing that a build depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) uri: String,
    pub(super) digest: DigestSet,
}

impl Sources {
    /// Adds what is not known yet.
    pub(super) fn add(&mut self, material: Material) {
        match material {
            Material::Image {
                reference,
                platform,
                digest,
                local,
            } => self.add_image(Image {
                reference,
                platform,
                digest,
                local,
            }),
            Material::ImageBlob {
                reference,
                digest,
                local,
            } => {
                let blob = Blob {
                    reference,
                    digest,
                    local,
                };
                let same = |it: &Blob| it.reference == blob.reference && it.local == blob.local;
                if !self.blobs.iter().any(same) {
                    self.blobs.push(blob);
                }
            }
            Material::Git {
                url,
                commit,
                bundle,
                ..
            } => {
                let url = redacted(&url).into_owned();
                let same = |it: &Git| it.url == url && it.bundle == bundle;
                if !self.git.iter().any(same) {
                    self.git.push(Git {
                        url,
                        commit,
                        bundle,
                    });
                }
            }
            Material::Http { url, digest } => {
                let url = redacted(&url).into_owned();
                if !self.http.iter().any(|it| it.url == url) {
                    self.http.push(File { url, digest });
                }
            }
            Material::Local { name } => {
                if !self.locals.contains(&name) {
                    self.locals.push(name);
                }
            }
        }
    }

    fn add_image(&mut self, image: Image) {
        let same = |it: &Image| {
            it.reference == image.reference
                && it.local == image.local
                && same_platform(it.platform.as_ref(), image.platform.as_ref())
        };
        if !self.images.iter().any(same) {
            self.images.push(image);
        }
    }

    /// Adds all that another has.
    pub(super) fn merge(&mut self, other: Self) {
        for image in other.images {
            self.add_image(image);
        }
        let blobs = other.blobs.into_iter().map(|it| Material::ImageBlob {
            reference: it.reference,
            digest: it.digest,
            local: it.local,
        });
        let git = other.git.into_iter().map(|it| Material::Git {
            url: it.url,
            commit: it.commit,
            bundle: it.bundle,
            secrets: Vec::new(),
            ssh: None,
        });
        let http = other.http.into_iter().map(|it| Material::Http {
            url: it.url,
            digest: it.digest,
        });
        let locals = other.locals.into_iter();
        let locals = locals.map(|name| Material::Local { name });
        for material in blobs.chain(git).chain(http).chain(locals) {
            self.add(material);
        }
    }

    /// Leaves out images by digest that are there by a tag as well, and puts all in order.
    pub(super) fn settle(&mut self) {
        let tagged: BTreeSet<String> = self
            .images
            .iter()
            .filter_map(|it| it.reference.parse::<Reference>().ok())
            .filter(|it| it.digest().is_none())
            .map(|it| name_and_tag(&it))
            .collect();
        self.images
            .retain(|it| match it.reference.parse::<Reference>() {
                Ok(reference) if reference.digest().is_some() => {
                    !tagged.contains(&name_and_tag(&reference))
                }
                _ => true,
            });
        self.images.sort_by(|a, b| a.reference.cmp(&b.reference));
        self.blobs.sort_by(|a, b| a.reference.cmp(&b.reference));
        self.git.sort_by(|a, b| a.url.cmp(&b.url));
        self.http.sort_by(|a, b| a.url.cmp(&b.url));
        self.locals.sort();
    }

    /// The digest of a repository's commit, by its address with reference.
    pub(super) fn commit_of(&self, url: &str) -> Option<DigestSet> {
        let found = self.git.iter().find(|it| it.url == url)?;
        Some(of_commit(&found.commit))
    }

    /// The digest of a file, by its address.
    pub(super) fn digest_of(&self, url: &str) -> Option<DigestSet> {
        let found = self.http.iter().find(|it| it.url == url)?;
        Some(of_digest(&found.digest))
    }

    /// What provenance lists. Folders of the client have no address that means something to others.
    pub(super) fn dependencies(&self) -> Vec<Dependency> {
        let place = |local| match local {
            true => ImagePlace::Layout,
            false => ImagePlace::Registry,
        };
        let purl = |local, reference: &str, platform, more: &[_]| {
            let purl = image_purl(place(local), reference, platform, more);
            purl.unwrap_or_else(|| reference.to_owned())
        };
        let images = self.images.iter().map(|it| Dependency {
            uri: purl(it.local, &it.reference, it.platform.as_ref(), &[]),
            digest: of_digest(&it.digest),
        });
        let blobs = self.blobs.iter().map(|it| Dependency {
            uri: purl(it.local, &it.reference, None, &[("ref_type", "blob")]),
            digest: of_digest(&it.digest),
        });
        let git = self.git.iter().flat_map(|it| {
            let commit = Dependency {
                uri: it.url.clone(),
                digest: of_commit(&it.commit),
            };
            let bundle = it.bundle.as_ref().map(|bundle| {
                let more = [("ref_type", "bundle"), ("vcs_url", it.url.as_str())];
                Dependency {
                    uri: purl(bundle.local, &bundle.reference, None, &more),
                    digest: of_digest(&bundle.digest),
                }
            });
            std::iter::once(commit).chain(bundle)
        });
        let http = self.http.iter().map(|it| Dependency {
            uri: it.url.clone(),
            digest: of_digest(&it.digest),
        });
        images.chain(blobs).chain(git).chain(http).collect()
    }
}

/// Images that a platform's result may stand on: where there is an image of a name for every platform, only that for
/// this one.
pub(super) fn for_platform(
    images: Vec<Material>,
    id: &str,
    platforms: &[ResultPlatform],
) -> Vec<Material> {
    let Some(current) = platforms.iter().find(|it| it.id == id) else {
        return images;
    };
    let serves = |image: &Material, name: &str, wanted: &pb::Platform| {
        matches!(image, Material::Image { reference, platform: Some(platform), .. }
            if reference == name && platform::runs_on(platform, wanted))
    };
    let is_for_all = |name: &str| {
        platforms
            .iter()
            .all(|wanted| images.iter().any(|it| serves(it, name, &wanted.platform)))
    };
    let stays = |image: &Material| match image {
        Material::Image {
            reference,
            platform: Some(platform),
            ..
        } if is_for_all(reference) => {
            platform.os == current.platform.os
                && platform.architecture == current.platform.architecture
        }
        _ => true,
    };
    images.iter().filter(|it| stays(it)).cloned().collect()
}

/// Features of an operating system tell no images of one name apart.
fn same_platform(one: Option<&pb::Platform>, other: Option<&pb::Platform>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.architecture == other.architecture
                && one.os == other.os
                && one.os_version == other.os_version
                && one.variant == other.variant
        }
        _ => false,
    }
}

fn name_and_tag(reference: &Reference) -> String {
    format!(
        "{}:{}",
        reference.name(),
        reference.tag().unwrap_or("latest")
    )
}

fn of_digest(digest: &Digest) -> DigestSet {
    let algorithm = digest.algorithm().name().to_owned();
    [(algorithm, digest.hex().to_owned())].into()
}

fn of_commit(commit: &str) -> DigestSet {
    let algorithm = match commit.len() {
        64 => "sha256",
        _ => "sha1",
    };
    [(algorithm.to_owned(), commit.to_owned())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(reference: &str, architecture: &str) -> Material {
        Material::Image {
            reference: reference.into(),
            platform: Some(pb::Platform {
                os: "linux".into(),
                architecture: architecture.into(),
                ..pb::Platform::default()
            }),
            digest: Digest::sha256_of(reference),
            local: false,
        }
    }

    fn uris(sources: &Sources) -> Vec<String> {
        let all = sources.dependencies().into_iter();
        all.map(|it| it.uri).collect()
    }

    #[test]
    fn an_image_by_tag_stands_for_the_same_by_digest() {
        let mut sources = Sources::default();
        let digest = Digest::sha256_of("x");
        sources.add(image(&format!("docker.io/library/a:1@{digest}"), "amd64"));
        sources.add(image("docker.io/library/a:1", "amd64"));
        sources.add(image("docker.io/library/a:1", "amd64"));
        sources.settle();
        assert_eq!(uris(&sources), ["pkg:docker/a@1?platform=linux%2Famd64"]);
    }

    // T-A2
    #[test]
    fn sources_lose_the_passwords_of_their_addresses() {
        let mut sources = Sources::default();
        sources.add(Material::Git {
            url: "https://u:CANARY@h/a.git#v1".into(),
            commit: "0".repeat(40),
            bundle: None,
            secrets: Vec::new(),
            ssh: None,
        });
        sources.add(Material::Http {
            url: "https://u:CANARY@h/a".into(),
            digest: Digest::sha256_of("a"),
        });
        assert_eq!(
            uris(&sources),
            ["https://xxxxx:xxxxx@h/a.git#v1", "https://xxxxx:xxxxx@h/a"]
        );
        let commit = sources.commit_of("https://xxxxx:xxxxx@h/a.git#v1").unwrap();
        assert_eq!(commit["sha1"], "0".repeat(40));
    }

    #[test]
    fn a_repository_from_a_bundle_depends_on_the_bundle_as_well() {
        let mut sources = Sources::default();
        let digest = Digest::sha256_of("bundle");
        let git = |bundle| Material::Git {
            url: "http://h:1/.git#main".into(),
            commit: "0".repeat(40),
            bundle,
            secrets: Vec::new(),
            ssh: None,
        };
        let bundle = Some(GitBundle {
            reference: "not/real".into(),
            digest: digest.clone(),
            local: true,
        });
        for material in [git(None), git(bundle.clone()), git(bundle)] {
            sources.add(material);
        }
        sources.settle();
        let repository = "http://h:1/.git#main";
        let purl = "pkg:oci/not/real@latest?ref_type=bundle&vcs_url=http:%2F%2Fh:1%2F.git%23main";
        assert_eq!(uris(&sources), [repository, repository, purl]);
        assert_eq!(sources.dependencies()[2].digest, of_digest(&digest));
    }

    #[test]
    fn a_platform_has_its_own_image_where_each_has_one() {
        let platform = |architecture: &str| ResultPlatform {
            id: format!("linux/{architecture}"),
            platform: pb::Platform {
                os: "linux".into(),
                architecture: architecture.into(),
                ..pb::Platform::default()
            },
        };
        let platforms = [platform("amd64"), platform("arm64")];
        let all = vec![
            image("a", "amd64"),
            image("a", "arm64"),
            image("b", "amd64"),
        ];
        let found = for_platform(all.clone(), "linux/arm64", &platforms);
        assert_eq!(found, [all[1].clone(), all[2].clone()]);
    }
}
