//! Against servers on the loopback that keep objects in memory.

use std::{
    collections::BTreeMap,
    io::{Seek, SeekFrom, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_proto::{Digest, oci::Descriptor};

use super::{
    attributes::Attributes,
    azblob::Azblob,
    cache::{InObjects, Layer, Objects},
    gha::Gha,
    s3::S3,
};
use crate::{
    content::ContentStore,
    distribution::tests::{
        fake::{Asked, Fake, Reply},
        quick,
    },
    limits::Limits,
    remotecache::places::LayerSource,
};

/// What a server keeps: bytes by paths.
type Kept = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

fn path(asked: &Asked) -> (&str, &str) {
    asked.target.split_once('?').unwrap_or((&asked.target, ""))
}

fn query<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    let pairs = path(asked).1.split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.next()
}

/// The object at a path, from where the request wants it.
fn got(asked: &Asked, kept: &Kept, range: &str) -> Reply {
    let kept = kept.lock().unwrap();
    let Some(bytes) = kept.get(path(asked).0) else {
        return Reply::new(404).body("<Error><Code>NoSuchKey</Code></Error>");
    };
    let from = asked.headers.get(range);
    let from = from.map(|it| it.trim_start_matches("bytes=").trim_end_matches('-'));
    match from {
        Some(from) => Reply::new(206).body(&bytes[from.parse::<usize>().unwrap()..]),
        None => Reply::new(200).body(bytes.clone()),
    }
}

fn s3_answer(asked: &Asked, kept: &Kept) -> Reply {
    assert!(asked.headers["authorization"].starts_with("AWS4-HMAC-SHA256 Credential=me/"));
    let (path, _) = path(asked);
    let hash = Digest::sha256_of(&asked.body);
    assert_eq!(asked.headers["x-amz-content-sha256"], hash.hex());
    let part = |number: &str| format!("{path}#{number}");
    match (asked.method.as_str(), query(asked, "partNumber")) {
        ("GET", _) => got(asked, kept, "range"),
        ("HEAD", _) if kept.lock().unwrap().contains_key(path) => {
            Reply::new(200).header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        }
        ("HEAD", _) => Reply::new(404),
        ("PUT", Some(number)) => {
            kept.lock()
                .unwrap()
                .insert(part(number), asked.body.clone());
            Reply::new(200).header("ETag", format!("\"{number}\""))
        }
        ("PUT", None) if asked.headers.contains_key("x-amz-copy-source") => {
            Reply::new(200).body("<CopyObjectResult></CopyObjectResult>")
        }
        ("PUT", None) => {
            kept.lock()
                .unwrap()
                .insert(path.to_owned(), asked.body.clone());
            Reply::new(200)
        }
        ("POST", _) if query(asked, "uploads").is_some() => {
            Reply::new(200).body("<X><UploadId>up&amp;load</UploadId></X>")
        }
        ("POST", _) => {
            assert_eq!(query(asked, "uploadId"), Some("up%26load"));
            let list = String::from_utf8(asked.body.clone()).unwrap();
            let mut kept = kept.lock().unwrap();
            let numbers = list.split("<PartNumber>").skip(1);
            let whole = numbers.flat_map(|it| {
                let number = it.split_once('<').unwrap().0;
                assert!(it.contains(&format!("<ETag>\"{number}\"</ETag>")));
                kept[&part(number)].clone()
            });
            let whole: Vec<u8> = whole.collect();
            kept.insert(path.to_owned(), whole);
            Reply::new(200).body("<CompleteMultipartUploadResult/>")
        }
        other => panic!("{other:?}"),
    }
}

fn attributes(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let more = more.iter();
    more.map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect()
}

/// These and no environment.
fn given(given: &BTreeMap<String, String>) -> Attributes<'_> {
    static NOTHING: BTreeMap<String, String> = BTreeMap::new();
    Attributes {
        given,
        environment: &NOTHING,
    }
}

fn s3(fake: &Fake, more: &[(&str, &str)]) -> Result<S3, Failure> {
    let url = fake.url("/base");
    let mut all = attributes(&[
        ("bucket", "bucket"),
        ("region", "us-east-1"),
        ("endpoint_url", &url),
        ("use_path_style", "true"),
        ("access_key_id", "me"),
        ("secret_access_key", "CANARY"),
        ("prefix", "p/"),
        ("name", "one;two"),
    ]);
    all.extend(attributes(more));
    S3::read(&given(&all), quick().retry)
}

