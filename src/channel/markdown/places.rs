//! Where values stand in a Markdown text: the parser is asked, with a harmless word in the place of each of them.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag};

use super::literal::Span;

/// What the parser makes of the text around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Prose,
    /// Code in a line.
    Span,
    /// A block of code.
    Block,
    /// The target of a link, and whatever else nobody reads.
    Address,
}

pub(super) struct Places {
    pub of_values: Vec<Place>,
    /// Those that hold values.
    pub spans: Vec<Span>,
}

impl Places {
    pub fn prose(count: usize) -> Self {
        Self { of_values: vec![Place::Prose; count], spans: Vec::new() }
    }
}

pub(super) fn places(source: &str, values: &[Range<usize>]) -> Places {
    let mut skeleton = String::with_capacity(source.len());
    let mut starts = Vec::with_capacity(values.len());
    let mut at = 0;
    for range in values {
        skeleton.push_str(&source[at..range.start]);
        starts.push(skeleton.len());
        skeleton.push_str(stand_in(&source[range.clone()]));
        at = range.end;
    }
    skeleton.push_str(&source[at..]);
    let mut found = Places { of_values: vec![Place::Address; values.len()], spans: Vec::new() };
    let mut in_block = false;
    for (event, range) in Parser::new_ext(&skeleton, Options::empty()).into_offset_iter() {
        let place = match event {
            Event::Start(Tag::CodeBlock(_)) => {
                in_block = true;
                continue;
            }
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => {
                in_block = false;
                continue;
            }
            Event::Code(_) => Place::Span,
            Event::Text(_) if in_block => Place::Block,
            Event::Text(_) | Event::Html(_) | Event::InlineHtml(_) => Place::Prose,
            Event::Start(_)
            | Event::End(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::SoftBreak
            | Event::HardBreak
            | Event::Rule
            | Event::TaskListMarker(_) => continue,
        };
        let (from, to) = (
            starts.partition_point(|start| *start < range.start),
            starts.partition_point(|start| *start < range.end),
        );
        found.of_values[from..to].fill(place);
        if place == Place::Span && from < to {
            let shifted = |offset: usize, before: usize| match before.checked_sub(1) {
                Some(last) => {
                    offset - starts[last] - stand_in(&source[values[last].clone()]).len() + values[last].end
                }
                None => offset,
            };
            let mark = skeleton[range.clone()].bytes().take_while(|byte| *byte == b'`').count();
            found.spans.push(span(source, shifted(range.start, from)..shifted(range.end, to), mark));
        }
    }
    found
}

/// A value that is only digits can number a list; an empty one is nothing.
fn stand_in(value: &str) -> &str {
    match value {
        "" => "\u{200b}",
        _ if value.len() < 10 && value.bytes().all(|byte| byte.is_ascii_digit()) => value,
        _ => "x",
    }
}

/// `mark`: the backticks at each of its ends.
fn span(source: &str, range: Range<usize>, mark: usize) -> Span {
    let code = &source[range.clone()];
    let inside = code.get(mark..code.len().saturating_sub(mark)).unwrap_or_default();
    let longest = inside.split(|ch| ch != '`').map(str::len).max().unwrap_or_default();
    let padded = inside.starts_with('`') || inside.ends_with('`');
    Span { range, more: (longest + 1).saturating_sub(mark) * usize::from(longest >= mark), padded }
}
