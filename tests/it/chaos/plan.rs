//! Which fault strikes when, and for how long: made from a seed, so that a run can be repeated.

use std::time::Duration;

use fastrand::Rng;

use super::log::Explains;
use crate::support::bugle::Role;

const ROUTER: &str = "router";
const CONSUMERS: [(&str, &str); 4] = [
    ("EVENTS", ROUTER),
    ("DELIVERIES", "worker-webhook-normal"),
    ("DELIVERIES", "worker-webhook-retry"),
    ("DELIVERIES", "worker-webhook-urgent"),
];

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of one process of a role; started again at the fault's end.
    Kill(Role),
    /// SIGSTOP of one process of a role, SIGCONT at the fault's end.
    Freeze(Role),
    /// SIGTERM of a worker; another one is started at the fault's end.
    ScaleDown,
    /// One more worker, which gets SIGTERM at the fault's end.
    ScaleUp,
    /// kill -9 of the server, in a cluster of the one that leads the deliveries.
    KillBroker,
    /// In a cluster: kill -9 of the leaders of two streams, the second before the first is back. Nothing is stored until
    /// one is.
    KillLeaders,
    /// SIGSTOP of the server, in a cluster of the one that leads the events.
    FreezeBroker,
    /// The consumer of the routers, or of one of the workers' lanes, is deleted.
    DeleteConsumer,
    /// Postgres crashes and stays away.
    StopDatabase,
    /// A receiver misbehaves.
    Sink(Mode),
}

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// 503.
    Broken,
    /// 429 with `Retry-After: 1`.
    Limiting,
    /// Reads, and never answers.
    Hanging,
    /// Reads, and resets the connection.
    Resetting,
    /// 200 after a second and a half.
    Slow,
    /// 200, and a body that does not end.
    Endless,
}

impl Fault {
    /// Every fault there is; some need a cluster.
    fn deck(cluster: bool) -> Vec<Self> {
        let mut deck = Vec::new();
        for role in Role::ALL {
            deck.extend([Self::Kill(role), Self::Freeze(role)]);
        }
        deck.extend([Self::ScaleDown, Self::ScaleUp, Self::KillBroker, Self::FreezeBroker]);
        deck.extend([Self::DeleteConsumer, Self::StopDatabase]);
        deck.extend(
            [Mode::Broken, Mode::Limiting, Mode::Hanging, Mode::Resetting, Mode::Slow, Mode::Endless]
                .map(Self::Sink),
        );
        if cluster {
            deck.push(Self::KillLeaders);
        }
        deck
    }

    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill -9 {}", role.word()),
            Self::Freeze(role) => format!("freeze {}", role.word()),
            Self::ScaleDown => "SIGTERM a worker".to_owned(),
            Self::ScaleUp => "a worker more, then SIGTERM".to_owned(),
            Self::KillBroker => "kill -9 nats-server".to_owned(),
            Self::KillLeaders => "kill -9 two leaders".to_owned(),
            Self::FreezeBroker => "freeze nats-server".to_owned(),
            Self::DeleteConsumer => "delete a consumer".to_owned(),
            Self::StopDatabase => "crash Postgres".to_owned(),
            Self::Sink(Mode::Broken) => "receiver answers 503".to_owned(),
            Self::Sink(Mode::Limiting) => "receiver answers 429".to_owned(),
            Self::Sink(Mode::Hanging) => "receiver hangs".to_owned(),
            Self::Sink(Mode::Resetting) => "receiver resets".to_owned(),
            Self::Sink(Mode::Slow) => "receiver is slow".to_owned(),
            Self::Sink(Mode::Endless) => "receiver's body is endless".to_owned(),
        }
    }

    /// How long it lasts, in milliseconds: the shortest, the longest in a short run and in a long one. Longer than half a
    /// minute means longer than the broker waits for an acknowledgement.
    fn span(self) -> (u64, u64, u64) {
        match self {
            Self::Kill(_) | Self::ScaleDown | Self::ScaleUp => (200, 1_500, 5_000),
            Self::Freeze(_) => (500, 3_000, 35_000),
            Self::KillBroker => (100, 1_500, 8_000),
            Self::KillLeaders => (1_500, 3_000, 10_000),
            Self::FreezeBroker => (500, 2_000, 12_000),
            Self::DeleteConsumer => (0, 0, 0),
            Self::StopDatabase => (3_000, 5_000, 30_000),
            Self::Sink(_) => (1_000, 3_000, 8_000),
        }
    }

    fn lasts(self, long: bool, rng: &mut Rng) -> Duration {
        let (shortest, short, longest) = self.span();
        // Half a minute without the database, always.
        let shortest = if long && self == Self::StopDatabase { longest } else { shortest };
        Duration::from_millis(rng.u64(shortest..=if long { longest } else { short }))
    }
}

/// A fault and its time, counted from the start of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub at: Duration,
    pub fault: Fault,
    pub lasts: Duration,
    /// Chooses among the processes, consumers or receivers that it may strike.
    pub pick: usize,
}

/// Deals the deck, shuffled, over the time of the load, and again when it is used up. The last fault leaves a tenth of
/// the time.
pub fn plan(seed: u64, cluster: bool, span: Duration, long: bool) -> Vec<Planned> {
    let mut rng = Rng::with_seed(seed);
    let mut planned = Vec::new();
    let mut at = Duration::from_secs(1);
    let deck = Fault::deck(cluster);
    // A short run deals each card once; a long one about every five seconds one.
    let pause =
        if long { Duration::from_secs(5) } else { span.mul_f64(0.85) / u32::try_from(deck.len()).unwrap() };
    while at < span.mul_f64(0.9) {
        let mut hand = deck.clone();
        rng.shuffle(&mut hand);
        for fault in hand {
            let lasts = fault.lasts(long, &mut rng);
            planned.push(Planned { at, fault, lasts, pick: rng.usize(..1_000) });
            at += pause.mul_f64(0.5 + rng.f64());
        }
        if !long {
            break;
        }
    }
    planned.retain(|one| !long || one.at < span.mul_f64(0.9));
    planned
}

/// Which repeats a fault may lead to.
pub fn explains(planned: &Planned) -> Explains {
    match planned.fault {
        Fault::Kill(Role::Router | Role::Worker) | Fault::Freeze(Role::Router | Role::Worker) => {
            Explains::Moment
        }
        Fault::DeleteConsumer if consumer(planned.pick).1 == ROUTER => Explains::SpanAndRouted,
        Fault::KillBroker | Fault::KillLeaders => Explains::Restart,
        Fault::FreezeBroker | Fault::DeleteConsumer => Explains::Span,
        Fault::Kill(Role::Recorder | Role::Api)
        | Fault::Freeze(Role::Recorder | Role::Api)
        | Fault::ScaleDown
        | Fault::ScaleUp
        | Fault::StopDatabase
        | Fault::Sink(_) => Explains::Nothing,
    }
}

/// A consumer and its stream.
pub fn consumer(pick: usize) -> (&'static str, &'static str) {
    CONSUMERS[pick % CONSUMERS.len()]
}

#[test]
fn a_seed_is_a_plan_and_a_short_one_has_every_fault() {
    for cluster in [false, true] {
        let short = plan(7, cluster, Duration::from_secs(20), false);
        assert_eq!(short, plan(7, cluster, Duration::from_secs(20), false));
        assert_ne!(short, plan(8, cluster, Duration::from_secs(20), false));
        let mut faults: Vec<Fault> = short.iter().map(|one| one.fault).collect();
        faults.sort();
        let mut all = Fault::deck(cluster);
        all.sort();
        assert_eq!(faults, all);
    }
}
