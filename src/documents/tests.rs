//! What is said of channels that nobody knows.

use super::*;

#[test]
fn an_unknown_channel_comes_with_a_guess_or_with_the_names() {
    let id = ChannelId::parse("slack-alert").unwrap();
    assert!(unknown_channel(&id, &["slack-alerts", "b"]).message.contains("did you mean slack-alerts?"));
    assert!(unknown_channel(&id, &["b", "c"]).message.contains("there are b, c"));
    assert!(unknown_channel(&id, &[]).message.contains("none yet"));
}
