//! bugle-worker: reads the delivery queues of its kinds (`worker.kinds`); sends; publishes outcomes, timers, dead letters.

fn main() -> std::process::ExitCode {
    bugle::app::main(bugle::app::Role::Worker)
}