/// A layer of some length, whose bytes differ from part to part.
fn layer(size: u64) -> (tempfile::NamedTempFile, Layer) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    for at in (0..size).step_by(1 << 20) {
        file.seek(SeekFrom::Start(at)).unwrap();
        let mark = at.to_be_bytes();
        let length = usize::try_from(size - at).unwrap().min(mark.len());
        file.write_all(&mark[..length]).unwrap();
    }
    let layer = Layer {
        digest: Digest::sha256_of(std::fs::read(file.path()).unwrap()),
        size,
        path: file.path().to_owned(),
    };
    (file, layer)
}

fn described(layer: &Layer) -> Descriptor {
    Descriptor::new("", layer.digest.clone(), layer.size)
}

/// Writes a layer and a document and reads them back.
async fn round_trip(objects: Arc<dyn Objects>, layer: &Layer) {
    assert_eq!(objects.documents().await.unwrap(), Vec::<Bytes>::new());
    let blob = described(layer);
    assert!(!objects.has(&blob).await.unwrap());
    objects.put(layer).await.unwrap();
    assert!(objects.has(&blob).await.unwrap());
    for document in ["{}", "{\"records\":[]}"] {
        objects.put_document(document.into()).await.unwrap();
        assert_eq!(objects.documents().await.unwrap(), [document]);
    }
    let folder = tempfile::tempdir().unwrap();
    let content = ContentStore::open(folder.path(), &Limits::default()).unwrap();
    let source = InObjects(objects);
    source.fetch(&content, &blob).await.unwrap();
    assert!(content.contains(&layer.digest));
    let (_file, other) = self::layer(3);
    assert!(source.fetch(&content, &described(&other)).await.is_err());
}

#[tokio::test]
async fn a_cache_in_s3_is_read_as_it_was_written() {
    for size in [0, 5, (65 << 20) + 7] {
        let kept = Kept::default();
        let fake = {
            let kept = Arc::clone(&kept);
            Fake::serve(move |asked| s3_answer(asked, &kept)).await
        };
        let (_file, layer) = layer(size);
        round_trip(Arc::new(s3(&fake, &[]).unwrap()), &layer).await;
        let kept = kept.lock().unwrap();
        assert!(kept.contains_key("/base/bucket/p/manifests/two"));
        let key = format!("/base/bucket/p/blobs/sha256%3A{}", layer.digest.hex());
        assert_eq!(kept[&key].len() as u64, size);
    }
}

#[tokio::test]
async fn a_layer_in_s3_is_made_new_before_rules_remove_it() {
    let kept = Kept::default();
    let fake = Fake::serve(move |asked| s3_answer(asked, &kept)).await;
    let (_file, layer) = layer(5);
    let copies = || {
        let asked = fake.asked().into_iter();
        let copies = asked.filter(|it| it.headers.contains_key("x-amz-copy-source"));
        copies.count()
    };
    let never = s3(&fake, &[("touch_refresh", "8760000h")]).unwrap();
    never.put(&layer).await.unwrap();
    assert!(never.has(&described(&layer)).await.unwrap());
    assert_eq!(copies(), 0);
    let daily = s3(&fake, &[]).unwrap();
    assert!(daily.has(&described(&layer)).await.unwrap());
    assert_eq!(copies(), 1);
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_broke_off() {
    let kept = Kept::default();
    let (_file, layer) = layer(100_000);
    let fake = {
        let kept = Arc::clone(&kept);
        Fake::serve(move |asked| {
            let reply = s3_answer(asked, &kept);
            match asked.headers.contains_key("range") || asked.method != "GET" {
                true => reply,
                false => reply.cut(60_000),
            }
        })
        .await
    };
    let objects = s3(&fake, &[]).unwrap();
    objects.put(&layer).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let content = ContentStore::open(folder.path(), &Limits::default()).unwrap();
    let fetched = InObjects(Arc::new(objects))
        .fetch(&content, &described(&layer))
        .await;
    fetched.unwrap();
    assert!(content.contains(&layer.digest));
    let gets = fake.asked().into_iter().filter(|it| it.method == "GET");
    assert_eq!(gets.count(), 2);
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let asked = Mutex::new(0);
    let fake = Fake::serve(move |_| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            1 => Reply::new(503),
            2 => Reply::new(200).body("{}"),
            _ => Reply::new(403)
                .body("<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"),
        }
    })
    .await;
    let objects = s3(&fake, &[]).unwrap();
    assert_eq!(objects.documents().await.unwrap(), ["{}"]);
    let failure = objects.documents().await.unwrap_err();
    assert!(failure.message.contains("not you"), "{failure}");
    assert!(!failure.message.contains("CANARY"), "{failure}");
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn a_success_of_s3_that_tells_of_a_failure_is_one() {
    let fake = Fake::serve(|_| {
        Reply::new(200).body("<Error><Code>X</Code><Message>the disk is full</Message></Error>")
    })
    .await;
    let failure = s3(&fake, &[]).unwrap().put_document("{}".into()).await;
    assert_eq!(failure.unwrap_err().message, "the disk is full");
}

