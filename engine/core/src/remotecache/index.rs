use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use cooper_proto::Digest;
use cooper_proto::cache_config::{CacheConfig, CacheRecord};

use super::chains::{content_digest, record_digest};
use super::origins::Origin;
use crate::model::CacheKeyId;
use crate::ports::{InputKey, KeyQuery, LookupAnswer};

/// How large a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLimits {
    /// Records.
    pub records: usize,
    /// Links between records, all together.
    pub links: usize,
    /// Layers.
    pub layers: usize,
    /// Layers of one result.
    pub depth: usize,
    /// Layers of all results together.
    pub chained: usize,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self {
            records: 100_000,
            links: 1_000_000,
            layers: 100_000,
            depth: 1_000,
            chained: 1_000_000,
        }
    }
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// More of something than the limits allow.
    #[error("the cache has {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are, or were counted until it was too much.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A position where nothing is.
    #[error("the cache has no {what} {position}")]
    NoSuch {
        /// What is referred to.
        what: &'static str,
        /// By which position.
        position: i64,
    },
    /// An input that nothing leads to.
    #[error("record {record} of the cache has an empty input")]
    EmptyInput {
        /// Whose input.
        record: usize,
    },
    /// A record or layer that stands on itself.
    #[error("the cache goes round in a circle at {what} {position}")]
    Loop {
        /// What does.
        what: &'static str,
        /// Where.
        position: usize,
    },
    /// A text that should be a digest.
    #[error("{text:?} in the cache is no digest")]
    NoDigest {
        /// The text.
        text: String,
    },
}

/// A result that a document tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedResult {
    /// Digests of its layers' blobs, the bottom one first.
    pub blobs: Vec<Digest>,
    /// When it was made, as the document says.
    pub created_at: String,
}

/// A document that was checked, to be asked for keys as a cache is.
///
/// # Shape
/// Its keys follow from digests and links alone: the same chain of ops has the same key in every document. They are
/// never keys of ours, so that a claim of a document can be told from what we know.
#[derive(Debug, Default)]
pub struct Imported {
    nodes: Vec<Node>,
    by_key: BTreeMap<CacheKeyId, usize>,
    roots: BTreeMap<Digest, usize>,
    /// (node, input's position, selector, record digest) to where it leads.
    links: BTreeMap<(usize, usize, Option<Digest>, Digest), BTreeSet<usize>>,
    known: BTreeSet<Digest>,
}

#[derive(Debug)]
struct Node {
    key: CacheKeyId,
    digest: Digest,
    /// For each input the nodes and selectors by which it may be known.
    inputs: Vec<BTreeSet<(usize, Option<Digest>)>>,
    results: Vec<ImportedResult>,
}

impl Imported {
    /// Checks a document and makes it ready to be asked.
    ///
    /// # Errors
    /// When anything in it does not hold; time and memory are in proportion to what the limits allow.
    pub fn new(config: &CacheConfig, limits: &IndexLimits) -> Result<Self, IndexError> {
        within("records", config.records.len(), limits.records)?;
        within("layers", config.layers.len(), limits.layers)?;
        let links = config.records.iter().flat_map(|record| &record.inputs);
        let links: usize = links.map(|input| input.len().max(1)).sum();
        within("links", links, limits.links)?;
        let order = order(config)?;
        let mut index = Self::default();
        let mut places = vec![None; config.records.len()];
        let mut chained = 0;
        for at in order {
            let record = &config.records[at];
            let results = results(config, record, limits)?;
            chained += results.iter().map(|it| it.blobs.len()).sum::<usize>();
            within("layers of results", chained, limits.chained)?;
            places[at] = index.add(record, results, &places)?;
        }
        Ok(index)
    }

    /// Adds a record whose inputs are there; `None` for one that can never be matched.
    fn add(
        &mut self,
        record: &CacheRecord,
        results: Vec<ImportedResult>,
        places: &[Option<usize>],
    ) -> Result<Option<usize>, IndexError> {
        if record.digest.starts_with("random:") {
            return Ok(None);
        }
        let digest = parse(&record.digest)?;
        let mut inputs = Vec::with_capacity(record.inputs.len());
        for alternatives in &record.inputs {
            let mut links = BTreeSet::new();
            for input in alternatives {
                let selector = match input.selector.as_str() {
                    "" => None,
                    text => Some(parse(text)?),
                };
                let place = usize::try_from(input.link)
                    .ok()
                    .and_then(|at| places.get(at));
                if let Some(Some(source)) = place {
                    links.insert((*source, selector));
                }
            }
            if links.is_empty() {
                return Ok(None);
            }
            inputs.push(links);
        }
        let key = self.key(&digest, &inputs);
        let place = *self.by_key.entry(key.clone()).or_insert(self.nodes.len());
        if place == self.nodes.len() {
            self.nodes.push(Node {
                key,
                digest: digest.clone(),
                inputs: inputs.clone(),
                results: Vec::new(),
            });
        }
        self.nodes[place].results.extend(results);
        self.known.insert(digest.clone());
        if inputs.is_empty() {
            self.roots.insert(digest.clone(), place);
        }
        for (position, links) in inputs.into_iter().enumerate() {
            for (source, selector) in links {
                let link = (source, position, selector, digest.clone());
                self.links.entry(link).or_default().insert(place);
            }
        }
        Ok(Some(place))
    }

    fn key(&self, digest: &Digest, inputs: &[BTreeSet<(usize, Option<Digest>)>]) -> CacheKeyId {
        let mut text = format!("imported {digest}");
        for links in inputs {
            text.push('\n');
            let named = links.iter().map(|(source, selector)| {
                let selector = selector.as_ref().map_or("", Digest::as_str);
                (self.nodes[*source].key.0.as_str(), selector)
            });
            for (key, selector) in named.collect::<BTreeSet<_>>() {
                // Writing to a text cannot fail.
                let _written = write!(text, "{key} {selector},");
            }
        }
        CacheKeyId(Digest::sha256_of(text))
    }

