//! How a client is made.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Caller;
use crate::client::Client;
use crate::error::Error;
use crate::router::Router;

/// Settings of a [`Client`]; see [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    endpoints: Vec<String>,
    namespace: String,
    deadline: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Builder { endpoints: Vec::new(), namespace: "default".into(), deadline: Duration::from_secs(5) }
    }
}

impl Builder {
    /// Nodes to begin with, `host:port` or `http://host:port`. One is enough: the others are learnt from it.
    pub fn endpoints<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// The application. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long one call may take, all tries together. Default: 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// A client that dials on first use.
    ///
    /// # Errors
    /// An endpoint that cannot be understood, or none.
    pub fn build(self) -> Result<Client, Error> {
        let router = Arc::new(Router::new(self.endpoints)?);
        Ok(Client { caller: Arc::new(Caller::new(router, self.deadline)), namespace: self.namespace.into() })
    }

    /// As [`Self::build`], and makes sure that the cluster answers; learns where all its nodes are.
    ///
    /// # Errors
    /// As [`Self::build`], or no node took a call before the deadline.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        client.greet().await?;
        Ok(client)
    }
}
