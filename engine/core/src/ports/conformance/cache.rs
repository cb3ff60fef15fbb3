use cooper_proto::Digest;

use crate::cachekey::MissReason;
use crate::model::{CacheKeyId, Failure, ResultId};
use crate::ports::{CacheStore, InputKey, KeyQuery, LookupAnswer};

fn digest(text: &str) -> Digest {
    Digest::sha256_of(text)
}

fn result(text: &str) -> ResultId {
    ResultId(text.to_owned())
}

fn key(text: &str) -> InputKey {
    InputKey {
        key: CacheKeyId(digest(text)),
        selector: None,
    }
}

fn query<const N: usize>(op: &str, inputs: [Vec<InputKey>; N]) -> KeyQuery {
    KeyQuery {
        op: digest(op),
        output: 0,
        inputs: inputs.to_vec(),
    }
}

/// A store with short ways to ask it.
struct Asked<'a>(&'a dyn CacheStore);

impl Asked<'_> {
    async fn lookup(&self, query: &KeyQuery) -> LookupAnswer {
        expect(self.0.lookup(query).await)
    }

    async fn miss(&self, query: &KeyQuery) -> Option<MissReason> {
        MissReason::of(&self.lookup(query).await)
    }

    async fn save(&self, query: &KeyQuery, saved: Option<&str>) -> CacheKeyId {
        expect(self.0.save(query, saved.map(result).as_ref()).await)
    }

    async fn results(&self, key: &CacheKeyId) -> Vec<String> {
        let results = expect(self.0.results(key).await);
        results.into_iter().map(|cached| cached.result.0).collect()
    }
}

fn expect<T>(answer: Result<T, Failure>) -> T {
    answer.unwrap_or_else(|failure| panic!("the store failed: {failure}"))
}

/// The rules of [`CacheStore`], against an empty store. Leaves records behind.
///
/// # Panics
/// At the first rule that does not hold.
pub async fn cache_store_suite(store: &dyn CacheStore) {
    let store = Asked(store);
    roots_are_found_by_op_and_output(&store).await;
    every_input_must_lead_there(&store).await;
    alternatives_are_linked_by_a_save(&store).await;
    selectors_tell_parts_apart(&store).await;
    results_are_listed_newest_first_and_forgotten(&store).await;
    links_are_kept_without_a_result(&store).await;
    positions_are_not_mixed_up(&store).await;
    a_key_tells_how_it_is_made(&store).await;
}

async fn roots_are_found_by_op_and_output(store: &Asked<'_>) {
    let root = query("root", []);
    assert_eq!(
        store.miss(&root).await,
        Some(MissReason::NewOp),
        "an empty store knows nothing"
    );
    let saved = store.save(&root, Some("root result")).await;
    assert_eq!(store.lookup(&root).await.keys, std::slice::from_ref(&saved));
    assert_eq!(
        store.save(&root, Some("root result")).await,
        saved,
        "saving again gives the same key"
    );
    assert_eq!(
        store.results(&saved).await,
        ["root result"],
        "and keeps one record"
    );
    let other = KeyQuery { output: 1, ..root };
    let answer = store.lookup(&other).await;
    assert!(answer.keys.is_empty(), "outputs are told apart");
    assert!(answer.op_known, "an op is known by any output");
}

async fn every_input_must_lead_there(store: &Asked<'_>) {
    let (a, b, c) = (key("a"), key("b"), key("c"));
    let saved = store
        .save(
            &query("two", [vec![a.clone()], vec![b.clone()]]),
            Some("ab"),
        )
        .await;
    let found = store
        .lookup(&query("two", [vec![c.clone(), a.clone()], vec![b.clone()]]))
        .await;
    assert_eq!(
        found.keys,
        [saved],
        "one alternative of each input is enough"
    );
    assert_eq!(found.inputs_known, [true, true]);
    let changed = query("two", [vec![a.clone()], vec![c.clone()]]);
    assert_eq!(
        store.miss(&changed).await,
        Some(MissReason::InputChanged { input: 1 })
    );
    let nothing = query("two", [vec![a.clone()], vec![]]);
    assert_eq!(
        store.miss(&nothing).await,
        Some(MissReason::InputChanged { input: 1 })
    );
    store
        .save(
            &query("two", [vec![c.clone()], vec![c.clone()]]),
            Some("cc"),
        )
        .await;
    let mixed = query("two", [vec![a], vec![c]]);
    assert_eq!(store.miss(&mixed).await, Some(MissReason::NewCombination));
}

