//! Lists of sessions, a page at a time.

use std::fmt;
use std::pin::Pin;

use futures_util::stream::{self, Stream, TryStreamExt as _};
use quorate_proto::SessionStore;
use quorate_proto::v1;

use crate::client::{Client, position};
use crate::consistency::Consistency;
use crate::error::Error;
use crate::position::Position;
use crate::session::Session;

/// Which sessions are listed, and how.
#[derive(Clone, Default)]
#[must_use]
pub struct ListOptions {
    principal: Option<String>,
    handle_prefix: String,
    page_size: u32,
    page_token: String,
    consistency: Consistency,
}

impl ListOptions {
    /// All sessions of the namespace, 100 to a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this user's, in the order in which it signed in; those without a user when it is empty.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// Only those whose handle begins so: up to 32 lower-case hex digits.
    pub fn handle_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.handle_prefix = prefix.into();
        self
    }

    /// How many on a page, 1,000 at most. A page may hold fewer even when more follow.
    pub fn page_size(mut self, sessions: u32) -> Self {
        self.page_size = sessions;
        self
    }

    /// Goes on behind the page that this [`Page::next`] came with.
    pub fn after(mut self, next: impl Into<String>) -> Self {
        self.page_token = next.into();
        self
    }

    /// How fresh each page has to be. Default: linearizable.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

/// Whom the list is about is personal data.
impl fmt::Debug for ListOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListOptions")
            .field("handle_prefix", &self.handle_prefix)
            .field("page_size", &self.page_size)
            .field("consistency", &self.consistency)
            .finish_non_exhaustive()
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Without attributes and without ids.
    pub sessions: Vec<Session>,
    /// For [`ListOptions::after`], on any node and for any client; `None` on the last page.
    pub next: Option<String>,
    /// The position that this page reflects.
    pub position: Position,
}

impl Client {
    /// One page of sessions. A session that is there all the time comes exactly once over all pages.
    ///
    /// # Errors
    /// `NotFound` when there is no such namespace, `InvalidArgument`, or trouble on the way.
    pub async fn list(&self, options: ListOptions) -> Result<Page, Error> {
        let request = v1::ListRequest {
            namespace: self.namespace.to_string(),
            principal: options.principal,
            handle_prefix: options.handle_prefix,
            page_size: options.page_size,
            page_token: options.page_token,
            at_least: options.consistency.at_least(),
            stale_ms: options.consistency.stale_ms(),
        };
        let listed = SessionStore::list(self, request).await?;
        let position = position(listed.position);
        let sessions = listed.sessions.into_iter().map(|session| Session::from_wire(session, position));
        let next = Some(listed.next_page_token).filter(|token| !token.is_empty());
        Ok(Page { sessions: sessions.collect(), next, position })
    }

    /// All sessions, page after page as the stream is read. It ends behind the first error.
    #[must_use]
    pub fn list_all(
        &self,
        options: ListOptions,
    ) -> Pin<Box<dyn Stream<Item = Result<Session, Error>> + Send>> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(options), move |options| {
            let client = client.clone();
            async move {
                let Some(options) = options else { return Ok(None) };
                let page = client.list(options.clone()).await?;
                let next = page.next.map(|next| options.after(next));
                Ok(Some((stream::iter(page.sessions.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(pages.try_flatten())
    }
}
