use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_core::cachekey::op_json;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, pb};
use prost::Message;
use serde_json::{Map, Value, json};

use super::predicate::Object;

/// The ops of a definition as provenance lists them, and the file that they were written in.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    /// Numbers of the steps by their digests.
    numbers: BTreeMap<Digest, usize>,
    list: Vec<Value>,
    /// The files and which lines of them made which step; null when the definition has none.
    pub(super) source: Value,
}

impl Steps {
    /// Lists the ops of a definition, inputs first.
    ///
    /// # Errors
    /// `Internal` for a definition that is none; those that were built are.
    pub(super) fn of(definition: &pb::Definition) -> Result<Self, Failure> {
        let mut steps = Self::listed(definition)?;
        if let Some(source) = &definition.source {
            steps.source = steps.located(source)?;
        }
        Ok(steps)
    }

    fn listed(definition: &pb::Definition) -> Result<Self, Failure> {
        let mut ops = BTreeMap::new();
        let mut last = None;
        for bytes in &definition.def {
            let digest = Digest::sha256_of(bytes);
            let op = pb::Op::decode(bytes.as_slice());
            let op = op.map_err(|error| broken(&error.to_string()))?;
            ops.insert(digest.clone(), op);
            last = Some(digest);
        }
        let order = order(&ops, last)?;
        let places = order.iter().cloned().zip(0..);
        let mut steps = Self {
            numbers: places.collect(),
            list: Vec::with_capacity(order.len()),
            source: Value::Null,
        };
        for (number, digest) in order.iter().enumerate() {
            let step = steps.step(number, &ops[digest])?;
            steps.list.push(step);
        }
        Ok(steps)
    }

    fn step(&self, number: usize, op: &pb::Op) -> Result<Value, Failure> {
        let inputs = op.inputs.iter().map(|input| {
            let digest = input.digest.parse::<Digest>().ok();
            let number = digest.and_then(|digest| self.numbers.get(&digest));
            let number = number.ok_or_else(|| broken("an input is missing"))?;
            Ok(json!(format!("step{number}:{}", input.index)))
        });
        let inputs = inputs.collect::<Result<Vec<_>, Failure>>()?;
        let mut shown = op.clone();
        shown.inputs.clear();
        if let Some(pb::op::Op::Source(source)) = &mut shown.op {
            // They say who built, not what.
            source.attrs.remove("local.session");
            source.attrs.remove("local.unique");
        }
        let op: Value =
            serde_json::from_str(&op_json(&shown)).map_err(|error| broken(&error.to_string()))?;
        Ok(Object::default()
            .set("id", format!("step{number}"))
            .set("op", op)
            .unless_empty("inputs", inputs)
            .done())
    }

    /// The steps and their digests.
    pub(super) fn config(&self) -> Value {
        Object::default()
            .unless_empty("llbDefinition", self.list.clone())
            .unless_empty("digestMapping", self.mapping())
            .done()
    }

    /// What an output is called.
    pub(super) fn name(&self, vertex: &Digest, output: u32) -> Option<String> {
        let number = self.numbers.get(vertex)?;
        Some(format!("step{number}:{output}"))
    }

    fn mapping(&self) -> Map<String, Value> {
        let numbers = self.numbers.iter();
        numbers
            .map(|(digest, number)| (digest.to_string(), json!(format!("step{number}"))))
            .collect()
    }

    fn located(&self, source: &pb::Source) -> Result<Value, Failure> {
        if source.infos.is_empty() {
            return Ok(Value::Null);
        }
        let mut locations = BTreeMap::new();
        for (digest, found) in &source.locations {
            let digest = digest.parse::<Digest>().ok();
            if let Some(number) = digest.and_then(|digest| self.numbers.get(&digest)) {
                locations.insert(format!("step{number}"), places(found));
            }
        }
        let infos = source.infos.iter().map(info);
        let infos = infos.collect::<Result<Vec<_>, _>>()?;
        Ok(Object::default()
            .unless_empty("locations", locations.into_iter().collect::<Map<_, _>>())
            .unless_empty("infos", infos)
            .done())
    }
}

fn info(info: &pb::SourceInfo) -> Result<Value, Failure> {
    let steps = info.definition.as_ref().map(Steps::listed).transpose()?;
    let list = steps.as_ref().map(|it| it.list.clone());
    let mapping = steps.as_ref().map(Steps::mapping);
    Ok(Object::default()
        .unless_empty("filename", info.filename.as_str())
        .unless_empty("language", info.language.as_str())
        .unless_empty("data", STANDARD.encode(&info.data))
        .unless_empty("llbDefinition", list.unwrap_or_default())
        .unless_empty("digestMapping", mapping.unwrap_or_default())
        .done())
}

