//! "Log out everywhere".

use quorate_proto::SessionStore;
use quorate_proto::v1;

use crate::client::{Client, position};
use crate::error::Error;
use crate::id::SessionId;
use crate::position::Position;

/// A principal's sessions were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// How many; those that had expired and not left memory count too.
    pub sessions: u64,
    /// Reads at least at this position see none of them.
    pub position: Position,
}

impl Client {
    /// Ends all sessions of `principal` in one step, however many. Events and counters follow behind it.
    ///
    /// # Errors
    /// `ResourceExhausted` when too many revocations are under way, or trouble on the way.
    pub async fn revoke(&self, principal: impl Into<String>) -> Result<Revoked, Error> {
        self.revoked(principal.into(), String::new()).await
    }

    /// As [`Self::revoke`], but keeps the session `id`, which must be one of the principal's: "log out everywhere else".
    ///
    /// # Errors
    /// As [`Self::revoke`]; `NotFound` or `FailedPrecondition` when that session is not there, or another user's. Nothing
    /// has ended then.
    pub async fn revoke_except(
        &self,
        principal: impl Into<String>,
        id: &SessionId,
    ) -> Result<Revoked, Error> {
        self.revoked(principal.into(), id.reveal().to_owned()).await
    }

    async fn revoked(&self, principal: String, except_id: String) -> Result<Revoked, Error> {
        let namespace = self.namespace.to_string();
        let request = v1::RevokeRequest { namespace, principal, request_id: None, except_id };
        let revoked = SessionStore::revoke(self, request).await?;
        Ok(Revoked { sessions: revoked.sessions, position: position(revoked.position) })
    }
}
