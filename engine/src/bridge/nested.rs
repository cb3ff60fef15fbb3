//! Definitions in files, which build ops read.

use std::sync::Arc;

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind, ResultId};
use cooper_core::policy::Rules;
use cooper_core::ports::ReadFileRequest;
use cooper_proto::pb;
use prost::Message;

use super::BuildBridge;
use crate::driver::{Asker, Nest, Nested};

/// The input that the definition is in, and the file's name unless the op says another.
const DEFINITION: &str = "buildkit.llb.definition";
/// The attribute that says another.
const FILE_NAME: &str = "llbbuild.filename";

#[async_trait]
impl Nest for BuildBridge {
    async fn nested(
        &self,
        op: &pb::BuildOp,
        inputs: &[ResultId],
        asker: Asker,
    ) -> Result<ResultId, Failure> {
        let name = op.attrs.get(FILE_NAME).map_or(DEFINITION, String::as_str);
        let definition = read(self, op, inputs, name).await?;
        let admitted = self.admit(definition, &Rules::default()).await;
        let (_, graph) = admitted.map_err(|failure| of_file(name, failure))?;
        let Some(edge) = graph.target.clone() else {
            return Ok(ResultId::scratch());
        };
        let nested = Nested {
            asker,
            limit: self.parts().limits.nested_definitions,
        };
        let driver = &self.parts().driver;
        driver
            .want_nested(&self.job().id, Arc::new(graph), edge, nested)
            .await
    }
}

async fn read(
    bridge: &BuildBridge,
    op: &pb::BuildOp,
    inputs: &[ResultId],
    name: &str,
) -> Result<pb::Definition, Failure> {
    let input = op.inputs.get(DEFINITION).map(|input| input.input);
    let result = input
        .and_then(|input| inputs.get(usize::try_from(input).ok()?))
        .ok_or_else(|| {
            let words = format!("a build op has no input {DEFINITION}");
            Failure::new(FailureKind::InvalidInput, words)
        })?;
    let request = ReadFileRequest {
        result: result.clone(),
        path: name.to_owned(),
        range: None,
        sessions: bridge.sessions(),
    };
    let bytes = bridge.parts().files.read_file(request).await;
    let bytes = bytes.map_err(|failure| of_file(name, failure))?;
    pb::Definition::decode(bytes).map_err(|error| {
        let words = format!("the definition in {name} cannot be read: {error}");
        Failure::new(FailureKind::InvalidInput, words)
            .with_hint("a build op wants a file with an encoded definition (pb.Definition), as clients send it")
    })
}

/// A failure with the file that it is about.
fn of_file(name: &str, mut failure: Failure) -> Failure {
    failure.message = format!("the definition in {name}: {}", failure.message);
    failure
}
