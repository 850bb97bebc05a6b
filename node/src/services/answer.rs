//! From outcomes and sessions to what goes over the wire.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::{Clocks, Millis, Outcome, Session, SessionId, SessionKey};

use super::failure::Failure;
use super::reasons;
use crate::consensus::Applied;

/// A response that an answer may carry.
pub(crate) trait FromAnswer: Sized {
    /// The response, if the answer is of its kind.
    fn from_answer(answer: Answer) -> Option<Self>;
}

macro_rules! from_answer {
    ($($kind:ident => $response:ident),*) => {$(
        impl FromAnswer for v1::$response {
            fn from_answer(answer: Answer) -> Option<Self> {
                match answer {
                    Answer::$kind(response) => Some(response),
                    _ => None,
                }
            }
        }
    )*};
}

from_answer!(
    OpenClient => OpenClientResponse,
    Create => CreateResponse,
    Get => GetResponse,
    Write => WriteResponse,
    Touch => TouchResponse,
    Delete => DeleteResponse,
    Regenerate => RegenerateResponse
);

/// What a mutation's answer needs besides its outcome.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    OpenClient,
    Create { id: SessionId, key: SessionKey },
    Write,
    Touch,
    Delete,
    Regenerate { id: SessionId, key: SessionKey },
}

/// The answer to an applied mutation.
///
/// # Errors
/// A refusal, as its [`Failure`].
pub(crate) fn mutated(reply: Reply, cluster: u64, applied: Applied) -> Result<Answer, Failure> {
    let position = Some(v1::Position { cluster, index: applied.index });
    match (reply, applied.outcome) {
        (_, Outcome::Refused(refusal)) => Err(refusal.into()),
        (Reply::OpenClient, Outcome::ClientOpened(client)) => {
            Ok(Answer::OpenClient(v1::OpenClientResponse { client, position }))
        }
        (Reply::Create { id, key }, Outcome::Written { version }) => {
            let (id, handle) = (id.reveal().to_owned(), key.handle());
            Ok(Answer::Create(v1::CreateResponse { id, handle, version, position }))
        }
        (Reply::Regenerate { id, key }, Outcome::Written { version }) => {
            let (id, handle) = (id.reveal().to_owned(), key.handle());
            Ok(Answer::Regenerate(v1::RegenerateResponse { id, handle, version, position }))
        }
        (Reply::Write, Outcome::Written { version }) => {
            Ok(Answer::Write(v1::WriteResponse { version, position }))
        }
        (Reply::Touch, Outcome::Touched { remaining_ms }) => {
            Ok(Answer::Touch(v1::TouchResponse { remaining_ms, position }))
        }
        (Reply::Delete, Outcome::Done) => Ok(Answer::Delete(v1::DeleteResponse { position })),
        _ => Err(reasons::internal("the outcome is not one of this operation")),
    }
}

/// What an answer takes besides the attributes, and an attribute besides its name and value.
const ANSWER_BYTES: usize = 128;
const PAIR_BYTES: usize = 12;

/// A session as read at some moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) key: SessionKey,
    pub(crate) session: Session,
    /// The log index it reflects.
    pub(crate) index: u64,
    pub(crate) remaining_ms: Option<Millis>,
}

impl View {
    pub(crate) fn new(key: SessionKey, session: Session, index: u64, now: Clocks) -> Self {
        View { remaining_ms: session.remaining_ms(now), key, session, index }
    }

    /// About how many bytes the answer to a read of `selection` takes.
    pub(crate) fn answer_bytes(&self, selection: Option<&BTreeSet<String>>) -> usize {
        let wanted = self.session.attributes.iter().filter(|(name, _)| is_wanted(selection, name));
        let attributes: usize = wanted.map(|(name, value)| name.len() + value.len() + PAIR_BYTES).sum();
        ANSWER_BYTES + self.session.principal.len() + attributes
    }

    /// The answer to a read of `selection`.
    pub(crate) fn answer(self, selection: Option<&BTreeSet<String>>, cluster: u64) -> Answer {
        let View { key, session, index, remaining_ms } = self;
        let attributes = session.attributes.iter().filter(|(name, _)| is_wanted(selection, name));
        let attributes: BTreeMap<_, _> =
            attributes.map(|(name, value)| (name.as_ref().to_owned(), value.clone())).collect();
        Answer::Get(v1::GetResponse {
            session: Some(v1::Session {
                handle: key.handle(),
                version: session.version,
                attributes,
                principal: session.principal.into(),
                created_ms: session.created.0,
                idle_timeout_ms: session.timeouts.idle_ms.unwrap_or(0),
                absolute_timeout_ms: session.timeouts.absolute_ms.unwrap_or(0),
                remaining_ms,
            }),
            position: Some(v1::Position { cluster, index }),
        })
    }
}

fn is_wanted(selection: Option<&BTreeSet<String>>, name: &str) -> bool {
    selection.is_none_or(|names| names.contains(name))
}
