//! From outcomes and sessions to what goes over the wire.

use std::collections::BTreeMap;

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_state::{Clocks, ClusterTime, Listed, Millis, Outcome, Session, SessionId, SessionKey};

use super::failure::Failure;
use super::lock::Locking;
use super::reasons;
use super::request::Selection;
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
    Regenerate => RegenerateResponse,
    TouchMany => TouchManyResponse,
    Lock => LockResponse,
    Unlock => UnlockResponse,
    BreakLock => BreakLockResponse,
    List => ListResponse,
    Revoke => RevokeResponse,
    PutNamespace => PutNamespaceResponse,
    GetNamespace => GetNamespaceResponse,
    ListNamespaces => ListNamespacesResponse,
    DeleteNamespace => DeleteNamespaceResponse
);

/// What a mutation's answer needs besides its outcome.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    OpenClient,
    Create {
        id: SessionId,
        key: SessionKey,
    },
    Write,
    Touch,
    Delete,
    Regenerate {
        id: SessionId,
        key: SessionKey,
    },
    TouchMany,
    /// Answered by `lock`, which looks at the state too.
    Lock(Box<Locking>),
    Unlock,
    BreakLock,
    Revoke,
    PutNamespace,
    DeleteNamespace,
}

/// The answer to an applied mutation other than a lock.
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
        (Reply::TouchMany, Outcome::TouchedMany { missing }) => {
            let missing = missing.iter().collect();
            Ok(Answer::TouchMany(v1::TouchManyResponse { missing, position }))
        }
        (Reply::Unlock, Outcome::Done) => Ok(Answer::Unlock(v1::UnlockResponse { position })),
        (Reply::BreakLock, Outcome::Done) => Ok(Answer::BreakLock(v1::BreakLockResponse { position })),
        (Reply::Revoke, Outcome::Revoked { sessions }) => {
            Ok(Answer::Revoke(v1::RevokeResponse { sessions, position }))
        }
        (Reply::PutNamespace, Outcome::NamespacePut { created }) => {
            Ok(Answer::PutNamespace(v1::PutNamespaceResponse { created, position }))
        }
        (Reply::DeleteNamespace, Outcome::Done) => {
            Ok(Answer::DeleteNamespace(v1::DeleteNamespaceResponse { position }))
        }
        _ => Err(reasons::internal("the outcome is not one of this operation")),
    }
}

/// What an answer takes besides the attributes, and an attribute besides its name and value.
const ANSWER_BYTES: usize = 128;
const PAIR_BYTES: usize = 12;

/// A session as read at some moment.
#[derive(Debug)]
pub(crate) struct View {
    key: SessionKey,
    session: Session,
    /// The log index it reflects.
    pub(crate) index: u64,
    remaining_ms: Option<Millis>,
    lock: Option<v1::LockState>,
}

impl View {
    pub(crate) fn new(key: SessionKey, session: Session, index: u64, now: Clocks) -> Self {
        let (remaining_ms, lock) = (session.remaining_ms(now), lock_state(&session, now.cluster));
        View { key, session, index, remaining_ms, lock }
    }

    /// About how many bytes the answer to a read of `selection` takes.
    pub(crate) fn answer_bytes(&self, selection: &Selection) -> usize {
        let wanted = self.session.attributes.iter().filter(|(name, _)| is_wanted(selection, name));
        let attributes: usize = wanted.map(|(name, value)| name.len() + value.len() + PAIR_BYTES).sum();
        let owner = self.lock.as_ref().map_or(0, |lock| lock.owner.len());
        ANSWER_BYTES + self.session.principal.len() + owner + attributes
    }

    /// The answer to a read of `selection`.
    pub(crate) fn answer(self, selection: &Selection, cluster: u64) -> Answer {
        let position = Some(v1::Position { cluster, index: self.index });
        Answer::Get(v1::GetResponse { session: Some(self.session(selection)), position })
    }

    /// As it goes over the wire, with the attributes of `selection`.
    pub(crate) fn session(self, selection: &Selection) -> v1::Session {
        let attributes = self.session.attributes.iter().filter(|(name, _)| is_wanted(selection, name));
        let attributes: BTreeMap<_, _> =
            attributes.map(|(name, value)| (name.as_ref().to_owned(), value.clone())).collect();
        let bare = bare(self.key, &self.session, self.remaining_ms, self.lock);
        v1::Session { attributes, ..bare }
    }
}

/// A session in a list: without its attributes.
pub(crate) fn listed(listed: &Listed<'_>, now: Clocks) -> v1::Session {
    let Listed { key, session } = listed;
    bare(*key, session, session.remaining_ms(now), lock_state(session, now.cluster))
}

fn bare(
    key: SessionKey,
    session: &Session,
    remaining_ms: Option<Millis>,
    lock: Option<v1::LockState>,
) -> v1::Session {
    v1::Session {
        handle: key.handle(),
        version: session.version,
        attributes: BTreeMap::new(),
        principal: session.principal.as_ref().to_owned(),
        created_ms: session.created.0,
        idle_timeout_ms: session.timeouts.idle_ms.unwrap_or(0),
        absolute_timeout_ms: session.timeouts.absolute_ms.unwrap_or(0),
        remaining_ms,
        lock,
    }
}

/// Who has a session's lock, as others see it.
fn lock_state(session: &Session, now: ClusterTime) -> Option<v1::LockState> {
    let lock = session.lock_at(now)?;
    Some(v1::LockState {
        age_ms: now.0.saturating_sub(lock.holder.since.0),
        remaining_ms: lock.holder.until.0.saturating_sub(now.0),
        owner: lock.holder.owner.as_ref().to_owned(),
        waiting: u32::try_from(lock.waiting.len()).unwrap_or(u32::MAX),
    })
}

fn is_wanted(selection: &Selection, name: &str) -> bool {
    selection.as_ref().is_none_or(|names| names.contains(name))
}