async fn alternatives_are_linked_by_a_save(store: &Asked<'_>) {
    let (fast, content) = (key("fast"), key("content"));
    let both = query("copy", [vec![fast.clone(), content.clone()]]);
    let saved = store.save(&both, Some("copied")).await;
    for one in [fast, content.clone()] {
        assert_eq!(
            store.lookup(&query("copy", [vec![one]])).await.keys,
            std::slice::from_ref(&saved)
        );
    }
    let newer = key("newer fast");
    let learned = store
        .save(&query("copy", [vec![newer.clone(), content]]), None)
        .await;
    assert_eq!(learned, saved, "a key that is found is used again");
    assert_eq!(
        store.lookup(&query("copy", [vec![newer]])).await.keys,
        [saved]
    );
}

async fn selectors_tell_parts_apart(store: &Asked<'_>) {
    let part = InputKey {
        selector: Some(digest("/part")),
        ..key("state")
    };
    let saved = store
        .save(&query("select", [vec![part.clone()]]), Some("of part"))
        .await;
    assert_eq!(
        store.lookup(&query("select", [vec![part]])).await.keys,
        [saved]
    );
    assert!(
        store
            .lookup(&query("select", [vec![key("state")]]))
            .await
            .keys
            .is_empty()
    );
}

async fn results_are_listed_newest_first_and_forgotten(store: &Asked<'_>) {
    let root = query("twice", []);
    let saved = store.save(&root, Some("older")).await;
    store.save(&root, Some("newer")).await;
    assert_eq!(store.results(&saved).await, ["newer", "older"]);
    expect(store.0.forget(&result("newer")).await);
    assert_eq!(store.results(&saved).await, ["older"]);
    expect(store.0.forget(&result("older")).await);
    expect(store.0.forget(&result("never seen")).await);
    assert!(store.results(&saved).await.is_empty());
    assert_eq!(
        store.lookup(&root).await.keys,
        [saved],
        "a key outlives its results"
    );
    let unknown = CacheKeyId(digest("no such key"));
    assert!(store.results(&unknown).await.is_empty());
}

async fn links_are_kept_without_a_result(store: &Asked<'_>) {
    let links = query("links only", [vec![key("a")]]);
    let saved = store.save(&links, None).await;
    assert!(store.results(&saved).await.is_empty());
    let next = InputKey {
        key: saved,
        selector: None,
    };
    let beyond = query("beyond", [vec![next]]);
    let further = store.save(&beyond, Some("beyond result")).await;
    assert_eq!(store.lookup(&beyond).await.keys, [further]);
}

async fn positions_are_not_mixed_up(store: &Asked<'_>) {
    let (a, b) = (key("first"), key("second"));
    store
        .save(
            &query("order", [vec![a.clone()], vec![b.clone()]]),
            Some("in order"),
        )
        .await;
    assert!(
        store
            .lookup(&query("order", [vec![b], vec![a]]))
            .await
            .keys
            .is_empty()
    );
}

async fn a_key_tells_how_it_is_made(store: &Asked<'_>) {
    let base = query("base of origins", []);
    let root = store.save(&base, None).await;
    assert_eq!(expect(store.0.origins(&root).await), [base]);
    let part = InputKey {
        key: root,
        selector: Some(digest("/part")),
    };
    let made = query("made", [vec![part.clone()], vec![key("x"), key("y")]]);
    let saved = store.save(&made, Some("made result")).await;
    let mut learned = made.clone();
    learned.inputs[0].push(key("contents of the part"));
    assert_eq!(store.save(&learned, None).await, saved);
    let mut origins = expect(store.0.origins(&saved).await);
    for query in origins.iter_mut().chain([&mut learned]) {
        query.inputs.iter_mut().for_each(|keys| keys.sort());
    }
    assert_eq!(origins, [learned], "all alternatives, by position");
    let contents = CacheKeyId(digest("contents of the part"));
    assert_eq!(expect(store.0.origins(&contents).await), []);
}
