//! Graphs as text that draws them.

use std::collections::HashMap;
use std::fmt::Write as _;

/// One op.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its digest.
    pub(super) id: String,
    /// What the client calls it.
    pub(super) name: Option<String>,
    /// What it does.
    pub(super) label: String,
    /// How it is drawn.
    pub(super) shape: Shape,
}

/// One op reads another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    /// What is read.
    pub(super) from: String,
    /// What reads.
    pub(super) to: String,
    /// Where it is mounted.
    pub(super) label: String,
}

/// How buildctl draws each kind of op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Ellipse,
    Box,
    Box3d,
    InvTriangle,
    DoubleCircle,
    Note,
    Plaintext,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Ellipse => "ellipse",
            Self::Box => "box",
            Self::Box3d => "box3d",
            Self::InvTriangle => "invtriangle",
            Self::DoubleCircle => "doublecircle",
            Self::Note => "note",
            Self::Plaintext => "plaintext",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ellipse => "#dbeafe",
            Self::Box | Self::Box3d => "#fde68a",
            Self::InvTriangle | Self::DoubleCircle => "#e9d5ff",
            Self::Note => "#dcfce7",
            Self::Plaintext => "#ffffff",
        }
    }
}

/// The graph in graphviz's language.
pub(super) fn dot(nodes: &[Node], edges: &[Edge]) -> String {
    let mut out = String::from("digraph {\n");
    let mut line = |text: String| {
        out.push_str("  ");
        out.push_str(&text);
        out.push_str(";\n");
    };
    for node in nodes {
        let (id, label) = (quoted(&node.id), quoted(&node.label));
        line(format!(
            "{id} [label={label} shape=\"{}\"]",
            node.shape.name()
        ));
    }
    for edge in edges {
        let (from, to, label) = (quoted(&edge.from), quoted(&edge.to), quoted(&edge.label));
        line(format!("{from} -> {to} [label={label}]"));
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

/// Characters that a line of a box holds.
const CHARACTERS: usize = 44;

// Units of the picture.
const WIDTH: usize = 300;
const HEIGHT: usize = 44;
const GAP: usize = 30;
const LAYER: usize = 96;
const MARGIN: usize = 20;

/// Times that the order in each layer is made better.
const PASSES: usize = 8;

/// The graph as a picture: what is read above what reads it, each op one layer below the lowest that it reads.
pub(super) fn svg(nodes: &[Node], edges: &[Edge]) -> String {
    let index: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.id.as_str(), at))
        .collect();
    let drawn: Vec<(usize, usize, &str)> = edges
        .iter()
        .filter_map(|edge| {
            let from = index.get(edge.from.as_str())?;
            Some((*from, *index.get(edge.to.as_str())?, edge.label.as_str()))
        })
        .collect();
    let layers = layers(nodes.len(), &drawn);
    let places = places(&layers, nodes.len());
    let widest = layers.iter().map(Vec::len).max().unwrap_or(0);
    let width = 2 * MARGIN + widest * WIDTH + widest.saturating_sub(1) * GAP;
    let height = 2 * MARGIN + layers.len().saturating_sub(1) * LAYER + HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    out.push_str(
        "<defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
    );
    for (from, to, label) in &drawn {
        draw_edge(&mut out, places[*from], places[*to], label);
    }
    for (node, place) in nodes.iter().zip(&places) {
        draw_node(&mut out, node, *place);
    }
    out.push_str("</svg>\n");
    out
}

/// Ops by layer, those of a layer in an order with few crossings.
fn layers(count: usize, edges: &[(usize, usize, &str)]) -> Vec<Vec<usize>> {
    let mut depth = vec![0; count];
    // A definition lists what is read before what reads it; one that does not gets there in a few rounds.
    for _ in 0..count {
        let mut settled = true;
        for (from, to, _) in edges {
            if depth[*to] <= depth[*from] && depth[*from] < count {
                depth[*to] = depth[*from] + 1;
                settled = false;
            }
        }
        if settled {
            break;
        }
    }
    let deepest = depth.iter().max().map_or(0, |deepest| deepest + 1);
    let mut layers = vec![Vec::new(); deepest];
    for (node, depth) in depth.iter().enumerate() {
        layers[*depth].push(node);
    }
    layers.retain(|layer: &Vec<usize>| !layer.is_empty());
    let (mut above, mut below) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for (from, to, _) in edges {
        above[*to].push(*from);
        below[*from].push(*to);
    }
    for pass in 0..PASSES {
        let mut position = vec![0.0; count];
        for layer in &layers {
            spread(layer, &mut position);
        }
        let neighbours = if pass % 2 == 0 { &above } else { &below };
        let mut order: Vec<usize> = (0..layers.len()).collect();
        if pass % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let middle = |node: &usize| {
                let all = &neighbours[*node];
                match all.len() {
                    0 => position[*node],
                    // Far below 2^52 ops.
                    count => all.iter().map(|n| position[*n]).sum::<f64>() / exact(count),
                }
            };
            let mut keyed: Vec<(f64, usize)> = layers[at]
                .iter()
                .map(|node| (middle(node), *node))
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            layers[at] = keyed.into_iter().map(|(_, node)| node).collect();
            spread(&layers[at], &mut position);
        }
    }
    layers
}

