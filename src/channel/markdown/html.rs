//! From HTML to pieces: what Telegram would accept is kept, of anything else the text.
//!
//! Read as a browser reads it (unclosed, crossed and unknown tags included), but line feeds count as they do in Telegram's
//! HTML and in our Markdown, so that templates can be written in lines. Only element names and `href` are ever looked at.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};

use super::parse::Builder;
use super::{Piece, Tag};

/// Deeper elements are read over: their text stays.
const DEPTH_MAX: usize = 64;

/// White lines between paragraphs: one.
const FEEDS_MAX: usize = 2;

pub(super) fn parse(source: &str) -> Vec<Piece> {
    let mut emitter = DefaultEmitter::default();
    // What is in a script or a style is no markup.
    emitter.naively_switch_states(true);
    let mut reader = Reader { is_fresh: true, ..Reader::default() };
    for token in Tokenizer::new_with_emitter(source, emitter) {
        match token {
            Ok(Token::StartTag(start)) => reader.start(&start),
            Ok(Token::EndTag(end)) => reader.end(&end.name),
            Ok(Token::String(text)) => reader.pending.extend_from_slice(&text.value),
            Ok(Token::Comment(_) | Token::Doctype(_) | Token::Error(_)) => {}
            Err(never) => match never {},
        }
    }
    reader.finish()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// Opens a tag of the document around running text.
    Style,
    Link,
    Quote,
    Heading,
    List,
}

#[derive(Default)]
struct Reader {
    builder: Builder,
    open: Vec<(String, Element)>,
    /// Text that came since the last tag.
    pending: Vec<u8>,
    /// Since the last text: `<br>`s, and line feeds of the source.
    breaks: usize,
    feeds: usize,
    /// Nothing in this block yet: white space is only layout.
    is_fresh: bool,
    /// Behind a bullet or the start of a style, where a paragraph does not start a new line.
    has_begun: bool,
    /// The element whose content is code.
    code: Option<(&'static str, String)>,
    /// The element whose content is dropped.
    dropped: Option<String>,
}

impl Reader {
    fn start(&mut self, start: &StartTag<()>) {
        self.flush();
        let name = String::from_utf8_lossy(&start.name);
        if self.dropped.is_some() {
            return;
        }
        if let Some((_, code)) = &mut self.code {
            code.push_str(if name == "br" { "\n" } else { "" });
            return;
        }
        let href = || start.attributes.get("href".as_bytes()).map(|found| found.value.clone());
        match &*name {
            "b" | "strong" => self.style(&name, Tag::Bold),
            "i" | "em" => self.style(&name, Tag::Italic),
            "u" | "ins" => self.style(&name, Tag::Underline),
            "s" | "strike" | "del" => self.style(&name, Tag::Strike),
            "a" if self.open.len() < DEPTH_MAX => {
                let href = href().unwrap_or_default();
                self.before_inline();
                self.has_begun |= self.is_fresh;
                self.builder.link(String::from_utf8_lossy(&href).trim());
                self.open.push((name.into_owned(), Element::Link));
            }
            "code" | "kbd" | "samp" | "tt" => self.code = Some((code_name(&name), String::new())),
            "pre" => {
                self.start_block(2);
                self.code = Some(("pre", String::new()));
            }
            "blockquote" => self.block_with(&name, Element::Quote),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.block_with(&name, Element::Heading),
            "ul" | "ol" => self.block_with(&name, Element::List),
            "li" => {
                self.start_block(1);
                self.builder.bullet();
                self.has_begun = true;
            }
            "br" => self.breaks += 1,
            "hr" => {
                self.start_block(2);
                self.builder.text("———");
                self.end_block(2);
            }
            "script" | "style" | "title" | "iframe" | "noembed" | "noframes" | "template" => {
                self.dropped = Some(name.into_owned());
            }
            _ if is_paragraph(&name) => self.start_block(2),
            _ if is_line(&name) => self.start_block(1),
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8]) {
        self.flush();
        let name = String::from_utf8_lossy(name);
        if let Some(dropped) = &self.dropped {
            if *dropped == name {
                self.dropped = None;
            }
            return;
        }
        if let Some((of, _)) = &self.code {
            if *of == code_name(&name) {
                self.end_code();
            }
            return;
        }
        if self.open.iter().any(|(open, _)| *open == name) {
            self.close(&name);
        } else if is_paragraph(&name) {
            self.end_block(2);
        } else if is_line(&name) || name == "li" {
            self.end_block(1);
        }
    }

