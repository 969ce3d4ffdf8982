//! bugle: every role in one process (`bugle run`), and the operator's commands.

fn main() -> std::process::ExitCode {
    bugle::cli::main()
}
