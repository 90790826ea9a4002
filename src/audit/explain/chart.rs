//! The chart of the page: bars that begin where the one before ended, from the base to the margin.

use std::fmt::Write as _;

use super::html::escaped;
use super::words::{Words, fill};
use super::{Explanation, Part};

/// So many bars are drawn; what is left is one bar.
const BARS: usize = 16;

/// In the units of the drawing.
const WIDTH: f64 = 720.0;
const NAMES: f64 = 220.0;
const NUMBERS: f64 = 80.0;
const ROW: f64 = 24.0;

/// Characters of a name that fit before the bars: each takes eight of its twelve units at most, in usual fonts.
const NAME: usize = 26;

/// A bar: what one or more features add.
#[derive(Clone, PartialEq, Debug)]
pub struct Bar {
    pub name: String,
    pub from: f64,
    pub to: f64,
}

/// The bars, each from where the one before ended; the first begins at the base.
pub fn bars(told: &Explanation, words: &Words) -> Vec<Bar> {
    let moving: Vec<&Part> = told
        .features
        .iter()
        .filter(|p| p.contribution != 0.0)
        .collect();
    let listed = if moving.len() > BARS {
        BARS - 1
    } else {
        moving.len()
    };
    let (listed, rest) = moving.split_at(listed);
    let mut at = told.base;
    let mut bar = |name: String, contribution: f64| {
        let from = at;
        at += contribution;
        Bar { name, from, to: at }
    };
    let mut bars: Vec<Bar> = listed
        .iter()
        .map(|part| bar(part.feature.clone(), part.contribution))
        .collect();
    if !rest.is_empty() {
        let name = fill(words.all_others, &[&rest.len().to_string()]);
        bars.push(bar(name, rest.iter().map(|part| part.contribution).sum()));
    }
    bars
}

/// The drawing, as SVG. `number`: of the occurrence, for names that are unique on the page.
pub fn draw(told: &Explanation, margin: f64, words: &Words, number: usize) -> String {
    let bars = bars(told, words);
    let ends = bars.iter().map(|bar| bar.to).chain([told.base, margin]);
    let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let scale = (WIDTH - NAMES - NUMBERS) / (high - low).max(f64::MIN_POSITIVE);
    let place = |value: f64| NAMES + (value - low) * scale;
    let height = ROW * (bars.len() as f64 + 2.0);
    let [base, end] = [told.base, margin].map(|value| format!("{value:.4}"));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"chart-{number} about-{number}\">\n\
         <title id=\"chart-{number}\">{}</title>\n<desc id=\"about-{number}\">{}</desc>\n\
         <defs><pattern id=\"hatch-{number}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"3\" height=\"6\" class=\"lowers\"/></pattern></defs>\n",
        escaped(words.chart),
        escaped(&fill(words.chart_text, &[&base, &end])),
    );
    let middle = |row: usize| ROW * (row as f64 + 0.5) + 4.0;
    let mut mark = |row: usize, word: &str, value: f64, shown: &str| {
        let (x, y, top) = (place(value), middle(row), ROW * row as f64);
        let _ = writeln!(
            svg,
            "{}<line x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"{top:.2}\" \
             y2=\"{:.2}\" class=\"mark\"/><text x=\"{:.2}\" y=\"{y:.2}\">{shown}</text>",
            name(word, y),
            top + ROW,
            x + 6.0,
        );
    };
    mark(0, words.base, told.base, &base);
    mark(bars.len() + 1, words.margin, margin, &end);
    for (row, bar) in bars.iter().enumerate() {
        let row = row + 1;
        let y = middle(row);
        let (from, to) = (place(bar.from.min(bar.to)), place(bar.from.max(bar.to)));
        let added = bar.to - bar.from;
        let fill = match added > 0.0 {
            true => "class=\"raises\"".to_owned(),
            false => format!("class=\"outline\" fill=\"url(#hatch-{number})\""),
        };
        let _ = writeln!(
            svg,
            "{}<rect x=\"{from:.2}\" y=\"{:.2}\" \
             width=\"{:.2}\" height=\"{:.2}\" {fill}/><text x=\"{:.2}\" y=\"{y:.2}\">{added:+.4}</text>",
            name(&bar.name, y),
            ROW * row as f64 + 3.0,
            to - from,
            ROW - 6.0,
            to + 6.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The name of a row. One that is too long for the drawing is cut at its end, and pointing at it shows all of it; the
/// table has it too.
pub fn name(name: &str, y: f64) -> String {
    let x = NAMES - 8.0;
    let start = format!("<text x=\"{x:.2}\" y=\"{y:.2}\" class=\"name\">");
    if name.chars().count() <= NAME {
        return format!("{start}{}</text>", escaped(name));
    }
    let cut: String = name.chars().take(NAME - 1).chain(['…']).collect();
    format!(
        "{start}<title>{}</title>{}</text>",
        escaped(name),
        escaped(&cut)
    )
}
