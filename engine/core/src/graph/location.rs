//! Places in the build's source, from a definition's source map.

use std::sync::Arc;

use cooper_proto::pb;

use super::GraphError;
use crate::model::{SourceFile, SourceLocation, SourceRange};

/// The files and places of one definition.
pub(super) struct SourceMap<'a> {
    files: Vec<Arc<SourceFile>>,
    source: Option<&'a pb::Source>,
}

impl<'a> SourceMap<'a> {
    pub(super) fn of(source: Option<&'a pb::Source>) -> Self {
        let infos = source.map_or(&[][..], |source| &source.infos);
        let files = infos.iter().map(|info| {
            Arc::new(SourceFile {
                name: info.filename.clone(),
                language: info.language.clone(),
                text: String::from_utf8_lossy(&info.data).into_owned(),
                definition: info.definition.clone().map(Arc::new),
            })
        });
        Self {
            files: files.collect(),
            source,
        }
    }

    /// The places that made an op.
    pub(super) fn places(&self, vertex: &str) -> Result<Vec<SourceLocation>, GraphError> {
        let Some(locations) = self.source.and_then(|source| source.locations.get(vertex)) else {
            return Ok(Vec::new());
        };
        let wrong = |reason| GraphError::SourceMap {
            vertex: vertex.to_owned(),
            reason,
        };
        let place = |location: &pb::Location| {
            let file = usize::try_from(location.source_index)
                .ok()
                .and_then(|index| self.files.get(index))
                .ok_or_else(|| wrong("it names a file that is not there"))?;
            let ranges = location.ranges.iter().map(|range| {
                range_of(range).ok_or_else(|| wrong("a range has no start, or a negative place"))
            });
            Ok(SourceLocation {
                file: Arc::clone(file),
                ranges: ranges.collect::<Result<_, _>>()?,
            })
        };
        locations.locations.iter().map(place).collect()
    }
}

fn range_of(range: &pb::Range) -> Option<SourceRange> {
    let start = range.start.as_ref()?;
    // A range without an end is a place.
    let end = range.end.as_ref().unwrap_or(start);
    Some(SourceRange {
        start_line: u32::try_from(start.line).ok()?,
        start_character: u32::try_from(start.character).ok()?,
        end_line: u32::try_from(end.line).ok()?,
        end_character: u32::try_from(end.character).ok()?,
    })
}
