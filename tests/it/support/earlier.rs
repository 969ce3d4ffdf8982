//! The programs of the last release, beside today's.

use std::path::PathBuf;

use super::bugle::{Bugle, Member, Role};

/// The folder of its programs, where this checkout's history reaches back to it: `make test` builds them.
pub fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("BUGLE_TEST_EARLIER").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "left out, there are no programs of the last release: `make test` builds them from the history"
        );
    }
    folder
}

impl Bugle {
    /// A role as the release in that folder has it.
    pub fn spawn_of(&self, folder: &std::path::Path, role: Role) -> Member {
        let program = folder.join(format!("bugle-{}", role.word()));
        self.run(&format!("earlier-{}", role.word()), &program, &[], role == Role::Api)
    }

    /// A command of that release; what it prints when it goes well.
    pub async fn cli_of(&self, folder: &std::path::Path, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(folder.join("bugle"));
        command.args(arguments).envs(self.variables()).kill_on_drop(true).current_dir(self.folder.path());
        let output =
            tokio::time::timeout(super::LATER, command.output()).await.expect("a command ends").unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
