use cooper_proto::Digest;
use cooper_proto::cache_config::{CacheConfig, CacheInput, CacheLayer, CacheRecord, CacheResult};
use proptest::prelude::*;

use super::*;
use crate::model::{CacheKeyId, ResultId};
use crate::ports::{InputKey, KeyQuery};
use crate::scheduler::{EdgeInput, EdgeRecord};

fn digest(name: &str) -> Digest {
    Digest::sha256_of(name)
}

fn edge(op: &str, inputs: Vec<EdgeInput>) -> EdgeRecord {
    EdgeRecord {
        source: None,
        vertex: cooper_proto::Digest::sha256_of("vertex"),
        ops: vec![digest(op)],
        output: 0,
        inputs,
        of_session: false,
        keys: Vec::new(),
        imported: Vec::new(),
        result: None,
        scope: None,
    }
}

fn input(edge: usize, selector: Option<&str>, content: Option<&str>) -> EdgeInput {
    EdgeInput {
        edge,
        selector: selector.map(digest),
        content: content.map(digest),
    }
}

fn query(op: &str, inputs: &[&[InputKey]]) -> KeyQuery {
    KeyQuery {
        op: digest(op),
        output: 0,
        inputs: inputs.iter().map(|keys| keys.to_vec()).collect(),
    }
}

fn known(key: &CacheKeyId, selector: Option<&str>) -> InputKey {
    InputKey {
        key: key.clone(),
        selector: selector.map(digest),
    }
}

