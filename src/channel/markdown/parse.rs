//! From Markdown to pieces: what can nest, what is only text, and where lines end.

use pulldown_cmark::{Event, Options, Parser, Tag as Start, TagEnd as End, TextMergeStream};

use super::{Piece, Tag, safe_link};
use crate::channel::text::clean;

/// Deeper lists are not indented any further.
const INDENT_LEVELS_MAX: usize = 6;

pub(super) fn parse(source: &str) -> Vec<Piece> {
    let mut builder = Builder::default();
    for event in TextMergeStream::new(Parser::new_ext(source, Options::empty())) {
        builder.event(event);
    }
    builder.pieces
}

#[derive(Default)]
pub(super) struct Builder {
    pub pieces: Vec<Piece>,
    /// The tags that are open in `pieces`: never one of them twice, so at most one of each.
    open: Vec<Tag>,
    /// For each start that waits for its end: whether it opened a tag.
    starts: Vec<bool>,
    /// Line feeds owed before the next text: owed, so that none trails.
    owed: usize,
    /// The next number of each list around here; None for bullets.
    pub lists: Vec<Option<u64>>,
    pub code_block: Option<String>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(start) => self.start(start),
            Event::End(end) => self.end(end),
            Event::Text(text) => match &mut self.code_block {
                Some(code) => code.push_str(&text),
                None => self.prose(&text),
            },
            Event::Code(code) | Event::InlineMath(code) | Event::DisplayMath(code) => self.code(&code),
            Event::Html(html) => {
                self.text(html.trim_end_matches('\n'));
                self.owe(1);
            }
            Event::InlineHtml(html) => self.text(&html),
            Event::SoftBreak | Event::HardBreak => self.owe(1),
            Event::Rule => {
                self.text("———");
                self.owe(2);
            }
            Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, start: Start<'_>) {
        match start {
            Start::Heading { .. } | Start::Strong => self.open(Tag::Bold),
            Start::Emphasis => self.open(Tag::Italic),
            Start::BlockQuote(_) => self.open(Tag::Quote),
            Start::CodeBlock(_) => self.code_block = Some(String::new()),
            Start::Link { dest_url, .. } | Start::Image { dest_url, .. } => self.link(&dest_url),
            Start::List(first) => {
                self.owe(1);
                self.lists.push(first);
            }
            Start::Item => self.bullet(),
            // The rest is not switched on in the parser.
            Start::Paragraph
            | Start::HtmlBlock
            | Start::FootnoteDefinition(_)
            | Start::DefinitionList
            | Start::DefinitionListTitle
            | Start::DefinitionListDefinition
            | Start::Table(_)
            | Start::TableHead
            | Start::TableRow
            | Start::TableCell
            | Start::Strikethrough
            | Start::Superscript
            | Start::Subscript
            | Start::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::Strong | End::Emphasis | End::Link | End::Image => self.close(),
            End::Heading(_) | End::BlockQuote(_) => {
                self.close();
                self.end_block();
            }
            End::CodeBlock => {
                self.end_code_block();
                self.end_block();
            }
            End::List(_) => {
                self.lists.pop();
                self.end_block();
            }
            End::Item => self.owe(1),
            End::Paragraph | End::HtmlBlock => self.end_block(),
            End::FootnoteDefinition
            | End::DefinitionList
            | End::DefinitionListTitle
            | End::DefinitionListDefinition
            | End::Table
            | End::TableHead
            | End::TableRow
            | End::TableCell
            | End::Strikethrough
            | End::Superscript
            | End::Subscript
            | End::MetadataBlock(_) => {}
        }
    }

    /// One that is none is opened and closed like the others, without a trace.
    pub fn link(&mut self, address: &str) {
        match safe_link(address) {
            Some(link) => self.open(Tag::Link(link)),
            None => self.starts.push(false),
        }
    }

    pub fn end_block(&mut self) {
        self.owe(if self.lists.is_empty() { 2 } else { 1 });
    }

    pub fn owe(&mut self, line_feeds: usize) {
        self.owed = self.owed.max(line_feeds);
    }

    fn pay(&mut self) {
        if self.owed > 0 && self.pieces.iter().any(|piece| matches!(piece, Piece::Text(_))) {
            self.pieces.push(Piece::Text("\n".repeat(self.owed)));
        }
        self.owed = 0;
    }

    pub fn bullet(&mut self) {
        self.owe(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(INDENT_LEVELS_MAX));
        let bullet = match self.lists.last_mut() {
            Some(Some(number)) => {
                let bullet = format!("{indent}{number}. ");
                *number = number.saturating_add(1);
                bullet
            }
            Some(None) | None => format!("{indent}• "),
        };
        self.text(&bullet);
    }

    fn has(&self, wanted: fn(&Tag) -> bool) -> bool {
        self.open.iter().any(wanted)
    }

    pub fn open(&mut self, tag: Tag) {
        let within = |tag: &Tag| std::mem::discriminant(tag);
        let nests = !self.open.iter().any(|open| within(open) == within(&tag));
        self.starts.push(nests);
        if nests {
            self.pay();
            self.push_open(tag);
        }
    }

    fn push_open(&mut self, tag: Tag) {
        self.pieces.push(Piece::Open(tag.clone()));
        self.open.push(tag);
    }

    pub fn close(&mut self) {
        if self.starts.pop() != Some(true) {
            return;
        }
        let closed = self.open.pop();
        if let (Some(Piece::Open(_)), Some(closed)) = (self.pieces.last(), closed) {
            // Marks around nothing: a link shows itself, anything else is dropped.
            match closed {
                Tag::Link(link) => self.pieces.push(Piece::Text(link)),
                Tag::Bold
                | Tag::Italic
                | Tag::Underline
                | Tag::Strike
                | Tag::Code
                | Tag::CodeBlock
                | Tag::Quote => {
                    self.pieces.pop();
                    return;
                }
            }
        }
        self.pieces.push(Piece::Close);
    }

    pub fn text(&mut self, text: &str) {
        let text = clean(text);
        if !text.is_empty() {
            self.pay();
            self.pieces.push(Piece::Text(text));
        }
    }

    /// Text in which addresses become links, as people expect them to.
    pub fn prose(&mut self, text: &str) {
        let mut rest = text;
        while !self.has(|tag| matches!(tag, Tag::Link(_))) {
            let Some((start, end)) = find_address(rest) else { break };
            self.text(&rest[..start]);
            let address = &rest[start..end];
            match safe_link(address) {
                Some(link) => {
                    self.open(Tag::Link(link));
                    self.text(address);
                    self.close();
                }
                None => self.text(address),
            }
            rest = &rest[end..];
        }
        self.text(rest);
    }

    pub fn code(&mut self, code: &str) {
        if self.has(|tag| matches!(tag, Tag::Link(_))) {
            return self.text(code);
        }
        let code = clean(code);
        if code.is_empty() {
            return;
        }
        self.pay();
        let mut around = Vec::new();
        while let Some(style @ (Tag::Bold | Tag::Italic | Tag::Underline | Tag::Strike)) =
            self.open.last().cloned()
        {
            self.open.pop();
            match self.pieces.last() {
                Some(Piece::Open(_)) => drop(self.pieces.pop()),
                Some(Piece::Close | Piece::Text(_)) | None => self.pieces.push(Piece::Close),
            }
            around.push(style);
        }
        self.pieces.extend([Piece::Open(Tag::Code), Piece::Text(code), Piece::Close]);
        while let Some(style) = around.pop() {
            self.push_open(style);
        }
    }

    pub fn end_code_block(&mut self) {
        let code = self.code_block.take().unwrap_or_default();
        let code = code.trim_end_matches('\n');
        if self.has(|tag| matches!(tag, Tag::Quote)) || code.is_empty() {
            return self.text(code);
        }
        self.pay();
        self.pieces.extend([Piece::Open(Tag::CodeBlock), Piece::Text(clean(code)), Piece::Close]);
    }
}

/// Where the first http address in running text starts and ends, without the punctuation behind it.
fn find_address(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("http") {
        let start = from + found;
        from = start + "http".len();
        let after_word = text[..start].chars().next_back().is_some_and(char::is_alphanumeric);
        let address = &text[start..];
        if after_word || !(address.starts_with("http://") || address.starts_with("https://")) {
            continue;
        }
        let ends = |ch: char| {
            ch.is_whitespace() || ch.is_control() || matches!(ch, '<' | '>' | '"' | '`' | '|' | '\u{200b}')
        };
        let address = &address[..address.find(ends).unwrap_or(address.len())];
        let mut address = address.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'']);
        if !address.contains('(') {
            address = address.trim_end_matches([')', ']', '.', ',']);
        }
        if !address.ends_with("//") {
            return Some((start, start + address.len()));
        }
    }
    None
}
