//! What webhooks alone can do.

use jiff::Timestamp;
use serde_json::json;

use super::{Server, sample, workshop};
use crate::channel::{Kind, Try};

#[tokio::test]
async fn a_webhook_goes_out_by_the_method_that_is_configured() {
    for method in ["POST", "PUT", "PATCH"] {
        let server = Server::answering(200, &[], "").await;
        let config = json!({ "url": server.base, "method": method });
        let channel = Kind::Webhook.build(&config, &workshop()).unwrap();
        channel.send(Try::of(&sample(), Timestamp::UNIX_EPOCH)).await.unwrap();
        assert_eq!(server.requests()[0].method, method);
    }
}
