//! DOT, the language of Graphviz.

use std::fmt::Write;

use adyton_evidence::closure::{Closure, Edge};
use adyton_evidence::composition::{Composition, Domain};

use super::{CAPTION, lines, visible};

pub fn draw(composition: &Composition, closure: &Closure) -> String {
    let mut text =
        format!("digraph composition {{\n  label = \"{CAPTION}\";\n  node [shape = box];\n");
    for (index, domain) in composition.domains.iter().enumerate() {
        let label = lines(index, domain).join("\\n");
        let style = match domain {
            Domain::Opaque => ", style = dashed",
            Domain::Tenant(_) if index == 0 => ", penwidth = 2",
            Domain::Tenant(_) => "",
        };
        // Writing to memory does not fail.
        let _infallible = writeln!(text, "  d{index} [label = \"{label}\"{style}];");
    }
    for (edge, [from, to], word, label) in visible(closure) {
        let style = match edge {
            Edge::Memory { .. } => "dir = both, penwidth = 2",
            Edge::Derivation { .. } => "style = dotted",
            _ => "style = solid",
        };
        let _infallible = writeln!(
            text,
            "  d{from} -> d{to} [label = \"{word} {label}\", {style}];"
        );
    }
    for edge in &closure.edges {
        if let Edge::Device { device, domain } = edge {
            let name = format!("{:04x}:{:04x}", device.vendor, device.device);
            let _infallible = writeln!(text, "  \"{name}\" -> d{domain} [label = \"device\"];");
        }
    }
    text.push('}');
    text
}
