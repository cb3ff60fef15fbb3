use cooper_core::model::ResultId;

use super::stop::Stop;
use crate::snapshot::{Snapshots, Writer};

/// What a container's run leaves: states to keep and states to throw away.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    kept: Vec<(i64, usize, OutputSource)>,
    thrown_away: Vec<(usize, Writer)>,
}

#[derive(Debug)]
pub(super) enum OutputSource {
    /// What was written becomes the output.
    Writer(Writer),
    /// A mount that could not be written: the output is its input.
    Input(ResultId),
}

impl Outputs {
    /// An output that is the state of the op's mount at a position.
    pub(super) fn add(&mut self, index: i64, mount: usize, source: OutputSource) {
        self.kept.push((index, mount, source));
    }

    /// A mount whose changes nobody wants.
    pub(super) fn throw_away(&mut self, mount: usize, writer: Writer) {
        self.thrown_away.push((mount, writer));
    }

    /// Keeps the states of an op that failed, for who wants to look around in them: by the positions of their mounts,
    /// each pinned once. What cannot be kept is left out.
    pub(super) fn keep(self, snapshots: &Snapshots, description: &str) -> Vec<(usize, ResultId)> {
        let kept = self.kept.into_iter().filter_map(|(_, mount, it)| match it {
            OutputSource::Writer(writer) => Some((mount, writer)),
            OutputSource::Input(_) => None,
        });
        let mut states = Vec::new();
        for (mount, writer) in kept.chain(self.thrown_away) {
            match writer.commit(description) {
                Ok(state) if state.is_scratch() => snapshots.meta().pins().unpin(&state),
                Ok(state) => states.push((mount, state)),
                Err(error) => tracing::warn!(%error, "a failed step's state is not kept"),
            }
        }
        states
    }

    /// Keeps the states, in the order of their indexes, each pinned once.
    pub(super) fn commit(
        mut self,
        snapshots: &Snapshots,
        description: &str,
    ) -> Result<Vec<ResultId>, Stop> {
        self.kept.sort_by_key(|(index, ..)| *index);
        let mut results: Vec<ResultId> = Vec::new();
        for (_, _, source) in self.kept {
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
        for (_, writer) in self.thrown_away {
            writer.abandon()?;
        }
        Ok(results)
    }

    /// Throws everything away; what cannot be removed now is at the next start.
    pub(super) fn abandon(self) {
        for (_, _, source) in self.kept {
            if let OutputSource::Writer(writer) = source {
                drop(writer);
            }
        }
    }
}