/// Positions from 0 to 1 across a layer.
fn spread(layer: &[usize], position: &mut [f64]) {
    for (at, node) in layer.iter().enumerate() {
        position[*node] = (exact(at) + 0.5) / exact(layer.len());
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of ops are far below 2^52"
)]
fn exact(count: usize) -> f64 {
    count as f64
}

/// Where the upper left corner of each op is.
fn places(layers: &[Vec<usize>], count: usize) -> Vec<(usize, usize)> {
    let widest = layers.iter().map(Vec::len).max().unwrap_or(0);
    let mut places = vec![(0, 0); count];
    for (row, layer) in layers.iter().enumerate() {
        let free = (widest - layer.len()) * (WIDTH + GAP) / 2;
        for (column, node) in layer.iter().enumerate() {
            let x = MARGIN + free + column * (WIDTH + GAP);
            places[*node] = (x, MARGIN + row * LAYER);
        }
    }
    places
}

fn draw_edge(out: &mut String, from: (usize, usize), to: (usize, usize), label: &str) {
    let (x1, y1) = (from.0 + WIDTH / 2, from.1 + HEIGHT);
    let (x2, y2) = (to.0 + WIDTH / 2, to.1);
    let bend = LAYER / 2;
    let (a, b) = (y1 + bend, y2.saturating_sub(bend));
    // Writing to a text cannot fail.
    let _ = writeln!(
        out,
        "<path class=\"edge\" d=\"M{x1} {y1}C{x1} {a} {x2} {b} {x2} {y2}\" fill=\"none\" stroke=\"#64748b\" \
         marker-end=\"url(#end)\"/>"
    );
    if !label.is_empty() {
        let (x, y) = (x2 + 6, y2.saturating_sub(10));
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{y}\" fill=\"#475569\" font-size=\"10\">{}</text>",
            escaped(&cut(label))
        );
    }
}

fn draw_node(out: &mut String, node: &Node, (x, y): (usize, usize)) {
    let colour = node.shape.colour();
    let round = if node.shape == Shape::Ellipse {
        HEIGHT / 2
    } else {
        4
    };
    let lines: Vec<&str> = match &node.name {
        Some(name) => vec![name, &node.label],
        None => vec![&node.label],
    };
    let whole = escaped(&format!("{}\n{}", lines.join("\n"), node.id));
    // Writing to a text cannot fail.
    let _ = writeln!(
        out,
        "<g class=\"op\"><title>{whole}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         rx=\"{round}\" fill=\"{colour}\" stroke=\"#334155\"/>"
    );
    let first = y + if lines.len() == 1 { 27 } else { 18 };
    for (row, line) in lines.iter().enumerate() {
        let (x, y) = (x + WIDTH / 2, first + 16 * row);
        let text = escaped(&cut(line));
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"
        );
    }
    out.push_str("</g>\n");
}

fn cut(text: &str) -> String {
    let text = text.replace(['\n', '\t'], " ");
    if text.chars().count() <= CHARACTERS {
        return text;
    }
    text.chars().take(CHARACTERS - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no place for most control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_op_is_below_what_it_reads_and_order_avoids_crossings() {
        // Two chains that were listed crosswise.
        let edges = [(0, 3, ""), (1, 2, ""), (3, 4, ""), (2, 5, "")];
        let layers = layers(6, &edges);
        assert_eq!(layers.len(), 3);
        let at = |node: usize| {
            layers
                .iter()
                .position(|layer| layer.contains(&node))
                .unwrap()
        };
        assert!(edges.iter().all(|(from, to, _)| at(*from) < at(*to)));
        let column = |node: usize| layers[at(node)].iter().position(|n| *n == node).unwrap();
        assert_eq!(column(0), column(3));
        assert_eq!(column(3), column(4));
    }

    #[test]
    fn a_circle_is_drawn_and_does_not_hang() {
        assert!(!layers(2, &[(0, 1, ""), (1, 0, "")]).is_empty());
        assert_eq!(svg(&[], &[]).matches("<g").count(), 0);
    }
}
