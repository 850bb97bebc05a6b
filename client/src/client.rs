//! The operations.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::SessionStore;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::call::{Caller, Route, unexpected};
use crate::change::{NewSession, Patch, Write};
use crate::consistency;
use crate::error::Error;
use crate::id::SessionId;
use crate::position::Position;
use crate::session::{AttributeSelection, Created, GetOptions, Session, Touched, TouchedMany, Written};

/// Ids in one TouchMany.
const TOUCHES_MAX: usize = 1_000;

/// A client of one cluster and one namespace. Cheap to clone; clones share their connections.
///
/// Calls that run at the same time have no order among them: where order matters, await one before the next.
///
/// Dropping a call's future gives up its answer, not the call: a change may still take effect, once, and for a while
/// also after changes begun later were acknowledged. It no longer can once a change has been acknowledged that was
/// begun, through this client or a clone of it, when neither the dropped call nor any change begun before it was
/// unanswered: the servers then refuse it as too old. The same holds for a call that ended with an error that says
/// that it [may have taken effect](Error::may_have_taken_effect).
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) caller: Arc<Caller>,
    pub(crate) namespace: Arc<str>,
}

pub(crate) fn position(position: Option<v1::Position>) -> Position {
    position.map(Position::from).unwrap_or_default()
}

impl Client {
    /// How a client is made.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same cluster, another namespace.
    #[must_use]
    pub fn with_namespace(&self, namespace: impl Into<String>) -> Client {
        Client { caller: Arc::clone(&self.caller), namespace: namespace.into().into() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Creates a session. Its id is made before the first try, so a retry cannot make two.
    ///
    /// # Errors
    /// `AlreadyExists`, limits, or trouble on the way; see [`Error`]. To look whether a create that
    /// [may have taken effect](Error::may_have_taken_effect) did, give it an id of your own: [`NewSession::id`].
    pub async fn create(&self, new: NewSession) -> Result<Created, Error> {
        let id = new.id.unwrap_or_else(SessionId::random);
        let request = v1::CreateRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            request_id: None,
            attributes: new.attributes,
            principal: new.principal,
            timeouts: Some(new.timeouts),
        };
        let created = SessionStore::create(self, request).await?;
        let position = position(created.position);
        Ok(Created { id, handle: created.handle, version: created.version, position })
    }

    /// Reads a session and renews its idle deadline. Linearizable.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, `Unavailable` when that cannot be known now.
    pub async fn get(&self, id: &SessionId) -> Result<Session, Error> {
        self.get_with(id, GetOptions::default()).await
    }

    /// Reads a session as `options` say.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_with(&self, id: &SessionId, options: GetOptions) -> Result<Session, Error> {
        let consistency = options.consistency;
        let request = v1::GetRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            touch: Some(options.touch && consistency.is_linearizable()),
            attributes: options.attributes.into_wire(),
            at_least: consistency.at_least(),
            stale_ms: consistency.stale_ms(),
        };
        let anywhere = consistency::route(request.at_least.as_ref(), request.stale_ms);
        let route = options.node.as_deref().map_or(anywhere, Route::Node);
        let answer = expect!(self.caller.read(Operation::Get(request), route).await?, Get)?;
        let session = answer.session.ok_or_else(|| unexpected().without_effect())?;
        Ok(Session::from_wire(session, position(answer.position)))
    }

    /// Changes a session.
    ///
    /// # Errors
    /// `NotFound`, `VersionConflict`, `Locked`, `LockLost`, limits, or trouble on the way.
    pub async fn write(&self, id: &SessionId, write: Write) -> Result<Written, Error> {
        let request = v1::WriteRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            request_id: None,
            if_version: write.if_version,
            principal: write.principal,
            timeouts: write.timeouts,
            change: write.change,
            fence: write.fence,
            release: write.release,
        };
        let written = SessionStore::write(self, request).await?;
        Ok(Written { version: written.version, position: position(written.position) })
    }

    /// Replaces all attributes.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn replace<N: Into<String>, V: Into<bytes::Bytes>>(
        &self,
        id: &SessionId,
        attributes: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Written, Error> {
        self.write(id, Write::replace(attributes)).await
    }

    /// Sets some attributes and removes others.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn patch(&self, id: &SessionId, patch: Patch) -> Result<Written, Error> {
        self.write(id, Write::patch(patch)).await
    }

    /// Renews the idle deadline.
    ///
    /// # Errors
    /// `NotFound`, or trouble on the way.
    pub async fn touch(&self, id: &SessionId) -> Result<Touched, Error> {
        let request = v1::TouchRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            request_id: None,
        };
        let touched = SessionStore::touch(self, request).await?;
        let remaining = touched.remaining_ms.map(Duration::from_millis);
        Ok(Touched { remaining, position: position(touched.position) })
    }

    /// Renews the idle deadlines of many sessions, 1,000 in a step.
    ///
    /// # Errors
    /// Trouble on the way; then some may have been touched. Sessions that are not there are no error.
    pub async fn touch_many<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a SessionId>,
    ) -> Result<TouchedMany, Error> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.reveal().to_owned()).collect();
        let mut all = TouchedMany { missing: Vec::new(), position: Position::default() };
        for (step, ids) in ids.chunks(TOUCHES_MAX).enumerate() {
            let request = v1::TouchManyRequest {
                namespace: self.namespace.to_string(),
                ids: ids.to_vec(),
                request_id: None,
            };
            let touched = SessionStore::touch_many(self, request).await?;
            let place = |place: u32| step * TOUCHES_MAX + usize::try_from(place).unwrap_or(usize::MAX);
            all.missing.extend(touched.missing.into_iter().map(place));
            all.position = position(touched.position);
        }
        Ok(all)
    }

    /// Ends a session. Nothing revives it.
    ///
    /// # Errors
    /// `NotFound`, or trouble on the way.
    pub async fn delete(&self, id: &SessionId) -> Result<Position, Error> {
        let request = v1::DeleteRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            ..v1::DeleteRequest::default()
        };
        Ok(position(SessionStore::delete(self, request).await?.position))
    }

    /// Ends the session with this handle, as read or listed: for administrators.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn delete_handle(&self, handle: impl Into<String>) -> Result<Position, Error> {
        let request = v1::DeleteRequest {
            namespace: self.namespace.to_string(),
            handle: handle.into(),
            ..v1::DeleteRequest::default()
        };
        Ok(position(SessionStore::delete(self, request).await?.position))
    }

    /// Gives a session a new random id; the old one is dead at once. Do this when a user signs in.
    ///
    /// # Errors
    /// `NotFound`, or trouble on the way. When it [may have taken effect](Error::may_have_taken_effect) the session may
    /// have an id that nobody knows: draw the id yourself and use [`Self::regenerate_to`] where that matters.
    pub async fn regenerate(&self, id: &SessionId) -> Result<Created, Error> {
        self.regenerate_to(id, SessionId::random()).await
    }

    /// Gives a session the id `new_id`, such as [`SessionId::random`]; the old one is dead at once.
    ///
    /// # Errors
    /// As [`Self::regenerate`]; `AlreadyExists` when `new_id` is in use. When it
    /// [may have taken effect](Error::may_have_taken_effect) either id may be the live one, and never both: keep both,
    /// and read with the new one first.
    pub async fn regenerate_to(&self, id: &SessionId, new_id: SessionId) -> Result<Created, Error> {
        self.renamed(id, new_id, None).await
    }

    /// As [`Self::regenerate_to`], by the holder of the session's lock, who keeps it under the new id. See also
    /// [`LockGuard::regenerate`](crate::LockGuard::regenerate).
    ///
    /// # Errors
    /// As [`Self::regenerate_to`]; `LockLost` when the lock is not held with this token.
    pub async fn regenerate_locked(
        &self,
        id: &SessionId,
        new_id: SessionId,
        fence: u64,
    ) -> Result<Created, Error> {
        self.renamed(id, new_id, Some(fence)).await
    }

    async fn renamed(&self, id: &SessionId, new_id: SessionId, fence: Option<u64>) -> Result<Created, Error> {
        let request = v1::RegenerateRequest {
            namespace: self.namespace.to_string(),
            id: id.reveal().to_owned(),
            request_id: None,
            new_id: new_id.reveal().to_owned(),
            fence,
        };
        let renewed = SessionStore::regenerate(self, request).await?;
        let position = position(renewed.position);
        Ok(Created { id: new_id, handle: renewed.handle, version: renewed.version, position })
    }

    /// First contact: waits until a leader answers, learns the members.
    pub(crate) async fn greet(&self) -> Result<(), Error> {
        let until = Instant::now() + self.caller.deadline();
        // A read of a session that cannot exist goes all the way to the leader and changes nothing.
        let options =
            GetOptions { touch: false, attributes: AttributeSelection::None, ..GetOptions::default() };
        match self.with_namespace("default").get_with(&SessionId::random(), options).await {
            Err(error) if error.kind() != crate::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.caller.router().refresh(until).await;
        Ok(())
    }
}
