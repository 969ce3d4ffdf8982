//! Whether the database answers this process. No pool says it: a question every few seconds does, also while nobody works.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};
use crate::clock;
use crate::metrics;
use crate::task;

const ASK_EVERY: Duration = Duration::from_secs(5);
/// A database whose host vanished answers nothing at all.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Asks until `stop`, and tells the metrics.
pub fn watch(store: Store, stop: CancellationToken) {
    task::spawn("the database's standing", async move {
        let follow = async {
            let mut before = false;
            loop {
                let asked = tokio::time::timeout(ANSWER_MAX, store.answers()).await;
                let up = matches!(asked, Ok(Ok(())));
                metrics::database_up(up);
                if before && !up {
                    metrics::database_lost();
                    tracing::warn!("the database does not answer");
                } else if up && !before {
                    tracing::info!("the database answers");
                }
                before = up;
                clock::sleep(clock::jittered(ASK_EVERY)).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = stop.cancelled() => {}
        }
    });
}

impl Store {
    /// Reads from the smallest table: a statement without one would be answered by a file that is gone.
    async fn answers(&self) -> Result<(), StoreError> {
        sqlx::query("select seq from recorder limit 1").fetch_optional(&self.pool).await?;
        Ok(())
    }
}
