//! One operation through all its tries: redirects followed, broken connections replaced, the same request id each
//! time, until it is answered or its time is up.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_proto::v1::operation::Operation;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Broken, OPERATION_BYTES_MAX};
use crate::error::{Error, ErrorKind};
use crate::handle::{Found, Handle, Opened, Opener};
use crate::presence::Presence;
use crate::progress::{Progress, TRY_TIMEOUT, Time};
use crate::router::Router;
use crate::sequence::{Sequences, Ticket};

/// The opening of a handle goes on for this long, however short the deadline of those who wait for it.
const OPEN_DEADLINE_MIN: Duration = Duration::from_secs(5);

/// How long a node waits for the position that a read asks for.
const POSITION_WAIT_MAX: Duration = Duration::from_secs(5);

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Caller {
    router: Arc<Router>,
    deadline: Duration,
    /// Opened with the first mutation.
    handle: Handle,
    /// For calls that wait: one that is unanswered for a minute would hold all other mutations back, since a server
    /// remembers only so many outcomes beyond it.
    waits: Handle,
}

/// Which node a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// The leader.
    Leader,
    /// Whichever can be reached, by turns.
    Any,
    /// This one and no other.
    Node(&'a str),
}

/// What one try brought.
#[allow(clippy::large_enum_variant, reason = "handed on at once; most are answers")]
enum Tried {
    Answered(Answer),
    Refused(Error),
    /// Try again: at once when a leader was named, else after a pause.
    Again {
        error: Error,
        at_once: bool,
    },
}