/// An image, a context of a session, a copy from it by content, a run on that.
fn build() -> (Chains, Vec<Option<DocumentResult>>) {
    let context = EdgeRecord {
        vertex: cooper_proto::Digest::sha256_of("vertex"),
        of_session: true,
        ..edge("context", Vec::new())
    };
    let edges = [
        edge("image", Vec::new()),
        context,
        edge(
            "copy",
            vec![input(0, None, None), input(1, None, Some("files"))],
        ),
        edge("run", vec![input(2, Some("root"), None)]),
    ];
    let result = |name: &str| Some((ResultId(name.to_owned()), 1));
    let results = [result("image"), None, result("copy"), result("run")];
    let chains = Chains::of(&edges, &results, &Origins::default());
    let documented = chains.records.iter().map(|record| {
        let (result, _) = record.result.as_ref()?;
        let below = (result.0 == "run").then(|| digest("layer copy"));
        let own = digest(&format!("layer {result}"));
        Some(DocumentResult {
            blobs: below.into_iter().chain([own]).collect(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
        })
    });
    let documented = documented.collect();
    (chains, documented)
}

#[test]
fn what_is_written_is_found_by_the_same_questions() {
    let (chains, results) = build();
    let config = document(&chains, &results);
    assert_eq!((config.records.len(), config.layers.len()), (4, 2));
    let imported = Imported::new(&config, &IndexLimits::default()).unwrap();
    let image = imported.lookup(&query("image", &[])).imported;
    let [image] = image.as_slice() else {
        panic!("an image has one key: {image:?}");
    };
    assert!(imported.results(image).is_empty(), "sources are not kept");
    let files = CacheKeyId(digest("files"));
    let copied = query("copy", &[&[known(image, None)], &[known(&files, None)]]);
    let copy = imported.lookup(&copied).imported;
    assert_eq!(imported.results(&copy[0])[0].blobs, [digest("layer copy")]);
    let run = imported.lookup(&query("run", &[&[known(&copy[0], Some("root"))]]));
    let blobs = [digest("layer copy"), digest("layer run")];
    assert_eq!(imported.results(&run.imported[0])[0].blobs, blobs);
    // Another selector, other contents.
    assert!(
        !imported
            .lookup(&query("run", &[&[known(&copy[0], None)]]))
            .matches()
    );
    let other = CacheKeyId(digest("other files"));
    let answer = imported.lookup(&query(
        "copy",
        &[&[known(image, None)], &[known(&other, None)]],
    ));
    assert!(!answer.matches() && answer.op_known);
    assert_eq!(answer.inputs_known, [true, false]);
}

/// The edges of [`build`] as a build knows them that found all by the keys of its base.
fn cached(keys: impl Fn(&str) -> Vec<CacheKeyId>, imported: bool) -> Vec<EdgeRecord> {
    let context = EdgeRecord {
        of_session: true,
        ..edge("context", Vec::new())
    };
    let copy = vec![input(0, None, None), input(1, None, None)];
    let mut edges = vec![
        edge("image", Vec::new()),
        context,
        edge("copy", copy),
        edge("run", vec![input(2, Some("root"), None)]),
    ];
    for (edge, name) in edges.iter_mut().zip(["image", "context", "copy", "run"]) {
        match imported {
            true => edge.imported = keys(name),
            false => edge.keys = keys(name),
        }
    }
    edges
}

#[test]
fn what_was_found_by_one_key_is_written_with_all_that_lead_there() {
    let (chains, documented) = build();
    let key = |name: &str| CacheKeyId(digest(name));
    let made = |op: &str, inputs: &[&[InputKey]]| [Origin::of_query(query(op, inputs))];
    let mut origins = Origins::default();
    origins.add(key("image"), made("image", &[]));
    let copy = made(
        "copy",
        &[&[known(&key("image"), None)], &[known(&key("files"), None)]],
    );
    origins.add(key("copy"), copy);
    origins.add(key("files"), [Origin::of_content(&key("files"))]);
    origins.add(
        key("run"),
        made("run", &[&[known(&key("copy"), Some("root"))]]),
    );
    let edges = cached(|name| vec![key(name)], false);
    let result = |name: &str| Some((ResultId(name.to_owned()), 1));
    let results = [result("image"), None, result("copy"), result("run")];
    let again = Chains::of(&edges, &results, &origins);
    assert_eq!(
        document(&again, &documented),
        document(&chains, &documented)
    );
    let forgetful = Chains::of(&edges, &results, &Origins::default());
    assert_eq!(forgetful.records.len(), 1, "nothing but the image");
}

#[test]
fn what_an_imported_cache_served_is_written_as_it_was() {
    let (chains, documented) = build();
    let config = document(&chains, &documented);
    let imported = Imported::new(&config, &IndexLimits::default()).unwrap();
    let image = imported.lookup(&query("image", &[])).imported;
    let files = CacheKeyId(digest("files"));
    let copied = query("copy", &[&[known(&image[0], None)], &[known(&files, None)]]);
    let copy = imported.lookup(&copied).imported;
    let run = imported.lookup(&query("run", &[&[known(&copy[0], Some("root"))]]));
    let keys = |name: &str| match name {
        "image" => image.clone(),
        "copy" => copy.clone(),
        "run" => run.imported.clone(),
        _ => Vec::new(),
    };
    let mut origins = Origins::default();
    let mut open = run.imported.clone();
    while let Some(key) = open.pop() {
        let origin = imported.origin(&key).expect("it is of the document");
        open.extend(origin.keys().cloned());
        origins.add(key, [origin]);
    }
    let result = |name: &str| Some((ResultId(name.to_owned()), 1));
    let results = [result("image"), None, result("copy"), result("run")];
    let again = Chains::of(&cached(keys, true), &results, &origins);
    assert_eq!(document(&again, &documented), config);
}

#[test]
fn a_key_that_is_among_those_that_it_is_made_of_is_written_once() {
    let key = |name: &str| CacheKeyId(digest(name));
    let both = [
        known(&key("files"), None),
        known(&key("copy"), Some("part")),
    ];
    let other = [known(&key("other"), None)];
    let mut origins = Origins::default();
    origins.add(
        key("copy"),
        [Origin::of_query(query("copy", &[&both, &other]))],
    );
    let around = query("around", &[&[known(&key("copy"), None)]]);
    origins.add(key("other"), [Origin::of_query(around)]);
    origins.add(key("files"), [Origin::of_content(&key("files"))]);
    let base = edge("base", Vec::new());
    let mut copy = edge("copy", vec![input(0, None, None), input(0, None, None)]);
    copy.keys = vec![key("copy")];
    let result = Some((ResultId("copied".to_owned()), 1));
    let chains = Chains::of(&[base, copy], &[None, result], &origins);
    let copies = chains.records.iter();
    let copies: Vec<_> = copies.filter(|it| it.result.is_some()).collect();
    let [copy] = copies.as_slice() else {
        panic!("one record: {chains:?}");
    };
    assert_eq!((copy.inputs[0].len(), copy.inputs[1].len()), (2, 1));
}

#[test]
fn equal_caches_give_equal_documents() {
    let (chains, results) = build();
    let mut turned = chains.clone();
    let last = turned.records.len() - 1;
    // Roots in another order.
    turned.records.swap(0, 1);
    for link in turned
        .records
        .iter_mut()
        .flat_map(|it| &mut it.inputs)
        .flatten()
    {
        link.record = match link.record {
            0 => 1,
            1 => 0,
            other => other,
        };
    }
    assert!(last > 1);
    assert_eq!(document(&chains, &results), document(&turned, &results));
}

#[test]
fn what_no_result_stands_on_is_not_written() {
    let (chains, _) = build();
    let none = vec![None; chains.records.len()];
    assert_eq!(document(&chains, &none), CacheConfig::default());
}

fn record(digest_of: &str, inputs: &[&[i64]]) -> CacheRecord {
    CacheRecord {
        digest: digest(digest_of).to_string(),
        inputs: inputs
            .iter()
            .map(|links| {
                let input = |link: &i64| CacheInput {
                    link: *link,
                    ..CacheInput::default()
                };
                links.iter().map(input).collect()
            })
            .collect(),
        ..CacheRecord::default()
    }
}

fn refused(config: &CacheConfig) -> IndexError {
    Imported::new(config, &IndexLimits::default()).unwrap_err()
}

// T-E8
#[test]
fn documents_that_lie_are_refused() {
    let of = |records: Vec<CacheRecord>| CacheConfig {
        records,
        ..CacheConfig::default()
    };
    let circle = of(vec![record("a", &[&[1]]), record("b", &[&[0]])]);
    assert!(matches!(refused(&circle), IndexError::Loop { .. }));
    let itself = of(vec![record("a", &[&[0]])]);
    assert!(matches!(refused(&itself), IndexError::Loop { .. }));
    let nothing = of(vec![record("a", &[&[7]])]);
    assert!(matches!(refused(&nothing), IndexError::NoSuch { .. }));
    let below = of(vec![record("a", &[&[-1]])]);
    assert!(matches!(refused(&below), IndexError::NoSuch { .. }));
    let empty = of(vec![record("a", &[&[]])]);
    assert!(matches!(refused(&empty), IndexError::EmptyInput { .. }));
    let mut layers = of(vec![record("a", &[])]);
    layers.records[0].results.push(CacheResult::default());
    layers.layers.push(CacheLayer {
        blob: digest("x").to_string(),
        parent: 0,
        annotations: None,
    });
    assert!(Imported::new(&layers, &IndexLimits::default()).is_err());
    layers.records[0].results[0].layer = i64::MIN;
    assert!(matches!(refused(&layers), IndexError::NoSuch { .. }));
    let many = of(vec![record("a", &[]); 100_001]);
    assert!(matches!(refused(&many), IndexError::TooMany { .. }));
}

// T-E8
#[test]
fn a_session_key_of_another_builder_never_matches() {
    let mut config = CacheConfig {
        records: vec![record("a", &[]), record("b", &[&[0]])],
        ..CacheConfig::default()
    };
    config.records[0].digest = "random:00".to_owned();
    let imported = Imported::new(&config, &IndexLimits::default()).unwrap();
    assert!(imported.is_empty());
}

proptest! {
    // T-E8
    #[test]
    fn any_document_is_read_or_refused(
        records in prop::collection::vec((0_u8..4, prop::collection::vec(
            prop::collection::vec(-1_i64..6, 0..3), 0..3), prop::collection::vec(-2_i64..4, 0..2)), 0..6),
        layers in prop::collection::vec(-2_i64..4, 0..4),
    ) {
        let records = records.iter().map(|(name, inputs, results)| {
            let inputs: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
            let mut made = record(&name.to_string(), &inputs);
            made.results = results.iter().map(|layer| CacheResult {
                layer: *layer,
                ..CacheResult::default()
            }).collect();
            made
        });
        let layers = layers.iter().map(|parent| CacheLayer {
            blob: digest("x").to_string(),
            parent: *parent,
            annotations: None,
        });
        let config = CacheConfig { records: records.collect(), layers: layers.collect() };
        if let Ok(imported) = Imported::new(&config, &IndexLimits::default()) {
            prop_assert!(imported.len() <= config.records.len());
        }
    }
}
