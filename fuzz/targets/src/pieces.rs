/// The pieces of an input: each one's length in one byte and a half, then its bytes.
pub(crate) fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let ([low, high], after) = rest.split_first_chunk::<2>()?;
        let length = (usize::from(*high) & 0xf) << 8 | usize::from(*low);
        let (piece, after) = after.split_at(length.min(after.len()));
        rest = after;
        Some(piece)
    })
}