impl Caller {
    pub(crate) fn new(router: Arc<Router>, deadline: Duration) -> Self {
        Caller { router, deadline, handle: Handle::default(), waits: Handle::default() }
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How long a call may take of which nothing else is said.
    pub(crate) fn time(&self) -> Time {
        Time { deadline: self.deadline, wait: Duration::ZERO }
    }

    /// A read: tried until answered.
    pub(crate) async fn read(&self, operation: Operation, route: Route<'_>) -> Result<Answer, Error> {
        check_size(operation.encoded_len())?;
        let mut progress = Progress::new(self.time());
        if awaits_position(&operation) {
            progress.wait = POSITION_WAIT_MAX;
        }
        self.run(&operation, route, &mut progress, false).await
    }

    /// A mutation: exactly once. `operation` builds it around a request id, from a request of so many `bytes`.
    pub(crate) async fn mutate(
        self: &Arc<Self>,
        bytes: usize,
        operation: impl Fn(v1::RequestId) -> Operation,
    ) -> Result<Answer, Error> {
        self.mutate_within(self.time(), Presence::given(), bytes, operation).await
    }

    /// As [`Self::mutate`], within another time, in a task that outlives its caller. When that has gone nothing is begun
    /// any more; what may be under way is asked for once more, to be ended.
    pub(crate) async fn mutate_within(
        self: &Arc<Self>,
        time: Time,
        presence: Presence,
        bytes: usize,
        operation: impl Fn(v1::RequestId) -> Operation,
    ) -> Result<Answer, Error> {
        check_size(bytes)?;
        let handle = if time.wait.is_zero() { &self.handle } else { &self.waits };
        let mut progress = Progress::new(time);
        progress.presence = presence;
        loop {
            let (sequences, ticket) = self.ticket(handle, &mut progress).await?;
            let result = self.run(&operation(ticket.request_id()), Route::Leader, &mut progress, true).await;
            let error = match result {
                Err(error) if is_forgotten(&error) => error,
                other => return other,
            };
            handle.forget(&sequences);
            if progress.maybe_applied {
                return Err(Error::outcome_unknown(&error));
            }
            // Forgotten before anything was sent under this id: a new handle makes it a first try. After a pause:
            // each handle is an entry in the replicated log.
            progress.pause(error).await?;
        }
    }

    /// A sequence of `handle`. Calls that wait do not wait for each other: where one has been unanswered for so many
    /// others that no more may be taken, the next have a handle of their own.
    async fn ticket(
        self: &Arc<Self>,
        handle: &Handle,
        progress: &mut Progress,
    ) -> Result<(Arc<Sequences>, Ticket), Error> {
        loop {
            let sequences = self.sequences(handle, progress).await?;
            if progress.wait.is_zero() {
                let taken = timeout_at(progress.until, sequences.take()).await;
                return taken.map(|ticket| (sequences, ticket)).map_err(|_| progress.expired());
            }
            if let Some(ticket) = sequences.try_take() {
                return Ok((sequences, ticket));
            }
            handle.forget(&sequences);
        }
    }

    /// The sequences of `handle`; has it opened if need be.
    async fn sequences(
        self: &Arc<Self>,
        handle: &Handle,
        progress: &mut Progress,
    ) -> Result<Arc<Sequences>, Error> {
        loop {
            let start = |opener| drop(tokio::spawn(Arc::clone(self).open(opener)));
            let mut waiter = match handle.find(start) {
                Found::Open(sequences) => return Ok(sequences),
                Found::Opening(waiter) => waiter,
            };
            match timeout_at(progress.until, waiter.opened()).await {
                Ok(Opened::Open(sequences)) => return Ok(sequences),
                Ok(Opened::Refused(error)) => return Err(error),
                Ok(Opened::Again(error)) => progress.pause(error).await?,
                Err(_) => {
                    progress.last = waiter.last().or(progress.last.take());
                    return Err(progress.expired());
                }
            }
        }
    }

    /// Opens a handle, for whoever waits for it then.
    async fn open(self: Arc<Self>, opener: Opener) {
        let time = Time { deadline: self.deadline.max(OPEN_DEADLINE_MIN), wait: Duration::ZERO };
        let mut progress = Progress::new(time);
        progress.opener = Some(opener);
        let operation = Operation::OpenClient(v1::OpenClientRequest {});
        // A handle whose answer was lost is never used, and forgotten by the server.
        let opened = self.run(&operation, Route::Leader, &mut progress, false).await;
        let Some(opener) = progress.opener else { return };
        match opened {
            Ok(Answer::OpenClient(opened)) => opener.open(opened.client),
            Ok(_) => opener.refuse(unexpected()),
            Err(error) if error.is_retryable() => opener.expire(error),
            Err(error) => opener.refuse(error),
        }
    }

    async fn run(
        &self,
        operation: &Operation,
        route: Route<'_>,
        progress: &mut Progress,
        mutation: bool,
    ) -> Result<Answer, Error> {
        loop {
            if progress.is_abandoned() {
                return Err(progress.expired());
            }
            let address = match route {
                Route::Leader => self.router.pick(),
                Route::Any => self.router.spread(),
                Route::Node(node) => node.to_owned(),
            };
            match self.attempt(operation, &address, route, progress, mutation).await? {
                Tried::Answered(answer) => return Ok(answer),
                Tried::Refused(error) if mutation => return Err(error.after_tries(progress.maybe_applied)),
                Tried::Refused(error) => return Err(error.without_effect()),
                Tried::Again { error, at_once: true } => {
                    progress.note(error);
                    if Instant::now() >= progress.until {
                        return Err(progress.expired());
                    }
                }
                Tried::Again { error, at_once: false } => progress.pause(error).await?,
            }
        }
    }

    async fn attempt(
        &self,
        operation: &Operation,
        address: &str,
        route: Route<'_>,
        progress: &mut Progress,
        mutation: bool,
    ) -> Result<Tried, Error> {
        let connection = match self.router.connection(address) {
            Ok(connection) => connection,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return Ok(Tried::Again { error, at_once: false });
            }
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let patience = TRY_TIMEOUT.saturating_add(progress.wait);
        let until = progress.until.min(now + patience);
        let remaining_ms = progress.until.saturating_duration_since(now).as_millis();
        let timeout_ms = u32::try_from(remaining_ms).unwrap_or(u32::MAX).max(1);
        let wire = v1::Operation { tag: 0, timeout_ms, operation: Some(operation.clone()) };
        let again = |message: String| Tried::Again {
            error: Error::local(ErrorKind::Unavailable, message),
            at_once: false,
        };
        match connection.call(wire, until, &progress.presence).await {
            Ok(v1::Answer { answer: Some(Answer::Error(error)), .. }) => {
                Ok(self.judge(Error::from_wire(error), address, route, progress, mutation))
            }
            Ok(v1::Answer { answer: Some(answer), .. }) if answers(operation, &answer) => {
                Ok(Tried::Answered(answer))
            }
            Ok(_) => Ok(Tried::Refused(unexpected())),
            Err(Broken::NotSent(reason)) => {
                self.router.abandon(address, &connection);
                Ok(again(format!("{address}: {reason}")))
            }
            Err(Broken::Dialling) => {
                if route == Route::Leader {
                    self.router.pass(address);
                }
                // What the try before this one met says more.
                if Instant::now() >= progress.until && progress.last.is_some() {
                    return Err(progress.expired());
                }
                Ok(again(format!("{address} is not reached yet")))
            }
            Err(Broken::Lost(reason)) => {
                progress.maybe_applied |= mutation;
                self.router.abandon(address, &connection);
                Ok(again(format!("{address}: {reason}")))
            }
            Err(Broken::TimedOut { sent }) => {
                progress.maybe_applied |= mutation && sent;
                // A caller with little time says nothing about the node. A read of one node may wait there for a
                // position, whoever leads.
                let silent = connection.silent() >= TRY_TIMEOUT || now.elapsed() >= patience;
                if silent && route == Route::Leader {
                    self.router.pass(address);
                }
                let error = match sent && awaits_position(operation) {
                    true => Error::position_not_reached(address, now.elapsed()),
                    false => unanswered(address, patience),
                };
                if Instant::now() >= progress.until {
                    if error.kind() == ErrorKind::Deadline {
                        progress.note(error);
                    }
                    return Err(progress.expired());
                }
                Ok(Tried::Again { error, at_once: false })
            }
            Err(Broken::TooLarge(error)) => Ok(Tried::Refused(*error)),
        }
    }

    /// What an error answer means for this call.
    fn judge(
        &self,
        error: Error,
        address: &str,
        route: Route<'_>,
        progress: &mut Progress,
        mutation: bool,
    ) -> Tried {
        if error.reason() == Some("NOT_LEADER") {
            if matches!(route, Route::Node(_)) {
                return Tried::Refused(error);
            }
            let leader = error.metadata().get("leader").filter(|leader| leader.as_str() != address).cloned();
            let named = self.router.redirect(address, leader.as_deref());
            // At once only the first time: two nodes may name each other until an election is through.
            let at_once = named && progress.last.is_none();
            return Tried::Again { error, at_once };
        }
        let transient = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Deadline)
            || (error.kind() == ErrorKind::ResourceExhausted && error.is_retryable());
        if !transient || is_forgotten(&error) || is_remembered(&error) {
            return Tried::Refused(error);
        }
        progress.maybe_applied |= mutation && error.may_have_taken_effect();
        if error.kind() == ErrorKind::Unavailable && route == Route::Leader {
            self.router.pass(address);
        }
        Tried::Again { error, at_once: false }
    }
}

