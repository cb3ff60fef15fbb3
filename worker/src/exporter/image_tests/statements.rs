use super::bench::{Bench, single};
use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{
    ATTESTATION_INLINE_ONLY, ATTESTATION_SBOM_CORE, Attestation, AttestationKind, Failure,
    ResultId, SPDX_PREDICATE, Subject,
};
use cooper_core::ports::{ExportRequest, Predicate, StatementSource};
use cooper_proto::{Digest, platform};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const KIND: &str = "https://example.com/kind/v1";

#[derive(Debug)]
struct Fixed(Value);

#[async_trait]
impl Predicate for Fixed {
    async fn json(&self) -> Result<Bytes, Failure> {
        Ok(self.0.to_string().into())
    }
}

fn statement(source: StatementSource, path: &str) -> Attestation<StatementSource> {
    Attestation {
        kind: AttestationKind::InToto,
        metadata: [].into(),
        source,
        path: path.into(),
        predicate_type: KIND.into(),
        subjects: Vec::new(),
    }
}

fn of_engine() -> Attestation<StatementSource> {
    let predicate = Fixed(json!({"a": "<b>"}));
    statement(StatementSource::Engine(Arc::new(predicate)), "p.json")
}

impl Bench {
    /// A result with these files in a folder.
    fn with_files(&self, folder: &str, files: &[(&str, &str)]) -> StatementSource {
        let snapshots = self.fixture.layers.snapshots();
        let writer = snapshots.writer(&ResultId::scratch()).unwrap();
        let root = writer.root().unwrap();
        root.mkdir_all(Path::new(folder), 0o755, None).unwrap();
        for (name, text) in files {
            let path = Path::new(folder).join(name);
            let mut file = root.create_file(&path, 0o644).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        drop(root);
        StatementSource::Result(Some(writer.commit("statements").unwrap()))
    }

    fn saying(&self, said: Vec<Attestation<StatementSource>>) -> ExportRequest {
        let id = platform::format_all(&platform::parse("linux/amd64", &platform::host()).unwrap());
        ExportRequest {
            attestations: [(id, said)].into(),
            ..single(&self.result())
        }
    }

    /// The index, the manifest of statements and the statements of an exported image.
    async fn exported(
        &self,
        attributes: &[(&str, &str)],
        request: ExportRequest,
    ) -> Result<(Value, Value, Vec<Value>), Failure> {
        let attributes = [attributes, &[("name", "a:1,b:2")]].concat();
        let response = self.export("image", &attributes, request).await?;
        let index = self.document(&response["containerimage.digest"]);
        let digest = |value: &Value| value["digest"].as_str().unwrap().to_owned();
        let manifest = self.document(&digest(&index["manifests"][1]));
        let layers = manifest["layers"].as_array().unwrap();
        let statements = layers.iter().map(|it| self.document(&digest(it)));
        let statements = statements.collect();
        Ok((index, manifest, statements))
    }
}

#[tokio::test]
async fn a_statement_is_an_artifact_beside_the_image_that_it_names() {
    let bench = Bench::new();
    let (index, manifest, statements) = bench
        .exported(&[], bench.saying(vec![of_engine()]))
        .await
        .unwrap();
    let [image, said] = index["manifests"].as_array().unwrap().as_slice() else {
        panic!("{index}");
    };
    assert_eq!(
        said["platform"],
        json!({"architecture": "unknown", "os": "unknown"})
    );
    assert_eq!(
        said["annotations"],
        json!({
            "vnd.docker.reference.digest": image["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        })
    );
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.docker.attestation.manifest.v1+json"
    );
    let subject = json!({
        "mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"],
    });
    assert_eq!(manifest["subject"], subject);
    assert_eq!(
        manifest["config"],
        json!({
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": Digest::sha256_of("{}").to_string(),
            "size": 2,
            "data": "e30=",
        })
    );
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
    assert_eq!(
        layer["annotations"],
        json!({"in-toto.io/predicate-type": KIND})
    );
    let hex = image["digest"].as_str().unwrap();
    let digest = json!({"sha256": hex.strip_prefix("sha256:").unwrap()});
    assert_eq!(
        statements,
        [json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": KIND,
            "subject": [
                {"name": "pkg:docker/a@1?platform=linux%2Famd64", "digest": digest},
                {"name": "pkg:docker/b@2?platform=linux%2Famd64", "digest": digest},
            ],
            "predicate": {"a": "<b>"},
        })]
    );
}

#[tokio::test]
async fn an_image_of_statements_has_a_configuration_of_no_platform() {
    let bench = Bench::new();
    let request = bench.saying(vec![of_engine()]);
    let (_, manifest, _) = bench
        .exported(&[("oci-artifact", "false")], request)
        .await
        .unwrap();
    assert_eq!(manifest.get("subject"), None);
    assert_eq!(manifest.get("artifactType"), None);
    let config = bench.document(manifest["config"]["digest"].as_str().unwrap());
    assert_eq!(
        (&config["os"], &config["architecture"]),
        (&json!("unknown"), &json!("unknown"))
    );
    let statement = &manifest["layers"][0]["digest"];
    assert_eq!(config["rootfs"]["diff_ids"], json!([statement]));
}

