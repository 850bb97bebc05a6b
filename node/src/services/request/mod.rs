//! From a wire operation to what consensus takes: everything checked that needs no state to be checked, and copied,
//! so that nothing kept pins the network buffer it arrived in.
//!
//! # Layout
//!
//! ```text
//! session     changes of sessions         attribute   what sessions hold
//! lock        locks                       name        namespaces, ids, handles, principals
//! read        reads of one session        keys        which sessions an operation is about
//! list        lists of sessions           page        page tokens
//! namespace   namespaces and policies
//! ```

mod attribute;
mod keys;
mod list;
mod lock;
pub(crate) mod name;
mod namespace;
mod page;
mod read;
mod session;

use quorate_proto::v1;
use quorate_proto::v1::operation::Operation as Wire;
use quorate_state::{Command, Operation, RequestId};

use super::answer::Reply;
use super::failure::Failure;
use super::query::Query;
use super::reasons::Stake;

pub(crate) use attribute::Selection;
pub(crate) use keys::Keys;
pub(crate) use list::List;
pub(crate) use read::{Freshness, Read};

/// An operation, checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) stake: Stake,
}

/// What there is to do.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most are mutations, and none is kept for long")]
pub(crate) enum Work {
    /// Draw a client handle and open it.
    OpenClient,
    /// Propose this; `reply` turns its outcome into the answer.
    Mutate { command: Command, reply: Reply },
    /// Read a session.
    Read(Read),
    /// Look at something else.
    Query { query: Query, freshness: Freshness },
}

impl Request {
    /// Checks an operation. `cluster` is this cluster's id.
    ///
    /// # Errors
    /// [`Failure`], definitely not applied: which field, what is wrong, what is allowed.
    pub(crate) fn parse(operation: &Wire, cluster: u64) -> Result<Self, Failure> {
        match operation {
            Wire::OpenClient(_) => Ok(Request { work: Work::OpenClient, stake: Stake::Once }),
            Wire::Get(get) => Ok(Request { work: Work::Read(read::read(get, cluster)?), stake: Stake::Read }),
            Wire::Create(create) => session::create(create),
            Wire::Write(write) => session::write(write),
            Wire::Touch(touch) => session::touch(touch),
            Wire::Delete(delete) => session::delete(delete),
            Wire::Regenerate(regenerate) => session::regenerate(regenerate),
            Wire::TouchMany(touch) => session::touch_many(touch),
            Wire::Lock(lock) => lock::lock(lock),
            Wire::Unlock(unlock) => lock::unlock(unlock),
            Wire::BreakLock(lock) => lock::break_lock(lock),
            Wire::List(list) => list::list(list, cluster),
            Wire::Revoke(revoke) => session::revoke(revoke),
            Wire::PutNamespace(put) => namespace::put(put),
            Wire::GetNamespace(get) => namespace::get(get),
            Wire::ListNamespaces(_) => Ok(namespace::list()),
            Wire::DeleteNamespace(delete) => namespace::delete(delete),
        }
    }

    /// Any node may answer it.
    pub(crate) fn is_local(&self) -> bool {
        match &self.work {
            Work::Read(read) => read.is_local(),
            Work::Query { freshness, .. } => freshness.is_local(),
            Work::OpenClient | Work::Mutate { .. } => false,
        }
    }

    /// A lock that may wait in line for long.
    pub(crate) fn waits(&self) -> bool {
        matches!(&self.work, Work::Mutate { reply: Reply::Lock(locking), .. } if locking.waits)
    }
}

fn mutation(request: Option<&v1::RequestId>, operation: Operation, reply: Reply) -> Result<Request, Failure> {
    let stake = stake(request);
    let request = request.map(request_id).transpose()?;
    Ok(Request { work: Work::Mutate { command: Command::Operate { request, operation }, reply }, stake })
}

fn stake(request: Option<&v1::RequestId>) -> Stake {
    if request.is_some() { Stake::Once } else { Stake::Mutation }
}

fn request_id(given: &v1::RequestId) -> Result<RequestId, Failure> {
    let wrong = if given.client == 0 {
        "request_id.client is 0; it is the number from OpenClient"
    } else if given.sequence == 0 {
        "request_id.sequence is 0; sequences start at 1"
    } else if given.lowest_unanswered > given.sequence {
        "request_id.lowest_unanswered is above sequence; it is at most the operation's own sequence"
    } else {
        return Ok(RequestId {
            client: given.client,
            sequence: given.sequence,
            lowest_unanswered: given.lowest_unanswered,
        });
    };
    Err(Failure::invalid("INVALID_REQUEST_ID", "request_id", wrong))
}

#[cfg(test)]
mod tests;
