//! bugle-router: reads the event stream and the documents; publishes deliveries, suppressions and dead letters.

fn main() -> std::process::ExitCode {
    bugle::app::main(bugle::app::Role::Router)
}