#[tokio::test]
async fn attributes_of_s3_that_cannot_be_are_refused() {
    let fake = Fake::serve(|_| Reply::new(404)).await;
    for (key, text, words) in [
        ("bucket", "", "bucket ($AWS_BUCKET) not set"),
        ("upload_parallelism", "0", "must be a positive integer"),
        ("retry_max_attempts", "x", "must be a positive integer"),
        ("retry_mode", "hope", "retry_mode must be"),
        ("name", "../../other", "cannot be kept as"),
        ("endpoint_url", "file:///etc", "no address of HTTP"),
    ] {
        let failure = s3(&fake, &[(key, text)]).err().expect(key);
        assert!(failure.message.contains(words), "{key}: {failure}");
    }
    assert!(fake.asked().is_empty());
}

fn azure_answer(asked: &Asked, kept: &Kept, account: bool) -> Reply {
    assert_eq!(asked.headers.contains_key("authorization"), account);
    let (path, rest) = path(asked);
    let mut objects = kept.lock().unwrap();
    let of_container = rest.contains("restype=container");
    let block = |id: &str| format!("{path}#{id}");
    match (asked.method.as_str(), query(asked, "comp")) {
        ("GET", _) if of_container => match objects.contains_key(path) {
            true => Reply::new(200),
            false => Reply::new(404).header("x-ms-error-code", "ContainerNotFound"),
        },
        ("PUT", _) if of_container => {
            objects.insert(path.to_owned(), Vec::new());
            Reply::new(201)
        }
        ("GET", _) => {
            drop(objects);
            got(asked, kept, "x-ms-range")
        }
        ("HEAD", _) => Reply::new(if objects.contains_key(path) { 200 } else { 404 }),
        ("PUT", Some("block")) => {
            let id = query(asked, "blockid").unwrap().replace("%3D", "=");
            objects.insert(block(&id), asked.body.clone());
            Reply::new(201)
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8(asked.body.clone()).unwrap();
            let ids = list.split("<Latest>").skip(1);
            let whole = ids.flat_map(|it| objects[&block(it.split_once('<').unwrap().0)].clone());
            let whole: Vec<u8> = whole.collect();
            objects.insert(path.to_owned(), whole);
            Reply::new(201)
        }
        ("PUT", None) => {
            assert_eq!(asked.headers["x-ms-blob-type"], "BlockBlob");
            let is_new = asked.headers.contains_key("if-none-match");
            if is_new && objects.contains_key(path) {
                return Reply::new(409).header("x-ms-error-code", "BlobAlreadyExists");
            }
            objects.insert(path.to_owned(), asked.body.clone());
            Reply::new(201)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cache_in_azure_is_read_as_it_was_written() {
    for size in [5, (65 << 20) + 7] {
        let kept = Kept::default();
        let fake = {
            let kept = Arc::clone(&kept);
            Fake::serve(move |asked| azure_answer(asked, &kept, true)).await
        };
        let all = attributes(&[
            ("account_url", &fake.url("/account/")),
            ("account_name", "account"),
            ("secret_access_key", "Q0FOQVJZ"),
            ("prefix", "/p/"),
        ]);
        let (_file, layer) = layer(size);
        let objects = Azblob::read(&given(&all), quick().retry).unwrap();
        objects.put(&layer).await.unwrap();
        objects.put(&layer).await.unwrap();
        kept.lock().unwrap().clear();
        round_trip(Arc::new(objects), &layer).await;
        let keys: Vec<String> = kept.lock().unwrap().keys().cloned().collect();
        let document = "/account/buildkit-cache/p/manifests/buildkit".to_owned();
        assert!(keys.contains(&document), "{keys:?}");
    }
}

/// The service behind `actions/cache` and the store that it names.
fn github_answer(asked: &Asked, kept: &Kept, entries: &Mutex<Vec<String>>, own: &str) -> Reply {
    let Some(method) = asked
        .target
        .strip_prefix("/x/twirp/github.actions.results.api.v1.CacheService/")
    else {
        return azure_answer(asked, kept, false);
    };
    assert!(asked.headers["authorization"].starts_with("Bearer e30."));
    let said: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    let key = said["key"].as_str().unwrap();
    let url = |key: &str| format!("http://{own}/store/{}?sig=s", key.replace('#', "-"));
    let mut entries = entries.lock().unwrap();
    let answer = match method {
        "CreateCacheEntry" if entries.iter().any(|it| it.trim_start_matches('?') == key) => {
            return Reply::new(409).body(r#"{"code":"already_exists","msg":"it is there"}"#);
        }
        "CreateCacheEntry" => {
            entries.push(format!("?{key}"));
            serde_json::json!({ "ok": true, "signed_upload_url": url(key) })
        }
        "FinalizeCacheEntryUpload" => {
            let open = format!("?{key}");
            let entry = entries.iter_mut().find(|it| **it == open).unwrap();
            key.clone_into(entry);
            serde_json::json!({ "ok": true, "entry_id": "1" })
        }
        "GetCacheEntryDownloadURL" => match entries.iter().rev().find(|it| it.starts_with(key)) {
            Some(found) => serde_json::json!({
                "ok": true, "signed_download_url": url(found), "matched_key": found,
            }),
            None => serde_json::json!({ "ok": false }),
        },
        other => panic!("{other}"),
    };
    Reply::new(200).body(answer.to_string())
}

fn github(fake: &Fake) -> Gha {
    let access = r#"[{"Scope":"refs/heads/main","Permission":3}]"#;
    let claims = serde_json::json!({ "ac": access, "exp": 4_000_000_000_u64 });
    let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let all = attributes(&[("url_v2", &fake.url("/x/")), ("token", &token)]);
    let mut objects = Gha::read(&given(&all), quick().retry, jiff::Timestamp::now()).unwrap();
    objects.pause = Duration::from_millis(1);
    objects
}

#[tokio::test]
async fn a_cache_of_github_actions_is_read_as_it_was_written() {
    let kept = Kept::default();
    let entries = Arc::new(Mutex::new(Vec::new()));
    let address = Arc::new(Mutex::new(String::new()));
    let fake = {
        let (entries, address) = (Arc::clone(&entries), Arc::clone(&address));
        Fake::serve(move |asked| {
            let own = address.lock().unwrap().clone();
            github_answer(asked, &kept, &entries, &own)
        })
        .await
    };
    fake.address.clone_into(&mut address.lock().unwrap());
    let (_file, layer) = layer(5);
    round_trip(Arc::new(github(&fake)), &layer).await;
    let index = |number: u32| {
        let branch = &Digest::sha256_of("refs/heads/main").hex()[..8].to_owned();
        format!("index-buildkit-1-{branch}#{number}")
    };
    let blob = format!("buildkit-blob-1-{}", layer.digest);
    assert_eq!(*entries.lock().unwrap(), [blob, index(1), index(2)]);
    // Somebody took the next number and never came back.
    entries.lock().unwrap().push(format!("?{}", index(3)));
    let objects = github(&fake);
    objects
        .put_document("{\"layers\":[]}".into())
        .await
        .unwrap();
    assert_eq!(entries.lock().unwrap().last(), Some(&index(4)));
    assert_eq!(objects.documents().await.unwrap(), ["{\"layers\":[]}"]);
}
