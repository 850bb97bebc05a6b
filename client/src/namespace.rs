//! Namespaces: one for each application.

use prost::Message as _;
use quorate_proto::v1;
use quorate_proto::v1::operation::Operation;

use crate::call::{Route, unexpected};
use crate::client::{Client, position};
use crate::error::Error;
use crate::policy::{Policy, PolicyChange};
use crate::position::Position;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub policy: Policy,
    /// What is in it.
    pub counters: Counters,
}

/// What is in a namespace and happened there, counted as entries apply. Sessions that end together count as they leave
/// memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Sessions in memory now.
    pub live: u64,
    /// Their attribute names and values together, bytes.
    pub bytes: u64,
    /// Sessions created since the namespace was.
    pub created: u64,
    /// Sessions expired.
    pub expired: u64,
    /// Sessions ended otherwise.
    pub deleted: u64,
    /// Lock requests that had to wait.
    pub lock_waits: u64,
    /// Events kept now.
    pub events: u64,
    /// Their bytes.
    pub event_bytes: u64,
}

/// A namespace was created or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespacePut {
    /// It was not there before.
    pub created: bool,
    /// Reads at least at this position see it.
    pub position: Position,
}

impl Namespace {
    fn from_wire(wire: v1::Namespace) -> Self {
        let counters = wire.counters.unwrap_or_default();
        Namespace {
            name: wire.name,
            policy: wire.policy.unwrap_or_default().into(),
            counters: Counters {
                live: counters.live,
                bytes: counters.bytes,
                created: counters.created,
                expired: counters.expired,
                deleted: counters.deleted,
                lock_waits: counters.lock_waits,
                events: counters.events,
                event_bytes: counters.event_bytes,
            },
        }
    }
}

/// Namespaces are the cluster's: these take a name, whatever namespace the client is of.
impl Client {
    /// Creates the namespace `name`, or changes the policy of the one that is there.
    ///
    /// # Errors
    /// `InvalidArgument` for the name or a setting out of range, `ResourceExhausted` for one too many, or trouble on the
    /// way.
    pub async fn put_namespace(
        &self,
        name: impl Into<String>,
        policy: PolicyChange,
    ) -> Result<NamespacePut, Error> {
        self.put(name.into(), policy, v1::PutMode::CreateOrChange).await
    }

    /// Creates the namespace `name`.
    ///
    /// # Errors
    /// As [`Self::put_namespace`]; `AlreadyExists` when it is there.
    pub async fn create_namespace(
        &self,
        name: impl Into<String>,
        policy: PolicyChange,
    ) -> Result<NamespacePut, Error> {
        self.put(name.into(), policy, v1::PutMode::Create).await
    }

    /// Changes the policy of the namespace `name`. Sessions keep the timeouts that they have.
    ///
    /// # Errors
    /// As [`Self::put_namespace`]; `NotFound` when it is not there.
    pub async fn change_namespace(
        &self,
        name: impl Into<String>,
        policy: PolicyChange,
    ) -> Result<NamespacePut, Error> {
        self.put(name.into(), policy, v1::PutMode::Change).await
    }

    async fn put(
        &self,
        name: String,
        policy: PolicyChange,
        mode: v1::PutMode,
    ) -> Result<NamespacePut, Error> {
        let policy = Some(policy.into_wire());
        let request = v1::PutNamespaceRequest { name, policy, request_id: None, mode: mode.into() };
        let build =
            |id| Operation::PutNamespace(v1::PutNamespaceRequest { request_id: Some(id), ..request.clone() });
        let put = expect!(self.caller.mutate(request.encoded_len(), build).await?, PutNamespace)?;
        Ok(NamespacePut { created: put.created, position: position(put.position) })
    }

    /// The namespace `name`: its policy and counters.
    ///
    /// # Errors
    /// `NotFound`, or trouble on the way.
    pub async fn get_namespace(&self, name: impl Into<String>) -> Result<Namespace, Error> {
        let operation = Operation::GetNamespace(v1::GetNamespaceRequest { name: name.into() });
        let got = expect!(self.caller.read(operation, Route::Leader).await?, GetNamespace)?;
        let namespace = got.namespace.ok_or_else(|| unexpected().without_effect())?;
        Ok(Namespace::from_wire(namespace))
    }

    /// All namespaces, by name.
    ///
    /// # Errors
    /// Trouble on the way.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let operation = Operation::ListNamespaces(v1::ListNamespacesRequest {});
        let listed = expect!(self.caller.read(operation, Route::Leader).await?, ListNamespaces)?;
        Ok(listed.namespaces.into_iter().map(Namespace::from_wire).collect())
    }

    /// Ends all sessions of the namespace `name` and forgets it, in one step. These ends are no events.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` for `default`, which stays; or trouble on the way.
    pub async fn delete_namespace(&self, name: impl Into<String>) -> Result<Position, Error> {
        let request = v1::DeleteNamespaceRequest { name: name.into(), request_id: None };
        let build = |id| {
            Operation::DeleteNamespace(v1::DeleteNamespaceRequest { request_id: Some(id), ..request.clone() })
        };
        let deleted = expect!(self.caller.mutate(request.encoded_len(), build).await?, DeleteNamespace)?;
        Ok(position(deleted.position))
    }
}
