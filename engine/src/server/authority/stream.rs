use std::io;
use std::task::{Context, Poll};

use super::frames::Frames;
use crate::server::watched::Watch;

/// Makes the `:authority` of a connection's requests acceptable.
#[derive(Debug, Default)]
pub(in crate::server) struct AcceptableAuthority(Frames);

impl Watch for AcceptableAuthority {
    fn came(
        &mut self,
        bytes: &mut [u8],
        read: Poll<io::Result<()>>,
        _context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.clean(bytes);
        read
    }
}
