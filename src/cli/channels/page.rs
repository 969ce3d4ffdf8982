//! Channels as a terminal shows them: a table whose last column may be long.

use super::{Row, Trial};
use crate::channel::standing::Verification;
use crate::cli::paint::Paint;
use crate::cli::table::{Cell, bad, bold, doubtful, faint, good, header, plain, table};

pub(super) fn list(rows: &[Row], paint: Paint) -> String {
    let mut cells = vec![header(["channel", "kind", "state", "owner", ""])];
    for row in rows {
        let disabled = row.standing.disabled(&row.address);
        let (state, why): (Cell, String) = match (row.is_on(), disabled, row.verification()) {
            (false, ..) => (("off".to_owned(), faint), String::new()),
            (true, Some(disabled), _) => (("switched off".to_owned(), bad), disabled.why.clone()),
            (true, None, Verification::Verified) => match row.trouble() {
                None => (("on".to_owned(), good), String::new()),
                Some(why) => (("held back".to_owned(), bad), why),
            },
            (true, None, Verification::Pending) => {
                (("pending".to_owned(), doubtful), format!("bugle channels test {}", row.spec.id))
            }
        };
        let kind = row.spec.kind.to_string();
        let owner = row.owner.clone();
        cells.push([(row.spec.id.to_string(), bold), (kind, plain), state, (owner, faint), (why, plain)]);
    }
    table(&cells, paint)
}

pub(super) fn tests(results: &[Trial], paint: Paint) -> String {
    let mut cells = vec![header(["channel", "kind", "test", "ms", ""])];
    for result in results {
        let test: Cell = match (result.ok, result.skipped) {
            (true, _) => ("ok".to_owned(), good),
            (false, true) => ("skipped".to_owned(), faint),
            (false, false) => ("failed".to_owned(), bad),
        };
        let took = result.duration_ms.map(|took| took.to_string()).unwrap_or_default();
        let reason = result.reason.filter(|_| !result.ok).map(|reason| reason.to_string());
        let why: Vec<String> =
            [reason, result.detail.clone(), result.note.clone()].into_iter().flatten().collect();
        cells.push([
            (result.channel.to_string(), bold),
            (result.kind.to_string(), plain),
            test,
            (took, faint),
            (why.join(": "), plain),
        ]);
    }
    table(&cells, paint)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::channel::standing::{ChannelStanding, digest_of};
    use crate::deliver::circuit::CircuitView;
    use crate::deliver::circuit::state::Mode;
    use crate::ids::ChannelId;
    use crate::outcome::Reason;

    fn row(id: &str, owner: &str, enabled: bool) -> Row {
        let config = json!({"url": "https://a.example/"});
        let spec = json!({"id": id, "kind": "webhook", "enabled": enabled, "config": config});
        let spec: crate::channel::ChannelSpec = serde_json::from_value(spec).unwrap();
        let address = digest_of(&spec, None);
        let circuit = CircuitView { state: Mode::Closed, since: None, next_probe_at: None };
        let (owner, standing) = (owner.to_owned(), ChannelStanding::default());
        Row { spec, owner, standing, address, circuit, trouble: None }
    }

    #[test]
    fn a_list_says_how_each_channel_stands_and_what_to_do() {
        let mut rows = Vec::from(["ops", "sick", "bots"].map(|id| row(id, "file:a.yaml", true)));
        rows[1].circuit.state = Mode::Open;
        rows[1].circuit.next_probe_at = Some("2026-01-02T03:04:05.6Z".parse().unwrap());
        rows[2].trouble = Some("its connection bot is off".to_owned());
        rows.extend([row("new-one", "api", true), row("old", "api", false)]);
        let expected = "channel  kind     state      owner\n\
                        ops      webhook  on         file:a.yaml\n\
                        sick     webhook  held back  file:a.yaml  nothing works on it; the next delivery is tried after 2026-01-02T03:04:05Z\n\
                        bots     webhook  held back  file:a.yaml  its connection bot is off\n\
                        new-one  webhook  pending    api          bugle channels test new-one\n\
                        old      webhook  off        api\n";
        assert_eq!(list(&rows, Paint::PLAIN), expected);
        assert!(list(&rows, Paint::COLOURED).contains("\x1b[32mon\x1b[0m"));
    }

    #[test]
    fn a_test_that_failed_says_why() {
        let trial = |id: &str, ok: bool, reason: Reason, detail: Option<&str>| Trial {
            channel: ChannelId::parse(id).unwrap(),
            ok,
            reason: Some(reason),
            detail: detail.map(str::to_owned),
            duration_ms: Some(12),
            ..Trial::new(&row("x", "api", true))
        };
        let results = [
            trial("a", true, Reason::Accepted, None),
            trial("b", false, Reason::ProviderError, Some("answered 500")),
        ];
        let expected = "channel  kind     test    ms\n\
                        a        webhook  ok      12\n\
                        b        webhook  failed  12  provider_error: answered 500\n";
        assert_eq!(tests(&results, Paint::PLAIN), expected);
    }
}
