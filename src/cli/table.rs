//! Tables as a terminal shows them: columns as wide as they must be, the last one as long as it likes.

use super::paint::Paint;

/// Columns stand two spaces apart.
const GAP: &str = "  ";

/// A cell: its text, and how it is painted.
pub type Cell = (String, fn(Paint, &str) -> String);

pub fn plain(_: Paint, text: &str) -> String {
    text.to_owned()
}

pub fn bold(paint: Paint, text: &str) -> String {
    paint.bold(text)
}

pub fn faint(paint: Paint, text: &str) -> String {
    paint.faint(text)
}

pub fn good(paint: Paint, text: &str) -> String {
    paint.good(text)
}

pub fn bad(paint: Paint, text: &str) -> String {
    paint.bad(text)
}

pub fn doubtful(paint: Paint, text: &str) -> String {
    paint.doubtful(text)
}

pub fn header<const N: usize>(names: [&str; N]) -> [Cell; N] {
    names.map(|name| (name.to_owned(), faint as fn(Paint, &str) -> String))
}

pub fn table<const N: usize>(rows: &[[Cell; N]], paint: Paint) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, painted)) in row.iter().enumerate() {
            // Spaces are not painted: a line ends where its last word does.
            let pad = widths[column] - cell.chars().count();
            line.push_str(&painted(paint, cell));
            line.extend(std::iter::repeat_n(' ', pad));
            line.push_str(GAP);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