fn places(found: &pb::Locations) -> Value {
    let position = |position: Option<&pb::Position>| {
        let position = position.copied().unwrap_or_default();
        Object::default()
            .unless_empty("line", number(position.line))
            .unless_empty("character", number(position.character))
            .done()
    };
    let range = |range: &pb::Range| json!({"start": position(range.start.as_ref()), "end": position(range.end.as_ref())});
    let location = |location: &pb::Location| {
        let ranges: Vec<_> = location.ranges.iter().map(range).collect();
        Object::default()
            .unless_empty("sourceIndex", number(location.source_index))
            .unless_empty("ranges", ranges)
            .done()
    };
    let locations: Vec<_> = found.locations.iter().map(location).collect();
    Object::default()
        .unless_empty("locations", locations)
        .done()
}

/// Nothing for zero, as Go leaves it out.
fn number(number: i32) -> Value {
    match number {
        0 => Value::Null,
        number => json!(number),
    }
}

/// Inputs before who uses them, depth first from the end, without recursion.
fn order(ops: &BTreeMap<Digest, pb::Op>, last: Option<Digest>) -> Result<Vec<Digest>, Failure> {
    let mut order = Vec::with_capacity(ops.len());
    let mut seen = std::collections::BTreeSet::new();
    let inputs = |digest: &Digest| {
        let op = ops.get(digest).ok_or_else(|| broken("an op is missing"))?;
        let inputs = op.inputs.iter().map(|input| input.digest.parse::<Digest>());
        let inputs = inputs.collect::<Result<Vec<_>, _>>();
        inputs.map_err(|error| broken(&error.to_string()))
    };
    let mut stack = Vec::new();
    if let Some(last) = last {
        stack.push((last.clone(), inputs(&last)?.into_iter()));
        seen.insert(last);
    }
    while let Some((digest, open)) = stack.last_mut() {
        match open.next() {
            Some(input) if !seen.insert(input.clone()) => {}
            Some(input) => {
                let inputs = inputs(&input)?.into_iter();
                stack.push((input, inputs));
            }
            None => {
                order.push(digest.clone());
                stack.pop();
            }
        }
    }
    Ok(order)
}

fn broken(what: &str) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("a definition cannot be listed: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_inputs_first_and_say_where_they_were_written() {
        let source = pb::Op {
            op: Some(pb::op::Op::Source(pb::SourceOp {
                identifier: "local://context".into(),
                attrs: [
                    ("local.session".to_owned(), "CANARY".to_owned()),
                    ("local.differ".to_owned(), "none".to_owned()),
                ]
                .into(),
            })),
            ..pb::Op::default()
        }
        .encode_to_vec();
        let digest = Digest::sha256_of(&source);
        let end = pb::Op {
            inputs: vec![pb::Input {
                digest: digest.to_string(),
                index: 0,
            }],
            ..pb::Op::default()
        }
        .encode_to_vec();
        let at = pb::Position {
            line: 2,
            character: 0,
        };
        let location = pb::Location {
            source_index: 0,
            ranges: vec![pb::Range {
                start: Some(at),
                end: Some(at),
            }],
        };
        let definition = pb::Definition {
            def: vec![source, end],
            source: Some(pb::Source {
                infos: vec![pb::SourceInfo {
                    filename: "Dockerfile".into(),
                    data: b"FROM".to_vec(),
                    ..pb::SourceInfo::default()
                }],
                locations: [(
                    digest.to_string(),
                    pb::Locations {
                        locations: vec![location],
                    },
                )]
                .into(),
            }),
            ..pb::Definition::default()
        };
        let steps = Steps::of(&definition).unwrap();
        let config = steps.config();
        assert_eq!(
            config["llbDefinition"],
            json!([
                {"id": "step0", "op": {"Op": {"source": {"identifier": "local://context", "attrs": {"local.differ": "none"}}}}},
                {"id": "step1", "op": {"Op": {}}, "inputs": ["step0:0"]},
            ])
        );
        assert_eq!(config["digestMapping"][digest.as_str()], "step0");
        assert_eq!(steps.name(&digest, 3).unwrap(), "step0:3");
        assert_eq!(
            steps.source,
            json!({
                "locations": {"step0": {"locations": [{"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}]}},
                "infos": [{"filename": "Dockerfile", "data": "RlJPTQ=="}],
            })
        );
    }

    #[test]
    fn the_empty_definition_has_no_steps() {
        let steps = Steps::of(&pb::Definition::default()).unwrap();
        assert_eq!(steps.config(), json!({}));
    }
}
