//! What a node answers to a mutation, in a form in which two answers to the same can be compared.

use std::collections::BTreeMap;

use prost::Message;
use quorate_proto::v1;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// What a node said to a mutation, without its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The response's bytes.
    Done(Vec<u8>),
    /// The status's code and message, the reason and the facts: their order in the details is left open.
    Refused(Code, String, String, BTreeMap<String, String>),
}

/// What a node said, and at which log index. A retry has an index of its own: it never reads as lower than the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) index: u64,
}

impl Answer {
    /// The refusal in a status; `None` when nobody knows what happened.
    pub(super) fn refusal(status: &Status) -> Option<Answer> {
        let lost = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
        );
        if lost {
            return None;
        }
        let info = status.get_details_error_info();
        let (reason, facts) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let said =
            Said::Refused(status.code(), status.message().to_owned(), reason, facts.into_iter().collect());
        Some(Answer { said, index: 0 })
    }
}

/// A response that tells its position.
pub(super) trait Positioned: Message + Default {
    fn take_position(&mut self) -> Option<v1::Position>;
}

macro_rules! positioned {
    ($($response:ident),*) => {$(
        impl Positioned for v1::$response {
            fn take_position(&mut self) -> Option<v1::Position> {
                self.position.take()
            }
        }
    )*};
}

positioned!(
    CreateResponse,
    WriteResponse,
    TouchResponse,
    TouchManyResponse,
    DeleteResponse,
    RegenerateResponse,
    UnlockResponse,
    BreakLockResponse,
    RevokeResponse,
    PutNamespaceResponse,
    DeleteNamespaceResponse
);

impl Positioned for v1::LockResponse {
    fn take_position(&mut self) -> Option<v1::Position> {
        // Runs down: a later answer to the same tells less, or more after a renewal.
        self.remaining_ms = 0;
        self.position.take()
    }
}

fn answer(mut response: impl Positioned) -> Answer {
    let index = response.take_position().map_or(0, |position| position.index);
    Answer { said: Said::Done(response.encode_to_vec()), index }
}

/// The answer in a response.
pub(super) fn answered(response: Response<impl Positioned>) -> Answer {
    answer(response.into_inner())
}

/// The answer in a response that was caught on its way.
pub(super) fn decoded<R: Positioned>(message: &[u8]) -> Option<Answer> {
    R::decode(message).ok().map(answer)
}
