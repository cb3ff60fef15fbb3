//! A client's request in the engine's words; what this build cannot do is refused by name.

use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind, JobId, SessionId};
use cooper_core::policy::Rules;
use cooper_core::ports::FrontendRequest;
use cooper_proto::control::{CacheOptions, CacheOptionsEntry, SolveRequest};

use crate::job::{Build, CacheSpec, ExporterSpec, SolveSpec};

/// Newest output format that clients may ask for (parity sheet C1).
const COMPATIBILITY: i64 = 30;

/// What a client asks to be built.
///
/// # Errors
/// `InvalidInput` for contradictions, `Unsupported` for what is not built.
pub fn solve(request: SolveRequest) -> Result<SolveSpec, Failure> {
    refuse_unbuilt(&request)?;
    let has_definition = request
        .definition
        .as_ref()
        .is_some_and(|d| !d.def.is_empty());
    let attributes_epoch = request
        .frontend_attrs
        .get("build-arg:SOURCE_DATE_EPOCH")
        .cloned();
    let options = request.frontend_attrs.clone();
    let frontend_request = FrontendRequest {
        options: request.frontend_attrs,
        inputs: request.frontend_inputs,
        session: request.session.clone(),
    };
    let build = match (request.definition, request.frontend) {
        (Some(_), name) if has_definition && !name.is_empty() => {
            return Err(invalid(
                "a request has a definition or a frontend, not both",
            ));
        }
        (Some(definition), name) if name.is_empty() => Build::Definition(definition),
        (_, name) if name.is_empty() => Build::Gateway {
            request: frontend_request,
        },
        (_, name) => Build::Frontend {
            name,
            request: frontend_request,
        },
    };
    let mut exporters: Vec<_> = request
        .exporters
        .into_iter()
        .map(|exporter| ExporterSpec {
            kind: exporter.r#type,
            attributes: exporter.attrs,
        })
        .collect();
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(ExporterSpec {
            kind: request.exporter_deprecated,
            attributes: request.exporter_attrs_deprecated,
        });
    }
    // Exporters of a graph are told of the argument too, which goes to no frontend then (parity sheet A4).
    let epoch = attributes_epoch.filter(|text| text.is_empty() || text.parse::<i64>().is_ok());
    if let Some(epoch) = epoch {
        for exporter in &mut exporters {
            let attribute = exporter.attributes.entry("source-date-epoch".to_owned());
            attribute.or_insert_with(|| epoch.clone());
        }
    }
    let (cache_imports, cache_exports) = caches(request.cache.unwrap_or_default());
    let sessions = Some(request.session).filter(|id| !id.is_empty());
    Ok(SolveSpec {
        job: JobId(request.r#ref),
        graph_options: match &build {
            Build::Definition(_) => options,
            Build::Frontend { .. } | Build::Gateway { .. } => BTreeMap::new(),
        },
        build,
        exporters,
        cache_imports,
        cache_exports,
        sessions: sessions.map(SessionId).into_iter().collect(),
        entitlements: request.entitlements,
        steps: None,
        source_rules: Rules::read(request.source_policy.into_iter().collect())?,
        policy_session: Some(SessionId(request.source_policy_session))
            .filter(|id| !id.0.is_empty()),
        internal: request.internal,
        session_exporter: request.enable_session_exporter,
    })
}

fn refuse_unbuilt(request: &SolveRequest) -> Result<(), Failure> {
    if request.proxy_network {
        return Err(Failure::unsupported("the recording proxy (ProxyNetwork)"));
    }
    match request.compatibility_version {
        0 | COMPATIBILITY => Ok(()),
        newer if newer > COMPATIBILITY => Err(invalid(&format!(
            "compatibility version {newer} is newer than this engine's {COMPATIBILITY}; upgrade it"
        ))),
        older => Err(Failure::unsupported(format!(
            "compatibility version {older}"
        ))),
    }
}

/// The caches to import and to export; the old form of the options means registries.
fn caches(options: CacheOptions) -> (Vec<CacheSpec>, Vec<CacheSpec>) {
    let named = |reference: String, mut attributes: BTreeMap<String, String>| {
        attributes.insert("ref".to_owned(), reference);
        CacheSpec {
            kind: "registry".to_owned(),
            attributes,
        }
    };
    let spec = |entry: CacheOptionsEntry| CacheSpec {
        kind: entry.r#type,
        attributes: entry.attrs,
    };
    let old = options.import_refs_deprecated.into_iter();
    let old = old.map(|reference| named(reference, BTreeMap::new()));
    let imports = options.imports.into_iter().map(spec).chain(old).collect();
    let mut exports: Vec<_> = options.exports.into_iter().map(spec).collect();
    if !options.export_ref_deprecated.is_empty() {
        let attributes = options.export_attrs_deprecated;
        exports.push(named(options.export_ref_deprecated, attributes));
    }
    (imports, exports)
}

fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use cooper_proto::control::Exporter;
    use cooper_proto::pb::Definition;

    use super::*;

    #[test]
    fn nothing_to_build_is_a_build_that_the_client_drives() {
        let spec = solve(SolveRequest {
            r#ref: "one".into(),
            session: "s".into(),
            ..SolveRequest::default()
        })
        .expect("valid");
        assert!(matches!(spec.build, Build::Gateway { .. }));
        assert_eq!(spec.sessions, [SessionId("s".into())]);
    }

    #[test]
    fn the_old_exporter_counts_only_without_new_ones() {
        let old = SolveRequest {
            exporter_deprecated: "local".into(),
            ..SolveRequest::default()
        };
        let spec = solve(old.clone()).expect("valid");
        assert_eq!(spec.exporters[0].kind, "local");
        let both = SolveRequest {
            exporters: vec![Exporter {
                r#type: "oci".into(),
                attrs: BTreeMap::new(),
            }],
            ..old
        };
        let spec = solve(both).expect("valid");
        assert_eq!(spec.exporters.len(), 1);
        assert_eq!(spec.exporters[0].kind, "oci");
    }

    #[test]
    fn a_definition_and_a_frontend_contradict_each_other() {
        let refused = solve(SolveRequest {
            definition: Some(Definition {
                def: vec![vec![1]],
                ..Definition::default()
            }),
            frontend: "dockerfile.v0".into(),
            ..SolveRequest::default()
        });
        assert_eq!(
            refused.map_err(|failure| failure.kind),
            Err(FailureKind::InvalidInput)
        );
    }

    #[test]
    fn old_cache_options_mean_registries() {
        let spec = solve(SolveRequest {
            cache: Some(CacheOptions {
                export_ref_deprecated: "host/a".into(),
                import_refs_deprecated: vec!["host/b".into()],
                ..CacheOptions::default()
            }),
            ..SolveRequest::default()
        })
        .expect("valid");
        let [import] = spec.cache_imports.as_slice() else {
            panic!("one cache is imported");
        };
        assert_eq!(
            (import.kind.as_str(), import.attributes["ref"].as_str()),
            ("registry", "host/b")
        );
        assert_eq!(spec.cache_exports[0].attributes["ref"], "host/a");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let refused = solve(SolveRequest {
            proxy_network: true,
            ..SolveRequest::default()
        });
        assert_eq!(
            refused.expect_err("refused").message,
            "the recording proxy (ProxyNetwork) is not supported yet"
        );
    }
}
