//! Names that lead back to what they were made of.

use super::*;

#[test]
fn an_event_subject_gives_back_its_workspace_and_type() {
    let names = Names::new("bugle").unwrap();
    let subject = names.event(&WorkspaceId::default(), "task:transition");
    assert_eq!(subject, "bugle.events.default.task.transition");
    assert_eq!(names.event_parts(&subject), Some(("default", Some("task.transition"))));
    assert_eq!(names.event_parts("bugle.events.default"), Some(("default", None)));
    assert_eq!(names.event_parts("other.events.default.a"), None);
}

#[test]
fn a_prefix_that_is_no_token_is_refused() {
    for bad in ["", "a.b", "A", "a b", "*"] {
        assert!(Names::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_recipient_becomes_one_legal_token() {
    let names = Names::new("b").unwrap();
    let subject = names.inbox(&WorkspaceId::default(), &Recipient::parse("ann.smith@x > *").unwrap());
    assert_eq!(subject.split('.').count(), 4);
    assert!(!subject.contains(['>', '*', ' ']));
}
