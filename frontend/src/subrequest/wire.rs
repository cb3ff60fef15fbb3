//! Parts of answers that are messages of the wire, as Go's `encoding/json` writes the generated types: names as in the
//! .proto files, zero values left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_proto::pb;

use crate::diagnostic::Lines;
use crate::golang::json::{Object, push_string};

/// Bytes in base64.
pub(super) fn push_bytes(out: &mut String, bytes: &[u8]) {
    push_string(out, &STANDARD.encode(bytes));
}

/// A list by a writer of its items.
pub(super) fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// A place in a file: one range a line, as BuildKit counts places.
pub(super) fn push_location(out: &mut String, places: &[Lines]) {
    let mut location = Object::open(out);
    let numbers: Vec<u32> = merged(places);
    if !numbers.is_empty() {
        push_list(location.key("ranges"), numbers, |out, line| {
            let mut range = Object::open(out);
            for name in ["start", "end"] {
                let mut position = Object::open(range.key(name));
                position.number_or_none("line", i64::from(line));
                position.close();
            }
            range.close();
        });
    }
    location.close();
}

/// The lines of several places, each once and in order.
fn merged(places: &[Lines]) -> Vec<u32> {
    let mut numbers: Vec<u32> = places
        .iter()
        .filter(|place| place.start > 0)
        .flat_map(|place| place.start..=place.end)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A definition.
pub(super) fn push_definition(out: &mut String, definition: &pb::Definition, names: Names) {
    let mut object = Object::open(out);
    if !definition.def.is_empty() {
        push_list(object.key("def"), &definition.def, |out, bytes| {
            push_bytes(out, bytes);
        });
    }
    if !definition.metadata.is_empty() {
        let mut all = Object::open(object.key("metadata"));
        for (digest, metadata) in &definition.metadata {
            push_metadata(all.key(digest), metadata, names);
        }
        all.close();
    }
    if let Some(source) = &definition.source {
        push_source(object.key("Source"), source, names);
    }
    object.close();
}

/// How fields of more than one word are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `ignore_cache`: `encoding/json`.
    AsDeclared,
    /// `ignoreCache`: protobuf's own JSON.
    Camel,
}

impl Names {
    fn choose(self, declared: &'static str, camel: &'static str) -> &'static str {
        match self {
            Self::AsDeclared => declared,
            Self::Camel => camel,
        }
    }
}

/// What is said about an op.
pub(super) fn push_metadata(out: &mut String, metadata: &pb::OpMetadata, names: Names) {
    let mut object = Object::open(out);
    object.truth_or_none(
        names.choose("ignore_cache", "ignoreCache"),
        metadata.ignore_cache,
    );
    if !metadata.description.is_empty() {
        let mut texts = Object::open(object.key("description"));
        for (key, value) in &metadata.description {
            texts.string(key, value);
        }
        texts.close();
    }
    if let Some(export) = &metadata.export_cache {
        let mut written = Object::open(object.key(names.choose("export_cache", "exportCache")));
        written.truth_or_none("Value", export.value);
        written.close();
    }
    if !metadata.caps.is_empty() {
        let mut caps = Object::open(object.key("caps"));
        for (cap, needed) in &metadata.caps {
            caps.key(cap)
                .push_str(if *needed { "true" } else { "false" });
        }
        caps.close();
    }
    if let Some(group) = &metadata.progress_group {
        let mut written = Object::open(object.key(names.choose("progress_group", "progressGroup")));
        written.string_or_none("id", &group.id);
        written.string_or_none("name", &group.name);
        written.truth_or_none("weak", group.weak);
        written.close();
    }
    if let Some(limits) = &metadata.linux_resources {
        push_resources(
            object.key(names.choose("linux_resources", "linuxResources")),
            limits,
            names,
        );
    }
    object.close();
}

fn push_resources(out: &mut String, limits: &pb::LinuxResources, names: Names) {
    let mut object = Object::open(out);
    let mut number = |name: &str, value: i64| match names {
        Names::AsDeclared => object.number_or_none(name, value),
        Names::Camel => object.big_or_none(name, value),
    };
    number("memory", limits.memory);
    number("memorySwap", limits.memory_swap);
    number("cpuShares", limits.cpu_shares.cast_signed());
    number("cpuPeriod", limits.cpu_period.cast_signed());
    number("cpuQuota", limits.cpu_quota);
    object.string_or_none("cpusetCpus", &limits.cpuset_cpus);
    object.string_or_none("cpusetMems", &limits.cpuset_mems);
    object.close();
}

/// Where ops were written.
pub(super) fn push_source(out: &mut String, source: &pb::Source, names: Names) {
    let mut object = Object::open(out);
    if !source.locations.is_empty() {
        let mut all = Object::open(object.key("locations"));
        for (digest, locations) in &source.locations {
            let mut written = Object::open(all.key(digest));
            if !locations.locations.is_empty() {
                push_list(
                    written.key("locations"),
                    &locations.locations,
                    push_proto_location,
                );
            }
            written.close();
        }
        all.close();
    }
    if !source.infos.is_empty() {
        push_list(object.key("infos"), &source.infos, |out, info| {
            push_info(out, info, names);
        });
    }
    object.close();
}

fn push_proto_location(out: &mut String, location: &pb::Location) {
    let mut object = Object::open(out);
    object.number_or_none("sourceIndex", i64::from(location.source_index));
    if !location.ranges.is_empty() {
        push_list(object.key("ranges"), &location.ranges, |out, range| {
            let mut written = Object::open(out);
            for (name, position) in [("start", &range.start), ("end", &range.end)] {
                let Some(position) = position else { continue };
                let mut place = Object::open(written.key(name));
                place.number_or_none("line", i64::from(position.line));
                place.number_or_none("character", i64::from(position.character));
                place.close();
            }
            written.close();
        });
    }
    object.close();
}

/// A file that places refer to.
pub(super) fn push_info(out: &mut String, info: &pb::SourceInfo, names: Names) {
    let mut object = Object::open(out);
    object.string_or_none("filename", &info.filename);
    if !info.data.is_empty() {
        push_bytes(object.key("data"), &info.data);
    }
    if let Some(definition) = &info.definition {
        push_definition(object.key("definition"), definition, names);
    }
    object.string_or_none("language", &info.language);
    object.close();
}
