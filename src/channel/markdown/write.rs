//! Writes pieces in a dialect, within limits: a text that is too long is cut at a boundary with every tag closed, or goes
//! on in a next text with its tags opened again.
//!
//! Nothing here knows a channel. Closing costs are kept in reserve, so that what is open can always be closed.

use super::{Piece, Tag};
use crate::channel::text::{WORD_BYTES_MAX, boundary, fitting, units};

/// Of all tags together where they do not count against the limit: beyond it a request would grow out of proportion.
const MARKUP_BYTES_MAX: usize = 16 * 1024;

/// How a channel writes what is in a document.
pub(super) trait Dialect {
    /// Whether tags and escapes count against the limit.
    const COUNTS_MARKUP: bool;

    fn open(&self, tag: &Tag, out: &mut String);
    fn close(&self, tag: &Tag, out: &mut String);
    /// Text without line feeds.
    fn text(&self, text: &str, within: &[&Tag], out: &mut String);
    fn line_feed(&self, within: &[&Tag], out: &mut String);
    /// The most that a character may count for. A text may count for one more than its characters.
    fn price(&self, ch: char) -> usize;
}

#[expect(clippy::struct_field_names, reason = "a limit says so in its name")]
pub(super) struct Limits {
    pub units_max: usize,
    pub pieces_max: usize,
    /// Tags beyond these are left out; their text stays.
    pub tags_max: usize,
}

pub(super) fn write<D: Dialect>(pieces: &[Piece], dialect: &D, limits: &Limits) -> Vec<String> {
    let mut whole = Writer::new(dialect, limits, 0);
    if whole.run(pieces).is_ok() {
        return whole.finish("");
    }
    // It is too long, so "…" needs its place, too.
    let mut cut = Writer::new(dialect, limits, 1);
    match cut.run(pieces) {
        Ok(()) => cut.finish(""),
        Err(Full) => cut.finish("…"),
    }
}

/// No room, and no next text to go on in.
struct Full;

struct Writer<'a, D> {
    dialect: &'a D,
    limits: &'a Limits,
    reserve: usize,
    done: Vec<String>,
    out: String,
    /// What `out` counts for.
    used: usize,
    /// How long `out` was when it was begun: only tags that were opened again.
    fresh: usize,
    open: Vec<&'a Tag>,
    /// For each open in `pieces` whether it was written.
    written: Vec<bool>,
    tags: usize,
    markup_bytes: usize,
}

impl<'a, D: Dialect> Writer<'a, D> {
    fn new(dialect: &'a D, limits: &'a Limits, reserve: usize) -> Self {
        Self {
            dialect,
            limits,
            reserve,
            done: Vec::new(),
            out: String::new(),
            used: 0,
            fresh: 0,
            open: Vec::new(),
            written: Vec::new(),
            tags: 0,
            markup_bytes: 0,
        }
    }

    fn run(&mut self, pieces: &'a [Piece]) -> Result<(), Full> {
        for piece in pieces {
            match piece {
                Piece::Open(tag) => self.open(tag),
                Piece::Close => self.close(),
                Piece::Text(text) => self.text(text)?,
            }
        }
        Ok(())
    }

    fn finish(mut self, ellipsis: &str) -> Vec<String> {
        self.out.truncate(self.out.trim_end().len().max(self.fresh));
        self.out.push_str(ellipsis);
        self.close_all();
        if !self.out.is_empty() {
            self.done.push(self.out);
        }
        self.done
    }

    fn room(&self) -> usize {
        let closing = self.open.iter().map(|tag| self.closing_price(tag)).sum::<usize>();
        let spare = usize::from(D::COUNTS_MARKUP);
        self.limits.units_max.saturating_sub(self.used + closing + self.reserve + spare)
    }

    fn closing_price(&self, tag: &Tag) -> usize {
        Self::markup_price(|out| self.dialect.close(tag, out))
    }

    fn markup_price(write: impl Fn(&mut String)) -> usize {
        if !D::COUNTS_MARKUP {
            return 0;
        }
        let mut scratch = String::new();
        write(&mut scratch);
        units(&scratch)
    }

    fn open(&mut self, tag: &'a Tag) {
        let price = Self::markup_price(|out| self.dialect.open(tag, out));
        let fits = price + self.closing_price(tag) < self.room()
            && self.tags < self.limits.tags_max
            && self.markup_bytes < MARKUP_BYTES_MAX;
        self.written.push(fits);
        if fits {
            self.tags += 1;
            self.write_open(tag);
            self.open.push(tag);
        }
    }

    fn write_open(&mut self, tag: &Tag) {
        let before = self.out.len();
        self.dialect.open(tag, &mut self.out);
        self.count(before);
    }

    fn close(&mut self) {
        if self.written.pop() == Some(true)
            && let Some(tag) = self.open.pop()
        {
            let before = self.out.len();
            self.dialect.close(tag, &mut self.out);
            self.count(before);
        }
    }

    fn count(&mut self, before: usize) {
        if D::COUNTS_MARKUP {
            self.used += units(&self.out[before..]);
        } else {
            self.markup_bytes += self.out.len() - before;
        }
    }

    fn close_all(&mut self) {
        for tag in self.open.iter().rev() {
            self.dialect.close(tag, &mut self.out);
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Full> {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.line_feed()?;
            }
            self.line(line)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), Full> {
        let mut rest = line;
        loop {
            let fits = fitting(rest, self.room(), |ch| self.dialect.price(ch));
            if fits == rest.len() {
                self.write_text(rest);
                return Ok(());
            }
            // What would be torn goes into the next text whole, if there is one.
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let end = match boundary(rest, fits) {
                end if end < word && word <= WORD_BYTES_MAX && self.goes_on() => 0,
                end => end,
            };
            self.write_text(&rest[..end]);
            self.next_text()?;
            rest = rest[end..].trim_start();
        }
    }

    fn write_text(&mut self, text: &str) {
        let before = self.out.len();
        self.dialect.text(text, &self.open, &mut self.out);
        let prices = text.chars().map(|ch| self.dialect.price(ch)).sum::<usize>();
        self.used += if D::COUNTS_MARKUP { units(&self.out[before..]) } else { prices };
    }

    fn line_feed(&mut self) -> Result<(), Full> {
        let price = Self::markup_price(|out| self.dialect.line_feed(&self.open, out)).max(1);
        if price > self.room() {
            return self.next_text();
        }
        self.dialect.line_feed(&self.open, &mut self.out);
        self.used += price;
        Ok(())
    }

    /// A text that holds nothing yet would not hold more the next time.
    fn goes_on(&self) -> bool {
        self.done.len() + 1 < self.limits.pieces_max && self.out.len() > self.fresh
    }

    fn next_text(&mut self) -> Result<(), Full> {
        if !self.goes_on() {
            return Err(Full);
        }
        self.out.truncate(self.out.trim_end().len().max(self.fresh));
        self.close_all();
        self.done.push(std::mem::take(&mut self.out));
        self.used = 0;
        for tag in self.open.clone() {
            self.write_open(tag);
        }
        self.fresh = self.out.len();
        Ok(())
    }
}
