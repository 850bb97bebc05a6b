//! Lists of sessions.

use quorate_proto::v1;
use quorate_state::PageToken;

use super::page::ListId;
use super::read::Freshness;
use super::{Request, Work, name};
use crate::services::failure::Failure;
use crate::services::query::Query;
use crate::services::reasons::Stake;

/// Sessions on one page.
const PAGE_SIZE_MAX: u32 = 1_000;
const PAGE_SIZE_DEFAULT: u32 = 100;

/// A page of a list of sessions.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) namespace: Box<str>,
    /// Of this user alone.
    pub(crate) principal: Option<Box<str>>,
    /// Their handles begin so.
    pub(crate) prefix: Box<str>,
    /// The last of the page before.
    pub(crate) after: Option<PageToken>,
    pub(crate) size: usize,
    /// Which list the page tokens are of.
    pub(crate) id: ListId,
}

/// `cluster` is this cluster's id.
pub(super) fn list(list: &v1::ListRequest, cluster: u64) -> Result<Request, Failure> {
    let namespace = name::namespace(&list.namespace)?;
    let principal = list.principal.as_deref().map(name::somebody).transpose()?;
    let prefix = name::handle_prefix(&list.handle_prefix)?;
    let size = if list.page_size == 0 { PAGE_SIZE_DEFAULT } else { list.page_size };
    if size > PAGE_SIZE_MAX {
        let message =
            format!("page_size is {size}; at most {PAGE_SIZE_MAX} are allowed (0 means {PAGE_SIZE_DEFAULT})");
        return Err(
            Failure::invalid("INVALID_PAGE_SIZE", "page_size", message).fact("max_count", PAGE_SIZE_MAX)
        );
    }
    let id = ListId::of(cluster, &namespace, principal.as_deref(), &prefix);
    let after = match list.page_token.as_str() {
        "" => None,
        token => Some(id.read(token).ok_or_else(bad_token)?),
    };
    let freshness = Freshness::parse(list.at_least.as_ref(), list.stale_ms, cluster)?;
    // As an index into memory it is at most a thousand.
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let query = Query::List(Box::new(List { namespace, principal, prefix, after, size, id }));
    Ok(Request { work: Work::Query { query, freshness }, stake: Stake::Read })
}

fn bad_token() -> Failure {
    let message = "page_token is not from the page before: it belongs to another list, or is damaged; pass next_page_token as it came, with the same namespace, principal and handle_prefix";
    Failure::invalid("INVALID_PAGE_TOKEN", "page_token", message)
}
