//! The frames and their page.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ids::{Recipient, WorkspaceId};
use crate::live::follower::tests::heard;

const PAGE: &str = include_str!("../../../docs/inbox-frames.md");

fn owner(recipient: &str) -> Owner {
    Owner { workspace: WorkspaceId::default(), recipient: Recipient::parse(recipient).unwrap() }
}

fn sent(frame: Frame) -> Sent {
    Sent { frame, id: Place { own: 12, everybody: 7 } }
}

fn sse(sent: &Sent, recipient: &str) -> String {
    let mut text = Vec::new();
    sent.write_sse(&owner(recipient), &mut text);
    String::from_utf8(text).unwrap()
}

/// One of each.
fn all() -> Vec<Sent> {
    let changes = ChangeKind::ALL.iter().map(|kind| Frame::Change(Arc::new(heard(12, *kind, 1))));
    let others = [
        Frame::Connected,
        Frame::UnreadCount(3),
        Frame::Gap,
        Frame::ServerShutdown,
        Frame::Cut(CutReason::Slow),
    ];
    changes.chain(others).map(sent).collect()
}

#[test]
fn a_change_is_a_server_sent_event_with_its_place() {
    let frame = sent(Frame::Change(Arc::new(heard(12, ChangeKind::Created, 1))));
    assert_eq!(sse(&frame, "ann"), "event: notification\ndata: {\"n\":12}\nid: 12.7\n\n");
    assert_eq!(sse(&frame, "*"), "event: notification\ndata: {\"n\":12}\nid: 7\n\n");
    assert_eq!(sse(&sent(Frame::Heartbeat), "ann"), ": heartbeat\n\n");
}

#[test]
fn a_change_is_a_text_of_a_websocket_with_its_place() {
    let frame = sent(Frame::Change(Arc::new(heard(12, ChangeKind::Created, 1))));
    let text = frame.ws(&owner("ann")).unwrap();
    assert_eq!(text, r#"{"type":"notification.new","notification":{"n":12},"id":"12.7"}"#);
    assert_eq!(sent(Frame::Heartbeat).ws(&owner("ann")), None);
}

/// `{a, b}` of a table's cell.
fn fields(cell: &str) -> BTreeSet<String> {
    let names = cell.split('`').skip(1).step_by(2);
    names
        .flat_map(|names| names.split([' ', ',', '{', '}']))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The rows of the page's tables by their first cell: the other cells.
fn rows() -> BTreeMap<String, Vec<String>> {
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = PAGE.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|mut cells| (cells.remove(0).trim_matches('`').to_owned(), cells)).collect()
}

fn keys(text: &str) -> BTreeSet<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_page_has_every_frame_with_its_fields() {
    let rows = rows();
    let mut told = BTreeSet::new();
    for sent in all() {
        let text = sse(&sent, "ann");
        let part = |head: &str| text.lines().find_map(|line| line.strip_prefix(head)).unwrap().to_owned();
        let name = part("event: ");
        let cells = rows.get(&name).unwrap_or_else(|| panic!("docs/inbox-frames.md has no row for {name}"));
        let ws = sent.ws(&owner("ann")).unwrap();
        let on_ws: Value = serde_json::from_str(&ws).unwrap();
        assert_eq!(cells[0].trim_matches('`'), on_ws["type"], "the WebSocket's type of {name}");
        let data = part("data: ");
        if cells[1] == "the notification" {
            assert_eq!(data, r#"{"n":12}"#, "the data of {name}");
        } else {
            assert_eq!(keys(&data), fields(&cells[1]), "the data of {name}");
        }
        let mut documented = fields(&cells[2]);
        documented.extend(["type".to_owned(), "id".to_owned()]);
        assert_eq!(keys(&ws), documented, "the WebSocket's fields of {name}");
        told.insert(name);
    }
    let named: BTreeSet<String> = FrameName::ALL.iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(told, named, "a frame that is never told, or one that has no name");
    let answers: BTreeSet<String> = Answer::ALL.iter().map(|answer| answer.as_str().to_owned()).collect();
    let asked = ["ping", "resume", "subscribe", "unsubscribe"].map(str::to_owned);
    let codes = ["1008", "1009", "1012", "4401", "4408"].map(str::to_owned);
    let known: BTreeSet<String> = named.into_iter().chain(answers).chain(asked).chain(codes).collect();
    assert_eq!(rows.into_keys().collect::<BTreeSet<_>>(), known, "the page and the code name other things");
    for reason in CutReason::ALL {
        assert!(
            PAGE.contains(&format!("`{reason}`")),
            "docs/inbox-frames.md does not name the reason {reason}"
        );
    }
}
