//! `text/tabwriter` with blanks: columns as wide as their widest cell.

/// Rows of cells as text. Each cell but a row's last is filled up to its column's width and `gap` more blanks.
pub(crate) fn table<'a>(rows: impl IntoIterator<Item = Vec<&'a str>>, gap: usize) -> String {
    let rows: Vec<Vec<&str>> = rows.into_iter().collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = cell.chars().count() + gap;
            match widths.get_mut(at) {
                Some(known) => *known = (*known).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                let blanks = widths[at].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        out.push('\n');
    }
    out
}
