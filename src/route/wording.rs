//! The texts of a firing: by its rule's templates, else by the default ones; once for each kind of channel that has
//! texts of its own.
//!
//! A template that cannot render leaves its place to the default text and a note; a default one to what needs no template.

use super::template::{RenderError, Template};
use super::texts::{self, Texts};
use crate::channel::Kind;
use crate::delivery::{Action, Format, LABEL_CHARS_MAX};
use crate::event::{Event, Severity};
use crate::rule::Rule;
use crate::rule::template_spec::ActionTemplate;

/// Longer titles are cut: no provider shows them.
const TITLE_CHARS_MAX: usize = 512;

/// The rendered texts, and what could not be rendered.
#[derive(Debug)]
pub(super) struct Text {
    pub title: String,
    pub body: String,
    pub format: Format,
    pub link: Option<String>,
    pub actions: Vec<Action>,
    pub notes: Vec<String>,
}

/// Renders what is asked for, once.
pub(super) struct Wording<'a> {
    event: &'a Event,
    rule: &'a Rule,
    texts: &'a Texts,
    done: Vec<((Option<Kind>, Severity), Text)>,
}

impl<'a> Wording<'a> {
    pub fn new(event: &'a Event, rule: &'a Rule, texts: &'a Texts) -> Self {
        Self { event, rule, texts, done: Vec::new() }
    }

    /// None: a channel that does not exist.
    pub fn of(&mut self, kind: Option<Kind>, severity: Severity) -> &Text {
        let own = (kind.filter(|kind| self.rule.templates.of(*kind).is_some()), severity);
        let at = self.done.iter().position(|(of, _)| *of == own).unwrap_or_else(|| {
            self.done.push((own, self.render(own)));
            self.done.len() - 1
        });
        &self.done[at].1
    }

    fn render(&self, (kind, severity): (Option<Kind>, Severity)) -> Text {
        let general = &self.rule.templates.general;
        let own = kind.and_then(|kind| self.rule.templates.of(kind)).unwrap_or(general);
        let entry = self.texts.of(self.event);
        let mut notes = Vec::new();
        let mut render = |what: &str, template: Option<&Template>, how: How| {
            let rendered = how(template?, self.event);
            let instead = if what.starts_with("default") { "the event itself" } else { "the default" };
            let note = |error| format!("the {what} could not render, {instead} stands in: {error}");
            rendered.map_err(|error| notes.push(note(error))).ok()
        };
        let own_title =
            render("title template", own.title.as_ref().or(general.title.as_ref()), Template::render);
        let title = own_title.as_deref().and_then(line).unwrap_or_else(|| {
            let default = entry.and_then(|entry| entry.title.as_ref());
            let words = render("default title", default, Template::render);
            let words = words.as_deref().and_then(line).unwrap_or_else(|| texts::type_in_words(self.event));
            texts::one_line(&format!("{} {words}", texts::emoji(severity)), TITLE_CHARS_MAX)
        });
        let format = own.format.or(general.format).unwrap_or_default();
        let how: How = match format {
            Format::Markdown => Template::render_markdown,
            Format::Html => Template::render_html,
        };
        let own_body = render("body template", own.body.as_ref().or(general.body.as_ref()), how);
        // Default texts are Markdown.
        let format = if own_body.is_some() { format } else { Format::Markdown };
        let body = own_body.unwrap_or_else(|| {
            let default = entry.and_then(|entry| entry.body.as_ref());
            let body = render("default body", default, Template::render_markdown);
            let body = body.map(|body| body.trim().to_owned()).filter(|body| !body.is_empty());
            body.unwrap_or_else(|| texts::fields_of(self.event))
        });
        let link = render("link template", own.link.as_ref().or(general.link.as_ref()), Template::render);
        let link = link.map(|link| link.trim().to_owned()).filter(|link| !link.is_empty());
        let usable = link.as_deref().is_none_or(texts::is_link);
        if !usable {
            notes.push("the link was left out: it is neither http(s) nor a path".to_owned());
        }
        let link = link.filter(|_| usable);
        let actions = own.actions.as_ref().or(general.actions.as_ref());
        let actions = actions.map(|all| self.actions(all, &mut notes)).unwrap_or_default();
        Text { title, body, format, link, actions, notes }
    }

    /// One whose label or address renders empty is left out without a word: that is how a template says so.
    fn actions(&self, templates: &[ActionTemplate], notes: &mut Vec<String>) -> Vec<Action> {
        let mut actions = Vec::new();
        for template in templates {
            let rendered = template.label.render(self.event).and_then(|label| {
                let url = template.url.render(self.event)?;
                Ok(Action { label: texts::one_line(&label, LABEL_CHARS_MAX - 1), url: url.trim().to_owned() })
            });
            match rendered {
                Ok(action) if action.label.is_empty() || action.url.is_empty() => {}
                Ok(action) => match texts::check_action(&action) {
                    Ok(()) => actions.push(action),
                    Err(fault) => notes.push(format!("an action was left out: {fault}")),
                },
                Err(error) => notes.push(format!("an action was left out: it could not render: {error}")),
            }
        }
        actions
    }
}

type How = fn(&Template, &Event) -> Result<String, RenderError>;

/// None for nothing.
fn line(text: &str) -> Option<String> {
    Some(texts::one_line(text, TITLE_CHARS_MAX)).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests;
