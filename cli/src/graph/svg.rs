//! SVG: a row for each level of nesting, domain 0 on top.

use std::collections::BTreeMap;
use std::fmt::Write;

use adyton_evidence::closure::{Closure, Edge};
use adyton_evidence::composition::{Composition, Domain};

use super::{CAPTION, lines, visible};

const WIDTH: u64 = 190;
const HEIGHT: u64 = 64;
const GAP: u64 = 60;
const ROW: u64 = HEIGHT + 90;
const MARGIN: u64 = 30;

const HEAD: &str = "<style>text{font:12px sans-serif;text-anchor:middle}.box{fill:#fff;stroke:#333}\
.opaque{fill:#eee;stroke:#333;stroke-dasharray:5 3}.subject{fill:#eef6ff;stroke:#0550ae;stroke-width:2.5}\
.memory{stroke:#bc4c00;stroke-width:3;fill:none}.command{stroke:#333;fill:none;marker-end:url(#tip)}\
.derivation{stroke:#777;stroke-dasharray:2 4;fill:none;marker-end:url(#tip)}.device{stroke:#1a7f37;stroke-width:2;fill:none}\
.label{font-size:11px;fill:#bc4c00;paint-order:stroke;stroke:#fff;stroke-width:4px}.faint{fill:#777;font-size:11px}</style>\
<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
<path d=\"M0 0L8 4L0 8z\" fill=\"#333\"/></marker></defs>\n";

const LEGEND: &str =
    "thick: memory in common; arrow: commands; dotted: memory from there; green: device";

/// Writing to memory does not fail.
macro_rules! put {
    ($text:expr, $($part:tt)*) => {{ let _infallible = writeln!($text, $($part)*); }};
}

pub fn draw(composition: &Composition, closure: &Closure) -> String {
    let (places, width, height) = places(closure);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n{HEAD}"
    );
    let mut seen = BTreeMap::<_, i64>::new();
    for (edge, [from, to], word, label) in visible(closure) {
        // Lines between the same two lie side by side.
        let beside = seen.entry([from.min(to), from.max(to)]).or_default();
        let shift = *beside * 24;
        *beside += 1;
        if let (Some(from), Some(to)) = (places.get(&from), places.get(&to)) {
            line(&mut text, edge, [*from, *to], shift, word, &label);
        }
    }
    for (index, domain) in composition.domains.iter().enumerate() {
        if let Some(place) = places.get(&(index as u64)) {
            card(&mut text, *place, index, domain);
        }
    }
    devices(&mut text, closure, &places);
    let middle = width / 2;
    for (words, up) in [(LEGEND, 24), (CAPTION, 8)] {
        put!(
            text,
            "<text class=\"faint\" x=\"{middle}\" y=\"{}\">{words}</text>",
            height - up
        );
    }
    text.push_str("</svg>");
    text
}

type Places = BTreeMap<u64, (u64, u64)>;

/// Upper left corners by index, and the size of the whole.
fn places(closure: &Closure) -> (Places, u64, u64) {
    let mut rows = BTreeMap::<u64, Vec<u64>>::new();
    for (depth, index) in closure.depths.iter().zip(0..) {
        rows.entry(*depth).or_default().push(index);
    }
    let longest = rows.values().map(Vec::len).max().unwrap_or(1) as u64;
    let width = 2 * MARGIN + longest * (WIDTH + GAP);
    let mut places = Places::new();
    for (row, members) in &rows {
        let space = width / members.len() as u64;
        for (index, column) in members.iter().zip(0..) {
            let x = column * space + (space - WIDTH) / 2;
            places.insert(*index, (x, MARGIN + row * ROW));
        }
    }
    (places, width, MARGIN + rows.len() as u64 * ROW)
}

/// A line between two cards, bent outwards where both stand in one row.
fn line(
    text: &mut String,
    edge: &Edge,
    [from, to]: [(u64, u64); 2],
    shift: i64,
    word: &str,
    label: &str,
) {
    let middle = |x: u64| (x + WIDTH / 2) as i64 + shift;
    let (x1, x2) = (middle(from.0), middle(to.0));
    let same_row = from.1 == to.1;
    let (y1, y2) = match from.1.cmp(&to.1) {
        std::cmp::Ordering::Less => (from.1 + HEIGHT, to.1),
        std::cmp::Ordering::Greater => (from.1, to.1 + HEIGHT),
        std::cmp::Ordering::Equal => (from.1 + HEIGHT, to.1 + HEIGHT),
    };
    let (y1, y2) = (y1 as i64, y2 as i64);
    let bend = if same_row { 50 } else { 0 };
    let (cx, cy) = (i64::midpoint(x1, x2), i64::midpoint(y1, y2) + bend);
    put!(
        text,
        "<path class=\"{word}\" d=\"M{x1} {y1}Q{cx} {cy} {x2} {y2}\"/>"
    );
    if matches!(edge, Edge::Memory { .. } | Edge::Derivation { .. }) {
        let y = i64::midpoint(i64::midpoint(y1, y2), cy) - 4;
        put!(
            text,
            "<text class=\"label\" x=\"{cx}\" y=\"{y}\">{label}</text>"
        );
    }
}

fn card(text: &mut String, (x, y): (u64, u64), index: usize, domain: &Domain) {
    let class = match domain {
        Domain::Opaque => "opaque",
        Domain::Tenant(_) if index == 0 => "subject",
        Domain::Tenant(_) => "box",
    };
    put!(
        text,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>"
    );
    for (line, number) in lines(index, domain).iter().zip(1..) {
        let (middle, base) = (x + WIDTH / 2, y + 2 + number * 18);
        put!(text, "<text x=\"{middle}\" y=\"{base}\">{line}</text>");
    }
}

/// Devices stand below the card of their domain.
fn devices(text: &mut String, closure: &Closure, places: &Places) {
    let mut numbers = BTreeMap::<u64, u64>::new();
    for edge in &closure.edges {
        let Edge::Device { device, domain } = edge else {
            continue;
        };
        let Some((x, y)) = places.get(domain) else {
            continue;
        };
        let number = numbers.entry(*domain).or_default();
        let (x, bottom) = (x + 30 + *number * 70, y + HEIGHT);
        *number += 1;
        put!(text, "<path class=\"device\" d=\"M{x} {bottom}v20\"/>");
        let name = format!("{:04x}:{:04x}", device.vendor, device.device);
        put!(
            text,
            "<text class=\"faint\" x=\"{x}\" y=\"{}\">{name}</text>",
            bottom + 34
        );
    }
}
