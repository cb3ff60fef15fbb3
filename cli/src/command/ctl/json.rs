use cooper_core::model::{Failure, FailureKind};
use cooper_proto::control::{BuildHistoryEvent, BuildHistoryRecord, Descriptor, UsageRecord};
use cooper_proto::types::{BuildkitVersion, WorkerRecord};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

/// Reads `--format`: `None` for people, `Some` for JSON.
///
/// # Errors
/// `Unsupported` for other templates of Go's.
pub(super) fn asked(format: Option<&str>) -> Result<bool, Failure> {
    match format.map(str::trim) {
        None | Some("") => Ok(false),
        Some("json" | "{{json .}}" | "{{ json . }}") => Ok(true),
        Some(other) => {
            let failure = Failure::new(
                FailureKind::Unsupported,
                format!("--format {other:?}: templates are not supported yet"),
            );
            Err(failure.with_hint("--format json has all fields, for jq and the like"))
        }
    }
}

/// A record of the cache, with buildctl's names.
pub(super) fn usage(record: &UsageRecord) -> Value {
    json!({
        "id": record.id,
        "mutable": record.mutable,
        "inUse": record.in_use,
        "size": record.size,
        "createdAt": record.created_at.as_ref().map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        "lastUsedAt": record.last_used_at.as_ref().map(time),
        "usageCount": record.usage_count,
        "parents": or_null(&record.parents),
        "description": record.description,
        "recordType": record.record_type,
        "shared": record.shared,
    })
}

/// A worker, with buildctl's names.
pub(super) fn worker(record: &WorkerRecord) -> Value {
    let platforms: Vec<Value> = record
        .platforms
        .iter()
        .map(|platform| {
            let mut value = json!({"architecture": platform.architecture, "os": platform.os});
            if !platform.variant.is_empty() {
                value["variant"] = json!(platform.variant);
            }
            value
        })
        .collect();
    let policies: Vec<Value> = record
        .gc_policy
        .iter()
        .map(|policy| {
            json!({
                "filter": or_null(&policy.filters),
                "all": policy.all,
                "keepDuration": policy.keep_duration,
                "reservedSpace": policy.reserved_space,
                "maxUsedSpace": policy.max_used_space,
                "minFreeSpace": policy.min_free_space,
            })
        })
        .collect();
    let devices: Vec<Value> = record
        .cdi_devices
        .iter()
        .map(|device| {
            json!({
                "name": device.name,
                "autoAllow": device.auto_allow,
                "annotations": device.annotations,
                "onDemand": device.on_demand,
            })
        })
        .collect();
    json!({
        "id": record.id,
        "labels": record.labels,
        "platforms": platforms,
        "gcPolicy": policies,
        "buildkitVersion": version(&record.buildkit_version.clone().unwrap_or_default()),
        "cdiDevices": if devices.is_empty() { Value::Null } else { devices.into() },
    })
}

/// A daemon's version, with buildctl's names.
pub(super) fn version(version: &BuildkitVersion) -> Value {
    let mut value = json!({
        "package": version.package,
        "version": version.version,
        "revision": version.revision,
    });
    if !version.dockerfile_version.is_empty() {
        value["dockerfileVersion"] = json!(version.dockerfile_version);
    }
    value
}

/// News of a build's record, with the names that Go's JSON has; what says nothing is left out.
pub(super) fn event(event: &BuildHistoryEvent) -> Value {
    let mut value = Map::new();
    if event.r#type != 0 {
        value.insert("type".to_owned(), json!(event.r#type));
    }
    if let Some(known) = &event.record {
        value.insert("record".to_owned(), record(known));
    }
    Value::Object(value)
}

fn record(record: &BuildHistoryRecord) -> Value {
    let exporters: Vec<Value> = record
        .exporters
        .iter()
        .map(|exporter| json!({"Type": exporter.r#type, "Attrs": exporter.attrs}))
        .collect();
    let failed = record
        .error
        .as_ref()
        .map(|error| json!({"code": error.code, "message": error.message}));
    let all = [
        ("Ref", json!(record.r#ref)),
        ("Frontend", json!(record.frontend)),
        ("FrontendAttrs", json!(record.frontend_attrs)),
        ("Exporters", exporters.into()),
        ("error", json!(failed)),
        ("CreatedAt", json!(record.created_at.as_ref().map(parts))),
        (
            "CompletedAt",
            json!(record.completed_at.as_ref().map(parts)),
        ),
        ("logs", json!(record.logs.as_ref().map(descriptor))),
        ("ExporterResponse", json!(record.exporter_response)),
        ("Generation", json!(record.generation)),
        ("trace", json!(record.trace.as_ref().map(descriptor))),
        ("pinned", json!(record.pinned)),
        ("numCachedSteps", json!(record.num_cached_steps)),
        ("numTotalSteps", json!(record.num_total_steps)),
        ("numCompletedSteps", json!(record.num_completed_steps)),
        (
            "externalError",
            json!(record.external_error.as_ref().map(descriptor)),
        ),
        ("numWarnings", json!(record.num_warnings)),
    ];
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Bool(true) => true,
    };
    let said = all.into_iter().filter(|(_, value)| says(value));
    Value::Object(said.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn descriptor(descriptor: &Descriptor) -> Value {
    json!({
        "media_type": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    })
}

fn parts(time: &Timestamp) -> Value {
    json!({"seconds": time.seconds, "nanos": time.nanos})
}

fn or_null(texts: &[String]) -> Value {
    match texts {
        [] => Value::Null,
        texts => json!(texts),
    }
}

/// A time as RFC 3339 has it.
pub(super) fn time(time: &Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_a_format() {
        assert_eq!(asked(None), Ok(false));
        assert_eq!(asked(Some("json")), Ok(true));
        assert_eq!(asked(Some("{{json .}}")), Ok(true));
        assert_eq!(
            asked(Some("{{.ID}}")).unwrap_err().kind,
            FailureKind::Unsupported
        );
    }

    #[test]
    fn events_leave_out_what_says_nothing() {
        let started = BuildHistoryEvent {
            record: Some(BuildHistoryRecord {
                r#ref: "r".to_owned(),
                ..BuildHistoryRecord::default()
            }),
            ..BuildHistoryEvent::default()
        };
        assert_eq!(event(&started), json!({"record": {"Ref": "r"}}));
    }
}
