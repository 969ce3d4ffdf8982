//! What people are shown who ask what a kind makes of a delivery.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::sample;
use crate::channel::Kind;
use crate::delivery::Format;

#[test]
fn every_kind_shows_its_own_form_of_a_delivery() {
    let mut delivery = sample();
    for (kind, title) in [
        (Kind::Console, "Task <created> & more"),
        (Kind::InApp, "Task <created> & more"),
        (Kind::Webhook, "Task <created> & more"),
        (Kind::Nats, "Task <created> & more"),
        (Kind::Url, "Task <created> & more"),
        (Kind::Slack, "Task &lt;created&gt; &amp; more"),
        (Kind::Telegram, "<b>Task &lt;created&gt; &amp; more</b>"),
        (Kind::WhatsApp, "*Task <created> & more*"),
        (Kind::Expo, "Task <created> & more"),
        (Kind::WebPush, "Task <created> & more"),
        (
            Kind::Email,
            "<h1 style=\\\"margin:0 0 12px;font-size:18px\\\">Task &lt;created&gt; &amp; more</h1>",
        ),
    ] {
        let shown = kind.show(&delivery);
        assert!(shown.to_string().contains(title), "{kind}: {shown:#}");
        let wanted = matches!(kind, Kind::Console | Kind::Telegram | Kind::WhatsApp);
        assert_eq!(shown.is_string(), wanted, "{kind}: {shown:#}");
    }
    delivery.format = Format::Html;
    assert_eq!(Kind::Webhook.show(&delivery)["format"], "html");
    delivery.data = Arc::from(RawValue::from_string("1e999".to_owned()).unwrap());
    assert!(Kind::Webhook.show(&delivery).is_null(), "no JSON value of ours holds such a number");
}
