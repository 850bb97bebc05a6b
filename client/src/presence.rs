//! Whether the caller of a call that goes on without it is still there.

use tokio::sync::watch;

use crate::error::{Error, ErrorKind};

/// Tells whether the caller is there.
#[derive(Clone, Debug)]
pub(crate) struct Presence(Option<watch::Receiver<()>>);

impl Presence {
    /// Of a call that ends with its caller: while it runs there is one.
    pub(crate) fn given() -> Self {
        Presence(None)
    }

    pub(crate) fn has_gone(&self) -> bool {
        self.0.as_ref().is_some_and(|there| there.has_changed().is_err())
    }

    /// Ends once the caller has gone.
    pub(crate) async fn gone(&self) {
        match self.0.clone() {
            // Nothing is ever sent: it ends when the sender is dropped.
            Some(mut there) => while there.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// Runs `work` in a task of its own, which learns that its caller has gone, and outlives it. What it brings then is
/// dropped.
pub(crate) async fn attended<T, F>(work: impl FnOnce(Presence) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let (_here, there) = watch::channel(());
    match tokio::spawn(work(Presence(Some(there)))).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::local(ErrorKind::Other, "the runtime ended").after_tries(true)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn work_learns_that_its_caller_has_gone_and_goes_on() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let call = attended(async move |presence| {
            let _ = told.send(presence.has_gone());
            presence.gone().await;
            let _ = told.send(presence.has_gone());
            Ok(())
        });
        let mut call = Box::pin(call);
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(heard.recv().await, Some(false));
        drop(call);
        assert_eq!(heard.recv().await, Some(true));
    }
}