/// Sent, it would break the stream that all callers share, again with each try.
fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > OPERATION_BYTES_MAX { Err(Error::too_large(bytes, OPERATION_BYTES_MAX)) } else { Ok(()) }
}

/// Whether a node may keep the answer until it has come to a position.
fn awaits_position(operation: &Operation) -> bool {
    match operation {
        Operation::Get(get) => get.at_least.is_some(),
        Operation::List(list) => list.at_least.is_some(),
        _ => false,
    }
}

fn unanswered(address: &str, patience: Duration) -> Error {
    Error::local(ErrorKind::Unavailable, format!("{address} did not answer within {patience:?}"))
}

/// Whether an answer is of the operation's kind.
fn answers(operation: &Operation, answer: &Answer) -> bool {
    matches!(
        (operation, answer),
        (Operation::OpenClient(_), Answer::OpenClient(_))
            | (Operation::Create(_), Answer::Create(_))
            | (Operation::Get(_), Answer::Get(_))
            | (Operation::Write(_), Answer::Write(_))
            | (Operation::Touch(_), Answer::Touch(_))
            | (Operation::Delete(_), Answer::Delete(_))
            | (Operation::Regenerate(_), Answer::Regenerate(_))
            | (Operation::TouchMany(_), Answer::TouchMany(_))
            | (Operation::Lock(_), Answer::Lock(_))
            | (Operation::Unlock(_), Answer::Unlock(_))
            | (Operation::BreakLock(_), Answer::BreakLock(_))
            | (Operation::List(_), Answer::List(_))
            | (Operation::Revoke(_), Answer::Revoke(_))
            | (Operation::PutNamespace(_), Answer::PutNamespace(_))
            | (Operation::GetNamespace(_), Answer::GetNamespace(_))
            | (Operation::ListNamespaces(_), Answer::ListNamespaces(_))
            | (Operation::DeleteNamespace(_), Answer::DeleteNamespace(_))
    )
}

/// The server no longer knows the request's client handle or its outcome.
fn is_forgotten(error: &Error) -> bool {
    matches!(error.reason(), Some("UNKNOWN_CLIENT" | "STALE_REQUEST"))
}

/// It may be otherwise later, but not under the same request id, whose outcome this is.
fn is_remembered(error: &Error) -> bool {
    matches!(error.reason(), Some("TOO_MANY_WAITERS" | "TOO_MANY_REVOCATIONS"))
}

/// A node answered with something else than was asked for: what it did is anybody's guess.
pub(crate) fn unexpected() -> Error {
    let message = "the node sent an answer of another kind than was asked for";
    Error::local(ErrorKind::Other, message).after_tries(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut earlier, a node that keeps the answer back until then would be taken for one that is silent.
    #[test]
    fn a_read_at_a_position_is_given_the_time_that_a_node_waits_for_it() {
        let at_least = Some(v1::Position { cluster: 7, index: 42 });
        assert!(awaits_position(&Operation::Get(v1::GetRequest { at_least, ..Default::default() })));
        assert!(awaits_position(&Operation::List(v1::ListRequest { at_least, ..Default::default() })));
        assert!(!awaits_position(&Operation::Get(v1::GetRequest::default())));
        assert!(!awaits_position(&Operation::List(v1::ListRequest::default())));
        assert!(!awaits_position(&Operation::Touch(v1::TouchRequest::default())));
    }
}