#[tokio::test]
async fn a_bundle_is_a_statement_a_file_with_the_one_about_the_image_first() {
    let bench = Bench::new();
    let text = |name: &str| {
        json!({"predicateType": SPDX_PREDICATE, "predicate": {"name": name}, "subject": [
            {"name": "x", "digest": {"sha256": Digest::sha256_of("x").hex()}},
        ]})
        .to_string()
    };
    let source = bench.with_files(
        "out",
        &[
            ("a.json", &text("extra")),
            ("sbom.spdx.json", &text("core")),
        ],
    );
    let bundle = Attestation {
        kind: AttestationKind::Bundle,
        metadata: [(ATTESTATION_SBOM_CORE.to_owned(), Bytes::from("sbom"))].into(),
        predicate_type: SPDX_PREDICATE.into(),
        ..statement(source, "/out")
    };
    let request = bench.saying(vec![bundle]);
    let (_, _, statements) = bench.exported(&[], request).await.unwrap();
    let names: Vec<_> = statements
        .iter()
        .map(|it| &it["predicate"]["name"])
        .collect();
    assert_eq!(names, ["core", "extra"]);
    assert_eq!(statements[0]["subject"][0]["name"], "x");
}

#[tokio::test]
async fn a_list_of_files_is_told_which_layers_have_them() {
    let bench = Bench::new();
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "files": [
            {"fileName": "/one"}, {"fileName": "two"}, {"fileName": "/none"},
            {"fileName": "/one", "comment": "known"},
        ],
    });
    let source = bench.with_files("", &[("sbom.json", &document.to_string())]);
    let said = Attestation {
        metadata: [(ATTESTATION_SBOM_CORE.to_owned(), Bytes::from("sbom"))].into(),
        predicate_type: SPDX_PREDICATE.into(),
        ..statement(source, "/sbom.json")
    };
    let request = bench.saying(vec![said]);
    let (index, _, statements) = bench.exported(&[], request).await.unwrap();
    let image = bench.document(index["manifests"][0]["digest"].as_str().unwrap());
    let layer = |at: usize| {
        let digest = image["layers"][at]["digest"].as_str().unwrap();
        json!(format!("layerID: {digest}"))
    };
    let files = statements[0]["predicate"]["files"].as_array().unwrap();
    let comments: Vec<_> = files.iter().map(|it| it.get("comment").cloned()).collect();
    assert_eq!(
        comments,
        [Some(layer(0)), Some(layer(1)), None, Some(json!("known"))]
    );
}

#[tokio::test]
async fn a_statement_that_needs_no_index_does_not_make_one() {
    let bench = Bench::new();
    let mut said = of_engine();
    let inline = (ATTESTATION_INLINE_ONLY.to_owned(), Bytes::from("true"));
    said.metadata.extend([inline]);
    let attributes = [("attestation-inline", "false")];
    let request = bench.saying(vec![said]);
    let response = bench.export("image", &attributes, request.clone()).await;
    let manifest = bench.document(&response.unwrap()["containerimage.digest"]);
    assert!(manifest.get("config").is_some(), "{manifest}");
    let (index, ..) = bench.exported(&[], request).await.unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
}

// T-E7
#[tokio::test]
async fn only_the_engine_says_where_an_image_came_from() {
    let bench = Bench::new();
    let provenance = "https://slsa.dev/provenance/v1";
    let text = json!({"predicateType": provenance, "predicate": {}}).to_string();
    let files = [("p.json", text.as_str())];
    for (said, words) in [
        (
            statement(bench.with_files("", &files), "/p.json"),
            "frontend may not set provenance attestations",
        ),
        (
            Attestation {
                kind: AttestationKind::Bundle,
                predicate_type: String::new(),
                ..statement(bench.with_files("b", &files), "/b")
            },
            "frontend may not bundle provenance attestations",
        ),
    ] {
        let said = match said.kind {
            AttestationKind::InToto => Attestation {
                predicate_type: provenance.into(),
                ..said
            },
            AttestationKind::Bundle => said,
        };
        let failed = bench.exported(&[], bench.saying(vec![said])).await;
        assert_eq!(failed.unwrap_err().message, words);
    }
}

#[tokio::test]
async fn what_is_no_statement_is_refused_by_name() {
    let bench = Bench::new();
    let files = [("a.json", r#"{"predicateType":"other"}"#)];
    let link = statement(StatementSource::Result(None), "/a");
    let wrong_kind = Attestation {
        kind: AttestationKind::Bundle,
        ..statement(bench.with_files("", &files), "")
    };
    let named = Attestation {
        subjects: vec![Subject::Itself { name: "n".into() }],
        ..statement(bench.with_files("", &files), "/missing")
    };
    for (said, words) in [
        (statement(bench.with_files("", &files), ""), "set path"),
        (link, "available content"),
        (wrong_kind, "does not match required predicate type"),
        (named, "/missing"),
    ] {
        let failed = bench.exported(&[], bench.saying(vec![said])).await;
        let message = failed.unwrap_err().message;
        assert!(message.contains(words), "{message}");
    }
    let docker = [("oci-mediatypes", "false")];
    let failed = bench
        .exported(&docker, bench.saying(vec![of_engine()]))
        .await;
    let message = failed.unwrap_err().message;
    assert!(message.contains("oci-mediatypes=false"), "{message}");
}