    fn style(&mut self, name: &str, tag: Tag) {
        if self.open.len() < DEPTH_MAX {
            self.before_inline();
            self.has_begun |= self.is_fresh;
            self.builder.open(tag);
            self.open.push((name.to_owned(), Element::Style));
        }
    }

    fn block_with(&mut self, name: &str, element: Element) {
        let is_inner_list = element == Element::List && !self.builder.lists.is_empty();
        self.start_block(if is_inner_list { 1 } else { 2 });
        if self.open.len() >= DEPTH_MAX {
            return;
        }
        match element {
            Element::Quote => self.builder.open(Tag::Quote),
            Element::Heading => self.builder.open(Tag::Bold),
            Element::List => self.builder.lists.push((name == "ol").then_some(1)),
            Element::Style | Element::Link => return,
        }
        self.open.push((name.to_owned(), element));
    }

    /// The innermost of that name, and what was left open in it. Styles among these go on behind a style or a link.
    fn close(&mut self, name: &str) {
        let mut again = Vec::new();
        while let Some((open, element)) = self.open.pop() {
            match element {
                Element::Style | Element::Link => self.builder.close(),
                Element::Quote | Element::Heading => {
                    self.builder.close();
                    self.end_block(2);
                }
                Element::List => {
                    self.builder.lists.pop();
                    self.end_block(2);
                }
            }
            if open == name {
                if matches!(element, Element::Style | Element::Link) {
                    self.open_again(again);
                }
                return;
            }
            if element == Element::Style {
                again.push(open);
            }
        }
    }

    fn open_again(&mut self, mut names: Vec<String>) {
        while let Some(name) = names.pop() {
            let tag = match name.as_str() {
                "b" | "strong" => Tag::Bold,
                "i" | "em" => Tag::Italic,
                "u" | "ins" => Tag::Underline,
                _ => Tag::Strike,
            };
            self.builder.open(tag);
            self.open.push((name, Element::Style));
        }
    }

    fn start_block(&mut self, feeds: usize) {
        if !std::mem::take(&mut self.has_begun) {
            self.end_block(feeds);
        }
    }

    fn end_block(&mut self, feeds: usize) {
        let most = if self.builder.lists.is_empty() { FEEDS_MAX } else { 1 };
        self.builder.owe(feeds.max(self.breaks).min(most));
        (self.breaks, self.feeds) = (0, 0);
        (self.is_fresh, self.has_begun) = (true, false);
    }

    /// The lines that the source or `<br>` broke since the last text.
    fn before_inline(&mut self) {
        self.builder.owe(self.breaks.max(self.feeds).min(FEEDS_MAX));
        (self.breaks, self.feeds) = (0, 0);
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.pending);
        if text.is_empty() || self.dropped.is_some() {
            return;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some((_, code)) = &mut self.code {
            return code.push_str(&text);
        }
        let lines = text.split('\n').count();
        for (index, line) in text.split('\n').enumerate() {
            self.feeds += usize::from(index > 0 && !self.is_fresh);
            let starts_line = self.is_fresh || self.breaks + self.feeds > 0;
            let line = if self.is_fresh || self.breaks > 0 { line.trim_start() } else { line };
            let line = if index + 1 < lines { line.trim_end() } else { line };
            if line.is_empty() || starts_line && line.trim().is_empty() {
                continue;
            }
            self.before_inline();
            self.builder.prose(line);
            (self.is_fresh, self.has_begun) = (false, false);
        }
    }

    fn end_code(&mut self) {
        let Some((name, code)) = self.code.take() else { return };
        if name == "pre" {
            // A line feed directly behind the tag is layout.
            self.builder.code_block = Some(code.strip_prefix('\n').unwrap_or(&code).to_owned());
            self.builder.end_code_block();
            self.end_block(2);
        } else if !code.is_empty() {
            self.before_inline();
            self.builder.code(&code.replace('\n', " "));
            (self.is_fresh, self.has_begun) = (false, false);
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.flush();
        self.end_code();
        while let Some((name, _)) = self.open.last().cloned() {
            self.close(&name);
        }
        self.builder.pieces
    }
}

/// One name for all that is code in a line.
fn code_name(name: &str) -> &'static str {
    match name {
        "code" | "kbd" | "samp" | "tt" => "code",
        "pre" => "pre",
        _ => "",
    }
}

fn is_paragraph(name: &str) -> bool {
    matches!(name, "p" | "table" | "section" | "article" | "dl" | "figure" | "details")
}

fn is_line(name: &str) -> bool {
    let lines = ["div", "tr", "dt", "dd", "header", "footer", "main", "nav", "aside", "address", "summary"];
    lines.contains(&name)
}

#[cfg(test)]
mod tests;
