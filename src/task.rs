//! Tasks that nobody waits for, and work that is not left half done.

/// sysexits.h: our own fault.
const EX_SOFTWARE: i32 = 70;

/// A task that lives as long as the process. If it breaks, the process ends to be started anew.
#[expect(clippy::disallowed_methods, reason = "the one door to spawning tasks that nobody waits for")]
pub fn spawn(name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    let task = tokio::spawn(work);
    tokio::spawn(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(name, "a task that everything rests on panicked: ending the process");
            std::process::exit(EX_SOFTWARE);
        }
    });
}

/// Work that is done to its end although whoever asked for it hangs up.
#[expect(clippy::disallowed_methods, reason = "it is waited for, except by who is gone")]
pub async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
