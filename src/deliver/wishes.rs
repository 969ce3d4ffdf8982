//! What a recipient makes of a delivery that waited for them, or that was never asked about: once more, with the preferences of
//! now. All others were asked about by the router.

use std::time::Duration;

use super::after;
use super::hand::Hand;
use crate::bus::BusError;
use crate::clock;
use crate::metrics;
use crate::outcome::{Outcome, Reason};
use crate::preferences::{self, Judgement};

/// The broker's clock rang, and ours may be behind it: whoever comes for the end of quiet hours is not sent back into them.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

impl Hand<'_> {
    /// True when that is its end for now: it is recorded, and where it waits its timer is set.
    pub(super) async fn is_not_wanted_now(&self) -> Result<bool, BusError> {
        let delivery = self.delivery;
        let Some(recipient) = preferences::asked(delivery) else { return Ok(false) };
        let wishes = self.tools.people.wishes(&delivery.workspace, recipient).await?;
        self.still_ours()?;
        let now = clock::now();
        let judged = wishes.map(|wishes| wishes.judge(delivery, after(now, CLOCKS_DIFFER)));
        match judged.unwrap_or(Judgement::Pass) {
            Judgement::Pass => Ok(false),
            Judgement::Muted(row) => {
                self.suppress(Reason::Muted, Some(row.to_string())).await?;
                Ok(true)
            }
            Judgement::Hold(hold) => {
                let next = delivery.left_again(hold.until, now);
                let outcome = Outcome::of(&next, hold.verdict(), None, now);
                self.schedule(next, hold.until).await?;
                self.tools.bus.record(&outcome, &self.message_id()).await?;
                metrics::outcome(&outcome);
                Ok(true)
            }
        }
    }
}
