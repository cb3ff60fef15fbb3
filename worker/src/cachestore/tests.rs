use cooper_core::{
    model::{CacheKeyId, ResultId},
    ports::{CacheStore, InputKey, KeyQuery},
};
use cooper_proto::Digest;

use super::PersistentCache;
use crate::meta::Meta;

fn cache() -> (tempfile::TempDir, PersistentCache) {
    let dir = tempfile::tempdir().unwrap();
    let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
    (dir, PersistentCache::new(meta))
}

fn key(name: &str) -> CacheKeyId {
    CacheKeyId(Digest::sha256_of(name))
}

fn input(name: &str) -> InputKey {
    InputKey {
        key: key(name),
        selector: None,
    }
}

fn query(op: &str, inputs: &[&[&str]]) -> KeyQuery {
    let alternatives = |names: &&[&str]| names.iter().map(|name| input(name)).collect();
    KeyQuery {
        op: Digest::sha256_of(op),
        output: 0,
        inputs: inputs.iter().map(alternatives).collect(),
    }
}

fn result(name: &str) -> ResultId {
    ResultId(name.to_owned())
}

#[tokio::test]
async fn the_rules_of_the_port_hold() {
    let (_dir, cache) = cache();
    cooper_core::ports::conformance::cache_store_suite(&cache).await;
}

#[tokio::test]
async fn a_key_matches_when_each_input_has_an_alternative_that_links_to_it() {
    let (_dir, cache) = cache();
    let saved = cache
        .save(&query("op", &[&["a", "b"], &["c"]]), Some(&result("r")))
        .await
        .unwrap();
    for inputs in [&[&["a"][..], &["c"]], &[&["b"], &["x", "c"]]] {
        let answer = cache.lookup(&query("op", inputs)).await.unwrap();
        assert_eq!(answer.keys, std::slice::from_ref(&saved), "{inputs:?}");
    }
    let wrong_place = cache.lookup(&query("op", &[&["c"], &["a"]])).await.unwrap();
    assert_eq!(wrong_place.keys, []);
    assert!(wrong_place.op_known);
    assert_eq!(wrong_place.inputs_known, [false, false]);

    let half = cache.lookup(&query("op", &[&["a"], &["x"]])).await.unwrap();
    assert_eq!(half.keys, []);
    assert_eq!(half.inputs_known, [true, false]);

    let other = cache.lookup(&query("other", &[&["a"]])).await.unwrap();
    assert!(!other.op_known);
}

#[tokio::test]
async fn two_records_that_share_inputs_crosswise_match_no_mixture() {
    let (_dir, cache) = cache();
    cache
        .save(&query("op", &[&["a"], &["b"]]), Some(&result("ab")))
        .await
        .unwrap();
    cache
        .save(&query("op", &[&["c"], &["d"]]), Some(&result("cd")))
        .await
        .unwrap();
    let mixed = cache.lookup(&query("op", &[&["a"], &["d"]])).await.unwrap();
    assert_eq!(mixed.keys, []);
    assert_eq!(mixed.inputs_known, [true, true]);
}

#[tokio::test]
async fn saving_again_with_a_new_alternative_keeps_the_key_and_adds_the_link() {
    let (_dir, cache) = cache();
    let first = cache
        .save(&query("op", &[&["a"]]), Some(&result("r")))
        .await
        .unwrap();
    let again = cache
        .save(&query("op", &[&["a", "content"]]), Some(&result("r")))
        .await
        .unwrap();
    assert_eq!(first, again);
    let answer = cache.lookup(&query("op", &[&["content"]])).await.unwrap();
    assert_eq!(answer.keys, std::slice::from_ref(&first));
    assert_eq!(cache.results(&first).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_op_without_inputs_is_found_by_its_digest_and_output() {
    let (_dir, cache) = cache();
    let source = query("source", &[]);
    assert_eq!(cache.lookup(&source).await.unwrap().keys, []);
    let saved = cache.save(&source, Some(&result("r"))).await.unwrap();
    assert_eq!(cache.lookup(&source).await.unwrap().keys, [saved]);
    let second_output = KeyQuery {
        output: 1,
        ..source
    };
    let answer = cache.lookup(&second_output).await.unwrap();
    assert_eq!(answer.keys, []);
    assert!(answer.op_known);
}

#[tokio::test]
async fn a_selector_is_part_of_a_link() {
    let (_dir, cache) = cache();
    let mut with = query("op", &[&["a"]]);
    with.inputs[0][0].selector = Some(Digest::sha256_of("/sub"));
    cache.save(&with, Some(&result("r"))).await.unwrap();
    let without = cache.lookup(&query("op", &[&["a"]])).await.unwrap();
    assert_eq!(without.keys, []);
    assert_eq!(cache.lookup(&with).await.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn results_come_newest_first_and_a_forgotten_one_not_at_all() {
    let (dir, cache) = cache();
    let op = query("op", &[]);
    let saved = cache.save(&op, Some(&result("old"))).await.unwrap();
    cache.save(&op, Some(&result("new"))).await.unwrap();
    let names = |kept: Vec<cooper_core::ports::CachedResult>| -> Vec<String> {
        kept.into_iter().map(|it| it.result.0).collect()
    };
    assert_eq!(names(cache.results(&saved).await.unwrap()), ["new", "old"]);
    cache.forget(&result("new")).await.unwrap();
    drop(cache);
    let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
    let cache = PersistentCache::new(meta);
    assert_eq!(names(cache.results(&saved).await.unwrap()), ["old"]);
    assert_eq!(cache.lookup(&op).await.unwrap().keys, [saved]);
}
