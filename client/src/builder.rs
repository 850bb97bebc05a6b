//! How a client is made.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Caller;
use crate::client::Client;
use crate::dialler::{Dialler, KEEP_ALIVE_MAX, KEEP_ALIVE_MIN};
use crate::error::Error;
use crate::progress::CALL_MAX;
use crate::router::Router;

/// Settings of a [`Client`]; see [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    endpoints: Vec<String>,
    namespace: String,
    deadline: Duration,
    dialler: Dialler,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            endpoints: Vec::new(),
            namespace: "default".into(),
            deadline: Duration::from_secs(5),
            dialler: Dialler::default(),
        }
    }
}

impl Builder {
    /// Nodes to begin with, `host:port` or `http://host:port`. One is enough: the others are learnt from it. There is no
    /// TLS yet: `https` is refused.
    pub fn endpoints<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// The application. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long one call may take, all tries together; a day at most, and a day where it is more. Default: 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(CALL_MAX);
        self
    }

    /// How long it may take to reach a node, from the look-up of its name to a stream that is open. Calls wait for less
    /// before they ask another node. A day at most. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.dialler.connect_timeout = timeout.min(CALL_MAX);
        self
    }

    /// After how long without a word from a node it is asked for a sign of life; it is given up when none comes in as
    /// long again. At least 10 ms, an hour at most. Default: 500 ms.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.dialler.keep_alive = interval.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX);
        self
    }

    /// A client that dials on first use.
    ///
    /// # Errors
    /// `InvalidArgument`: an endpoint that cannot be understood, that names no port or asks for TLS; or none.
    pub fn build(self) -> Result<Client, Error> {
        let router = Arc::new(Router::new(self.endpoints, self.dialler)?);
        Ok(Client { caller: Arc::new(Caller::new(router, self.deadline)), namespace: self.namespace.into() })
    }

    /// As [`Self::build`], and makes sure that the cluster answers; learns where all its nodes are, as far as the deadline
    /// leaves time for it.
    ///
    /// # Errors
    /// As [`Self::build`], or no node took a call before the deadline.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        client.greet().await?;
        Ok(client)
    }
}
