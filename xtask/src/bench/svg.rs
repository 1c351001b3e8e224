//! Draws panels of horizontal bars as one SVG file: text and rectangles, in colours that follow the reader's light or dark
//! scheme.

use std::fmt::Write;

/// Which of the few colours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shade {
    /// What is looked at.
    Main,
    /// The part or the case beside it.
    Second,
    /// A peer, for comparison.
    Peer,
}

impl Shade {
    const fn class(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Second => "second",
            Self::Peer => "peer",
        }
    }
}

/// One bar.
pub struct Bar {
    /// Left of it; empty where it belongs to the one above.
    pub label: String,
    /// Lengths, one after another.
    pub parts: Vec<(f64, Shade)>,
    /// Right of it; the sum of the parts if empty.
    pub note: String,
}

/// Bars with a title and one unit.
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// The unit, and what else one must know.
    pub subtitle: &'static str,
    /// The bars, from above.
    pub bars: Vec<Bar>,
    /// A bound that the bars shall not cross, and its words.
    pub bound: Option<(f64, String)>,
    /// What the colours mean, where they mean something.
    pub legend: Vec<(Shade, &'static str)>,
}

const WIDTH: f64 = 500.0;
const GAP: f64 = 20.0;
const INSET: f64 = 16.0;
const LABELS: f64 = 168.0;
const NOTES: f64 = 104.0;
const HEAD: f64 = 50.0;
const ROW: f64 = 19.0;
const BAR: f64 = 13.0;
/// Between bars of different labels.
const SPACE: f64 = 5.0;
/// Below the bars, where nothing is written.
const MARGIN: f64 = 10.0;
/// Below the bars, where a legend or the words of a bound stand.
const FOOT: f64 = 26.0;

const STYLE: &str = "text{font:12px -apple-system,'Segoe UI','Noto Sans',Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-weight:600;font-size:14px}.small{font-size:11px;fill:#59636e}.end{text-anchor:end}\
.page{fill:#ffffff}.card{fill:#ffffff;stroke:#d1d9e0}.axis{stroke:#d1d9e0}\
.main{fill:#0969da}.second{fill:#80b8f0}.peer{fill:#9a6700}.bound{stroke:#cf222e;stroke-dasharray:4 3}.boundtext{font-size:11px;fill:#cf222e}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.page{fill:#0d1117}.card{fill:#0d1117;stroke:#3d444d}\
.axis{stroke:#3d444d}.main{fill:#4493f8}.second{fill:#1f5aa8}.peer{fill:#d29922}.bound{stroke:#f85149}.boundtext{fill:#f85149}}";

/// The panels in two columns.
#[must_use]
pub fn draw(panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut ends = [GAP; 2];
    for panel in panels.iter().filter(|panel| !panel.bars.is_empty()) {
        // Into the column that is shorter.
        let column = usize::from(ends[1] < ends[0]);
        let left = GAP + column as f64 * (WIDTH + GAP);
        ends[column] = panel.draw(&mut body, left, ends[column]) + GAP;
    }
    let width = 2.0 * WIDTH + 3.0 * GAP;
    let height = ends[0].max(ends[1]);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>Adyton: measured figures</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

impl Panel {
    /// Draws it and returns where it ends.
    fn draw(&self, out: &mut String, left: f64, top: f64) -> f64 {
        let spaces = self.bars.iter().filter(|bar| !bar.label.is_empty()).count();
        let rows = self.bars.len() as f64 * ROW + spaces as f64 * SPACE;
        let plain = self.legend.is_empty() && self.bound.is_none();
        let height = HEAD + rows + if plain { MARGIN } else { FOOT };
        rectangle(out, "card", left, top, WIDTH, height, 6.0);
        text(out, "title", left + INSET, top + 23.0, self.title);
        text(out, "small", left + INSET, top + 40.0, self.subtitle);
        let zero = left + LABELS;
        let scale = (WIDTH - LABELS - NOTES) / self.largest();
        let mut y = top + HEAD;
        for bar in &self.bars {
            if !bar.label.is_empty() {
                y += SPACE;
                text(out, "end", zero - 8.0, y + 11.0, &bar.label);
            }
            bar.draw(out, zero, y, scale);
            y += ROW;
        }
        line(out, "axis", zero, top + HEAD, y);
        if let Some((at, words)) = &self.bound {
            let x = zero + at * scale;
            line(out, "bound", x, top + HEAD, y);
            text(out, "boundtext end", x + 40.0, y + 14.0, words);
        }
        self.draw_legend(out, left + INSET, y + 7.0);
        top + height
    }

    /// The longest bar, or the bound if that lies behind it.
    fn largest(&self) -> f64 {
        let bars = self.bars.iter().map(Bar::sum);
        let bound = self.bound.iter().map(|(at, _)| *at);
        bars.chain(bound).fold(f64::MIN_POSITIVE, f64::max)
    }

    fn draw_legend(&self, out: &mut String, left: f64, top: f64) {
        let mut x = left;
        for (shade, words) in &self.legend {
            rectangle(out, shade.class(), x, top, 10.0, 10.0, 2.0);
            text(out, "small", x + 15.0, top + 9.0, words);
            x += 30.0 + 5.8 * words.len() as f64;
        }
    }
}

impl Bar {
    fn sum(&self) -> f64 {
        self.parts.iter().map(|(length, _)| length).sum()
    }

    fn draw(&self, out: &mut String, zero: f64, top: f64, scale: f64) {
        let mut x = zero;
        for (length, shade) in &self.parts {
            // Even what is next to nothing can be seen.
            let width = (length * scale).max(1.0);
            rectangle(out, shade.class(), x, top, width, BAR, 1.5);
            x += width;
        }
        let note = if self.note.is_empty() {
            grouped(self.sum())
        } else {
            self.note.clone()
        };
        text(out, "small", x + 6.0, top + 10.5, &note);
    }
}

/// A number with commas between thousands; with two digits behind the point if it is small.
#[must_use]
pub fn grouped(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rectangle(out: &mut String, class: &str, x: f64, y: f64, width: f64, height: f64, round: f64) {
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\"/>"
    );
}

/// A vertical line.
fn line(out: &mut String, class: &str, x: f64, from: f64, to: f64) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{from:.1}\" x2=\"{x:.1}\" y2=\"{to:.1}\"/>"
    );
}

fn text(out: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(100.0), "100");
        assert_eq!(grouped(1.234), "1.23");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_empty_panels_are_left_out() {
        let bar = |label: &str, length| Bar {
            label: label.into(),
            parts: vec![(length, Shade::Main)],
            note: String::new(),
        };
        let panel = |bars| Panel {
            title: "a & b",
            subtitle: "",
            bars,
            bound: Some((400.0, "bound".into())),
            legend: Vec::new(),
        };
        let drawn = draw(&[panel(vec![bar("x", 100.0)]), panel(Vec::new())]);
        let quarter = (WIDTH - LABELS - NOTES) / 4.0;
        assert!(drawn.contains(&format!("width=\"{quarter:.1}\" height=\"{BAR:.1}\"")));
        assert_eq!(drawn.matches("a &amp; b").count(), 1);
    }
}
