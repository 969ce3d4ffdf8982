//! Ids for what has none, or one that Bugle cannot use.

/// As long as an id of a rule or a channel may be.
const ID_CHARS_MAX: usize = 64;

/// The text itself when it is a free id; else one made of it, or of `fallback` when nothing is left of it.
pub fn unique(text: &str, fallback: &str, taken: impl Fn(&str) -> bool) -> String {
    let legal = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let mut base: String = if text.chars().all(legal) {
        text.to_owned()
    } else {
        let plain =
            text.chars().map(|character| if legal(character) { character.to_ascii_lowercase() } else { ' ' });
        plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join("-")
    };
    if base.is_empty() {
        fallback.clone_into(&mut base);
    }
    base.truncate(ID_CHARS_MAX);
    let numbered = |number: usize| {
        let end = format!("-{number}");
        format!("{}{end}", &base[..base.len().min(ID_CHARS_MAX - end.len())])
    };
    let mut id = base.clone();
    let mut number = 2;
    while taken(&id) {
        id = numbered(number);
        number += 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_when_it_can_be_and_made_when_it_cannot() {
        let free = |_: &str| false;
        assert_eq!(unique("Slack_alerts-1", "x", free), "Slack_alerts-1");
        assert_eq!(unique("Notify: on task  failure!", "x", free), "notify-on-task-failure");
        assert_eq!(unique("…", "rule", free), "rule");
        assert_eq!(unique("a", "x", |id| ["a", "a-2"].contains(&id)), "a-3");
        let long = unique(&"a".repeat(80), "x", |id| !id.ends_with("-2"));
        assert_eq!((long.len(), long.ends_with("a-2")), (64, true));
    }
}
