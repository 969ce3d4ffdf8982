//! bugle-recorder: reads the record stream; writes the history to SQL. Several may run, one works at a time.

fn main() -> std::process::ExitCode {
    bugle::app::main(bugle::app::Role::Recorder)
}
