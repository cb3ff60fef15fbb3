use cooper_core::model::ResultId;

use super::stop::Stop;
use crate::snapshot::{Snapshots, Writer};

/// What a container's run leaves: states to keep and states to throw away.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    kept: Vec<(i64, OutputSource)>,
    thrown_away: Vec<Writer>,
}

#[derive(Debug)]
pub(super) enum OutputSource {
    /// What was written becomes the output.
    Writer(Writer),
    /// A mount that could not be written: the output is its input.
    Input(ResultId),
}

impl Outputs {
    pub(super) fn add(&mut self, index: i64, source: OutputSource) {
        self.kept.push((index, source));
    }

    pub(super) fn throw_away(&mut self, writer: Writer) {
        self.thrown_away.push(writer);
    }

    /// Keeps the states, in the order of their indexes, each pinned once.
    pub(super) fn commit(
        mut self,
        snapshots: &Snapshots,
        description: &str,
    ) -> Result<Vec<ResultId>, Stop> {
        self.kept.sort_by_key(|(index, _)| *index);
        let mut results: Vec<ResultId> = Vec::new();
        for (_, source) in self.kept {
            let committed = match source {
                OutputSource::Writer(writer) => writer.commit(description),
                OutputSource::Input(input) => {
                    snapshots.meta().pins().pin(&input);
                    Ok(input)
                }
            };
            match committed {
                Ok(result) => results.push(result),
                Err(error) => {
                    for result in &results {
                        snapshots.meta().pins().unpin(result);
                    }
                    return Err(error.into());
                }
            }
        }
        for writer in self.thrown_away {
            writer.abandon()?;
        }
        Ok(results)
    }

    /// Throws everything away; what cannot be removed now is at the next start.
    pub(super) fn abandon(self) {
        for (_, source) in self.kept {
            if let OutputSource::Writer(writer) = source {
                drop(writer);
            }
        }
    }
}
