//! bugle-api: reads SQL and the record stream; serves history and live streams; publishes events, sends and documents.

fn main() -> std::process::ExitCode {
    bugle::app::main(bugle::app::Role::Api)
}
