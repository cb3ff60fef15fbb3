use cooper_proto::Digest;
use cooper_proto::reference::Reference;
use cooper_worker::images::{HistoryStep, ImageSummary, ImageVariant};
use serde_json::{Value, json};

use crate::command::table::table;
use crate::progress::bytes;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The images as a table. `now_ns` is the time in nanoseconds since 1970.
pub(super) fn list(images: &[ImageSummary], no_trunc: bool, now_ns: u64) -> String {
    let head = ["NAME", "IMAGE ID", "PLATFORM", "CREATED", "SIZE"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for image in images {
        let name = familiar(&image.name);
        if image.variants.is_empty() {
            let id = short(&image.target.digest, no_trunc);
            let unknown = || String::from("damaged");
            rows.push(vec![
                name.clone(),
                id,
                unknown(),
                String::new(),
                String::new(),
            ]);
        }
        for variant in &image.variants {
            rows.push(vec![
                name.clone(),
                short(&variant.manifest.config.digest, no_trunc),
                variant.platform.clone(),
                age(variant.config.created.as_deref(), now_ns),
                bytes(variant.stored_bytes()),
            ]);
        }
    }
    table(&rows)
}

/// The images' ids, one a line, each once.
pub(super) fn ids(images: &[ImageSummary]) -> String {
    let mut out: Vec<String> = Vec::new();
    for variant in images.iter().flat_map(|image| &image.variants) {
        let id = variant.manifest.config.digest.to_string();
        if !out.contains(&id) {
            out.push(id);
        }
    }
    out.iter().map(|id| format!("{id}\n")).collect()
}

/// The steps as a table, the newest first.
pub(super) fn history(steps: &[HistoryStep], no_trunc: bool, now_ns: u64) -> String {
    let head = ["CREATED", "SIZE", "CREATED BY", "COMMENT"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for step in steps.iter().rev() {
        let size = step.layer.as_ref().map_or(0, |layer| layer.size);
        rows.push(vec![
            age(step.entry.created.as_deref(), now_ns),
            bytes(size),
            cut(&step.entry.created_by, no_trunc),
            step.entry.comment.clone(),
        ]);
    }
    table(&rows)
}

/// All that is known of an image.
pub(super) fn inspect(name: &Reference, variant: &ImageVariant) -> String {
    // The configuration as it is stored, unknown fields and all.
    let config: Value = serde_json::from_slice(&variant.config_bytes).unwrap_or_default();
    let diff_ids = variant.config.rootfs.diff_ids.iter();
    let layers = variant.manifest.layers.iter().zip(diff_ids);
    let layers: Vec<Value> = layers
        .map(|(layer, diff_id)| {
            json!({
                "digest": layer.digest,
                "diff_id": diff_id,
                "mediaType": layer.media_type,
                "size": layer.size,
            })
        })
        .collect();
    let value = json!({
        "name": name.clone().with_default_tag().to_string(),
        "id": variant.manifest.config.digest,
        "digest": variant.descriptor.digest,
        "mediaType": variant.descriptor.media_type,
        "platform": variant.platform,
        "size": variant.stored_bytes(),
        "layers": layers,
        "config": config,
    });
    format!("{value:#}\n")
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

fn short(digest: &Digest, no_trunc: bool) -> String {
    if no_trunc {
        digest.to_string()
    } else {
        digest.short().to_owned()
    }
}

fn cut(text: &str, no_trunc: bool) -> String {
    let text = text.replace(['\n', '\t'], " ");
    if no_trunc || text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(57).chain("...".chars()).collect()
}

/// How long ago an RFC 3339 time was, in the largest unit that is at least two.
fn age(created: Option<&str>, now_ns: u64) -> String {
    let Some(created) = created.and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return "unknown".into();
    };
    let now = i64::try_from(now_ns / 1_000_000_000).unwrap_or(i64::MAX);
    let seconds = u64::try_from(now.saturating_sub(created.as_second())).unwrap_or(0);
    let units = [
        (365 * DAY, "years"),
        (30 * DAY, "months"),
        (7 * DAY, "weeks"),
        (DAY, "days"),
        (HOUR, "hours"),
        (60, "minutes"),
    ];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    match unit {
        Some((length, name)) => format!("{} {name} ago", seconds / length),
        None => format!("{seconds} seconds ago"),
    }
}

#[cfg(test)]
mod tests {
    use cooper_proto::oci::{Descriptor, History, ImageConfig, Manifest, media_type};

    use super::*;

    fn variant() -> ImageVariant {
        let layer = Descriptor::new(
            media_type::OCI_LAYER_GZIP,
            Digest::sha256_of("l"),
            1_500_000,
        );
        let config = ImageConfig {
            created: Some("2026-11-20T00:00:00Z".into()),
            rootfs: cooper_proto::oci::RootFs {
                diff_ids: vec![Digest::sha256_of("d")],
                ..Default::default()
            },
            history: vec![
                History {
                    created: Some("2026-11-20T00:00:00Z".into()),
                    created_by: "COPY . . # buildkit".into(),
                    comment: "buildkit.dockerfile.v0".into(),
                    ..History::default()
                },
                History {
                    created_by: "CMD [\"x\"]".repeat(9),
                    empty_layer: true,
                    ..History::default()
                },
            ],
            ..ImageConfig::default()
        };
        let config_bytes = config.to_bytes().unwrap();
        let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config_bytes);
        ImageVariant {
            platform: "linux/amd64".into(),
            descriptor: Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of("m"), 500),
            manifest: Manifest::new(media_type::OCI_MANIFEST, descriptor, vec![layer]),
            config,
            config_bytes,
        }
    }

    /// 2026-11-22T12:00:00Z.
    const NOW: u64 = 1_795_348_800_000_000_000;

    #[test]
    fn list_names_each_image_and_its_age() {
        let image = |name: &str, variants| ImageSummary {
            name: name.into(),
            target: variant().descriptor,
            updated_ns: NOW,
            variants,
        };
        let images = [
            image("docker.io/library/debian-root:latest", vec![variant()]),
            image("localhost:5000/app:1", Vec::new()),
        ];
        insta::assert_snapshot!(list(&images, false, NOW));
        assert_eq!(ids(&images).lines().count(), 1);
    }

    #[test]
    fn history_has_the_newest_step_first() {
        insta::assert_snapshot!(history(&variant().history(), false, NOW));
    }

    #[test]
    fn inspect_shows_the_configuration_as_it_is_stored() {
        let name = "a".parse().unwrap();
        let value: Value = serde_json::from_str(&inspect(&name, &variant())).unwrap();
        assert_eq!(value["name"], "docker.io/library/a:latest");
        assert_eq!(value["config"]["created"], "2026-11-20T00:00:00Z");
        assert_eq!(value["layers"][0]["size"], 1_500_000);
    }
}