    /// Finds keys that match a query. Inputs are known by keys that this or a like document gave, and by contents.
    #[must_use]
    pub fn lookup(&self, query: &KeyQuery) -> LookupAnswer {
        let digest = record_digest(&query.op, query.output);
        let op_known = self.known.contains(&digest);
        if query.inputs.is_empty() {
            let root = self.roots.get(&digest);
            return LookupAnswer {
                imported: root
                    .map(|at| self.nodes[*at].key.clone())
                    .into_iter()
                    .collect(),
                op_known,
                ..LookupAnswer::default()
            };
        }
        let mut inputs_known = Vec::with_capacity(query.inputs.len());
        let mut common: Option<BTreeSet<usize>> = None;
        for (position, alternatives) in query.inputs.iter().enumerate() {
            let mut reached = BTreeSet::new();
            for input in alternatives {
                let of_content = || self.roots.get(&content_digest(&input.key.0));
                if let Some(node) = self.by_key.get(&input.key).or_else(of_content) {
                    let link = (*node, position, input.selector.clone(), digest.clone());
                    reached.extend(self.links.get(&link).into_iter().flatten());
                }
            }
            inputs_known.push(!reached.is_empty());
            common = Some(match common {
                Some(before) => &before & &reached,
                None => reached,
            });
        }
        let matched = common.unwrap_or_default();
        let keys: BTreeSet<_> = matched.iter().map(|at| &self.nodes[*at].key).collect();
        LookupAnswer {
            keys: Vec::new(),
            op_known,
            inputs_known,
            imported: keys.into_iter().cloned().collect(),
        }
    }

    /// The results under a key.
    #[must_use]
    pub fn results(&self, key: &CacheKeyId) -> &[ImportedResult] {
        let node = self.by_key.get(key).and_then(|at| self.nodes.get(*at));
        node.map_or(&[], |node| &node.results)
    }

    /// How a key is made, as the document says. `None` for a key that it does not have.
    #[must_use]
    pub fn origin(&self, key: &CacheKeyId) -> Option<Origin> {
        let node = self.nodes.get(*self.by_key.get(key)?)?;
        let inputs = node.inputs.iter().map(|links| {
            let named = links.iter().map(|(source, selector)| InputKey {
                key: self.nodes[*source].key.clone(),
                selector: selector.clone(),
            });
            named.collect()
        });
        Some(Origin {
            digest: node.digest.clone(),
            inputs: inputs.collect(),
        })
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<(), IndexError> {
    match count <= limit {
        true => Ok(()),
        false => Err(IndexError::TooMany { what, count, limit }),
    }
}

fn parse(text: &str) -> Result<Digest, IndexError> {
    text.parse().map_err(|_| IndexError::NoDigest {
        text: text.chars().take(100).collect(),
    })
}

/// The records' positions, inputs first.
fn order(config: &CacheConfig) -> Result<Vec<usize>, IndexError> {
    let count = config.records.len();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut missing = vec![0_usize; count];
    for (at, record) in config.records.iter().enumerate() {
        for input in &record.inputs {
            if input.is_empty() {
                return Err(IndexError::EmptyInput { record: at });
            }
            for link in input {
                let source = usize::try_from(link.link).ok().filter(|at| *at < count);
                let source = source.ok_or(IndexError::NoSuch {
                    what: "record",
                    position: link.link,
                })?;
                users[source].push(at);
                missing[at] += 1;
            }
        }
    }
    let mut ready: VecDeque<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(at) = ready.pop_front() {
        order.push(at);
        for user in &users[at] {
            missing[*user] -= 1;
            if missing[*user] == 0 {
                ready.push_back(*user);
            }
        }
    }
    match missing.iter().position(|missing| *missing > 0) {
        Some(position) => Err(IndexError::Loop {
            what: "record",
            position,
        }),
        None => Ok(order),
    }
}

fn results(
    config: &CacheConfig,
    record: &CacheRecord,
    limits: &IndexLimits,
) -> Result<Vec<ImportedResult>, IndexError> {
    let mut results = Vec::new();
    for result in &record.results {
        let mut blobs = Vec::new();
        let mut at = result.layer;
        while at != -1 {
            let (position, layer) = layer(config, at)?;
            if blobs.len() > config.layers.len() {
                return Err(IndexError::Loop {
                    what: "layer",
                    position,
                });
            }
            within("layers in one result", blobs.len() + 1, limits.depth)?;
            blobs.push(parse(&layer.blob)?);
            at = layer.parent;
        }
        blobs.reverse();
        let created_at = result.created_at.clone();
        results.push(ImportedResult { blobs, created_at });
    }
    for result in &record.chained_results {
        within("layers in one result", result.layers.len(), limits.depth)?;
        let blobs = result.layers.iter().map(|at| {
            let (_, layer) = layer(config, *at)?;
            parse(&layer.blob)
        });
        let blobs = blobs.collect::<Result<Vec<_>, _>>()?;
        let created_at = result.created_at.clone();
        results.push(ImportedResult { blobs, created_at });
    }
    results.retain(|result| !result.blobs.is_empty());
    Ok(results)
}

fn layer(
    config: &CacheConfig,
    position: i64,
) -> Result<(usize, &cooper_proto::cache_config::CacheLayer), IndexError> {
    let what = "layer";
    let place = usize::try_from(position).ok();
    let found = place.and_then(|at| Some((at, config.layers.get(at)?)));
    found.ok_or(IndexError::NoSuch { what, position })
}
