//! Mutations on their way into the log: all whose turn has come while the batch before was handed over go together.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use quorate_state::{Command, Limits};

use super::schedule::Number;
use crate::consensus::{Applied, ProposeError};
use crate::services::backend::{Backend, Results};
use crate::services::lock::{self, Locking};

/// What came of a mutation; `None`: nobody knows.
pub(super) type Mutated = (Number, Option<Result<Applied, ProposeError>>);

/// A batch that has been handed over, or was refused.
pub(super) struct Submitted {
    numbers: Vec<Number>,
    results: Result<Results, ProposeError>,
}

/// One way into the log.
#[derive(Default)]
pub(super) struct Outbox {
    /// In order.
    waiting: Vec<(Number, Command)>,
    submitting: Option<BoxFuture<'static, Submitted>>,
}

impl Outbox {
    /// Its turn has come.
    pub(super) fn push(&mut self, number: Number, command: Command) {
        self.waiting.push((number, command));
    }

    /// Hands over what waits, unless a batch is being handed over.
    pub(super) fn start<B: Backend>(&mut self, backend: &B) {
        if self.submitting.is_some() || self.waiting.is_empty() {
            return;
        }
        let (numbers, commands): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let backend = backend.clone();
        let submit = async move { Submitted { numbers, results: backend.submit(commands).await } };
        self.submitting = Some(submit.boxed());
    }

    /// The next batch that has been handed over. Pending while there is none.
    pub(super) async fn submitted(&mut self) -> Submitted {
        let submitted = match &mut self.submitting {
            Some(submitting) => submitting.await,
            None => std::future::pending().await,
        };
        self.submitting = None;
        submitted
    }

    /// The batch that is being handed over.
    pub(super) fn into_submitting(self) -> Option<BoxFuture<'static, Submitted>> {
        self.submitting
    }
}

impl Submitted {
    /// What comes of each.
    pub(super) fn into_results(self) -> BoxStream<'static, Mutated> {
        let numbers = stream::iter(self.numbers);
        match self.results {
            // A stream that ends early leaves the rest without an answer: their fate is unknown.
            Ok(results) => numbers.zip(results.map(Some).chain(stream::repeat_with(|| None))).boxed(),
            Err(error) => numbers.map(move |number| (number, Some(Err(error.clone())))).boxed(),
        }
    }
}

/// Gives up the locks, and the places in line, that were on their way when their stream ended.
pub(super) async fn abandon<B: Backend>(
    backend: B,
    mut locks: HashMap<Number, Locking>,
    outbox: Outbox,
    mut results: SelectAll<BoxStream<'static, Mutated>>,
) {
    let leave = async {
        if let Some(submitting) = outbox.into_submitting() {
            results.push(submitting.await.into_results());
        }
        while let Some((number, result)) = results.next().await {
            let (Some(locking), Some(Ok(applied))) = (locks.remove(&number), result) else { continue };
            tokio::spawn(lock::unheard(backend.clone(), locking, applied));
        }
    };
    // Nobody stands in line for longer.
    let _ = tokio::time::timeout(Duration::from_millis(Limits::WAIT_MS_MAX), leave).await;
}
