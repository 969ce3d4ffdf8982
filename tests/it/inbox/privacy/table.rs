//! The table: for each route what everybody is answered who tries it on what is bob's.
//!
//! 1: 401. 2: it is done or shown. 3: 403. 4: 404, as if it were not there. `*`: they may, whatever comes of it.

use std::ops::Range;

/// Who tries.
pub const COLUMNS: [&str; 11] = [
    "nobody",
    "red admin",
    "publisher of ann",
    "viewer of ann",
    "operator of ann",
    "agent of ann",
    "admin of ann",
    "publisher",
    "viewer",
    "operator",
    "admin",
];
/// Those who are bound to somebody else.
pub const OF_ANN: Range<usize> = 2..7;

const TABLE: &str = "
    POST   /v1/events                                          1 2  2 3 2 2 2  2 3 2 2
    GET    /v1/deliveries                                      1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/deliveries/stats                                1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/deliveries/stream                               1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/deliveries/{id}                                 1 4  3 4 4 4 4  3 2 2 2
    GET    /v1/deliveries/{id}/explanation                     1 4  3 3 3 3 3  3 * * *

    GET    /v1/notifications                                   1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/notifications/unread-count                      1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/notifications/{id}                              1 4  3 4 4 4 4  3 2 2 2
    POST   /v1/notifications/{id}/read                         1 4  3 4 4 4 4  3 3 2 2
    POST   /v1/notifications/{id}/unread                       1 4  3 4 4 4 4  3 3 2 2
    POST   /v1/notifications/{id}/dismiss                      1 4  3 4 4 4 4  3 3 2 2
    POST   /v1/notifications/{id}/restore                      1 4  3 4 4 4 4  3 3 2 2
    PUT    /v1/notifications                                   1 2  3 2 2 2 2  3 3 2 2
    POST   /v1/notifications/read-all                          1 2  3 3 3 3 3  3 3 2 2
    POST   /v1/notifications/claim                             1 2  3 3 3 3 3  3 3 2 2
    POST   /v1/notifications                                   1 2  3 3 3 3 3  3 3 2 2
    DELETE /v1/notifications                                   1 2  3 3 3 3 2  3 3 3 2
    POST   /v1/notifications/send                              1 2  3 3 3 3 3  3 3 2 2
    DELETE /v1/notifications/send/{id}                         1 4  3 3 4 3 4  3 3 2 *

    GET    /v1/notifications/stream                            1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/notifications/ws                                1 *  3 3 3 3 3  3 * * *
    GET    /v1/notifications/preferences                       1 2  3 3 3 3 3  3 2 2 2
    PUT    /v1/notifications/preferences                       1 2  3 3 3 3 3  3 3 2 2
    PATCH  /v1/notifications/preferences                       1 2  3 3 3 3 3  3 3 2 2
    DELETE /v1/notifications/preferences                       1 2  3 3 3 3 3  3 3 2 2

    POST   /v1/stream-tickets                                  1 2  2 2 2 2 2  2 2 2 2
    GET    /v1/events/stream                                   1 2  3 3 3 3 3  3 2 2 2

    GET    /v1/push-subscriptions                              1 2  3 3 3 3 3  3 3 2 2
    POST   /v1/push-subscriptions                              1 2  3 3 3 3 3  3 3 2 2
    DELETE /v1/push-subscriptions                              1 4  4 4 4 4 4  3 3 2 4
    GET    /v1/push-subscriptions/{id}                         1 4  4 4 4 4 4  3 3 2 2
    DELETE /v1/push-subscriptions/{id}                         1 4  4 4 4 4 4  3 3 2 4
    GET    /v1/push-subscriptions/vapid-public-key             1 *  * * * * *  * * * *

    GET    /v1/recipients/{id}                                 1 4  3 3 3 3 3  3 3 2 2
    PUT    /v1/recipients/{id}                                 1 2  3 3 3 3 3  3 3 2 2
    DELETE /v1/recipients/{id}/unsubscribed/{channel}          1 4  3 3 3 3 3  3 3 4 4
    DELETE /v1/recipients/{id}                                 1 2  3 3 3 3 3  3 3 2 4

    GET    /v1/dead-letters                                    1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/dead-letters/{sequence}                         1 4  3 3 3 3 3  3 4 4 4
    POST   /v1/dead-letters/{sequence}/redrive                 1 4  3 3 3 3 3  3 3 4 4
    POST   /v1/dead-letters/redrive                            1 *  3 3 3 3 3  3 3 * *
    POST   /v1/events/replay                                   1 *  3 3 3 3 3  3 3 * *
    GET    /v1/jobs                                            1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/jobs/{id}                                       1 4  3 3 3 3 3  3 4 4 4
    DELETE /v1/jobs/{id}                                       1 4  3 3 3 3 3  3 3 4 4

    GET    /v1/rules                                           1 2  3 3 3 3 3  3 2 2 2
    POST   /v1/rules                                           1 *  3 3 3 3 3  3 3 * *
    POST   /v1/rules/evaluate                                  1 *  3 3 3 3 3  3 * * *
    GET    /v1/rules/{id}                                      1 4  3 3 3 3 3  3 4 4 4
    PUT    /v1/rules/{id}                                      1 *  3 3 3 3 3  3 3 * *
    PATCH  /v1/rules/{id}                                      1 *  3 3 3 3 3  3 3 * *
    DELETE /v1/rules/{id}                                      1 4  3 3 3 3 3  3 3 4 4
    GET    /v1/rules/{id}/versions                             1 4  3 3 3 3 3  3 4 4 4
    POST   /v1/rules/{id}/revert                               1 *  3 3 3 3 3  3 3 * *
    GET    /v1/scopes                                          1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/scopes/{level}/{id}                             1 4  3 3 3 3 3  3 4 4 4
    PUT    /v1/scopes/{level}/{id}                             1 *  3 3 3 3 3  3 3 * *
    DELETE /v1/scopes/{level}/{id}                             1 *  3 3 3 3 3  3 3 * *

    GET    /v1/connections                                     1 2  3 3 3 3 3  3 2 2 2
    GET    /v1/connections/{id}                                1 4  3 3 3 3 3  3 4 4 4
    PUT    /v1/connections/{id}                                1 *  3 3 3 3 3  3 3 3 *
    PATCH  /v1/connections/{id}                                1 *  3 3 3 3 3  3 3 3 *
    DELETE /v1/connections/{id}                                1 4  3 3 3 3 3  3 3 3 4
    POST   /v1/connections/{id}/check                          1 4  3 3 3 3 3  3 3 4 4

    GET    /v1/sources                                         1 2  3 3 3 3 3  3 3 3 2
    GET    /v1/sources/{id}                                    1 4  3 3 3 3 3  3 3 3 4
    PUT    /v1/sources/{id}                                    1 *  3 3 3 3 3  3 3 3 *
    DELETE /v1/sources/{id}                                    1 4  3 3 3 3 3  3 3 3 4
    POST   /v1/sources/{id}                                    4 4  4 4 4 4 4  4 4 4 4
    GET    /v1/sources/{id}/versions                           1 4  3 3 3 3 3  3 3 3 4

    GET    /v1/notification-channels                           1 2  3 3 3 3 3  3 3 2 2
    POST   /v1/notification-channels                           1 *  3 3 3 3 3  3 3 3 *
    GET    /v1/notification-channels/{id}                      1 4  3 3 3 3 3  3 3 4 4
    PUT    /v1/notification-channels/{id}                      1 *  3 3 3 3 3  3 3 3 *
    PATCH  /v1/notification-channels/{id}                      1 4  3 3 3 3 3  3 3 3 4
    DELETE /v1/notification-channels/{id}                      1 4  3 3 3 3 3  3 3 3 4
    PATCH  /v1/notification-channels/{id}/enabled              1 *  3 3 3 3 3  3 3 3 *
    POST   /v1/notification-channels/{id}/test                 1 *  3 3 3 3 3  3 3 * *
    GET    /v1/notification-channels/{id}/versions             1 4  3 3 3 3 3  3 3 4 4
    POST   /v1/notification-channels/{id}/revert               1 *  3 3 3 3 3  3 3 3 *
    POST   /v1/notification-channels/telegram/detect-chats     1 *  3 3 3 3 3  3 3 * *

    GET    /v1/tokens                                          1 2  3 3 3 3 3  3 3 3 2
    POST   /v1/tokens                                          1 *  3 3 3 3 3  3 3 3 *
    DELETE /v1/tokens/{id}                                     1 4  3 3 3 3 3  3 3 3 4

    GET    /v1/unsubscribe/{token}                             4 4  4 4 4 4 4  4 4 4 4
    POST   /v1/unsubscribe/{token}                             4 4  4 4 4 4 4  4 4 4 4
";

/// What somebody is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Status(u16),
    Done,
    Allowed,
}

impl Expected {
    fn parse(word: &str) -> Self {
        match word {
            "1" => Self::Status(401),
            "2" => Self::Done,
            "3" => Self::Status(403),
            "4" => Self::Status(404),
            "*" => Self::Allowed,
            other => panic!("{other} is no word of the table"),
        }
    }

    pub fn holds(self, status: u16) -> bool {
        match self {
            Self::Status(expected) => status == expected,
            Self::Done => (200..300).contains(&status),
            // Not let in, or broken.
            Self::Allowed => ![401, 403, 500].contains(&status),
        }
    }
}

pub struct Row {
    pub method: String,
    pub path: String,
    pub expected: Vec<Expected>,
}

pub fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty());
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let expected: Vec<Expected> = words.map(|word| Expected::parse(&word)).collect();
        assert_eq!(expected.len(), COLUMNS.len(), "{method} {path}");
        Row { method, path, expected }
    };
    lines.map(row).collect()
}
