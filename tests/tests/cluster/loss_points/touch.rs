//! Touch, whose second effect is hard to see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_client::{Client, Error, NewSession, SessionId};
use quorate_proto::v1;
use quorate_tests::{PATIENCE, new_id};
use tonic::Status;

use super::BETWEEN;
use super::answer::{Answer, answered, decoded};
use super::mutations::{Mutation, Stub, read};

const IDLE: Duration = Duration::from_secs(3600);

/// A touch, of one session or of several at once. A second effect shows in how much longer its session lives than one
/// that was created with it and is never touched; or, when the absolute deadline is nearer, in an answer that tells less
/// by then; or, when one of several was missing, in an answer that misses none any more.
pub(super) struct Touch {
    id: SessionId,
    untouched: SessionId,
    absolute: Option<Duration>,
    /// Touched with it; created afterwards.
    missing: Option<SessionId>,
    /// So much longer does it live, at most, by its first effect.
    gained: Mutex<Option<Duration>>,
}

/// What remains of a session that was never changed.
async fn remaining(client: &Client, id: &SessionId) -> Result<Duration, String> {
    let session = read(client, id).await?;
    match (session.version, session.remaining) {
        (1, Some(remaining)) => Ok(remaining),
        seen => Err(format!("version and what remains are {seen:?}")),
    }
}

impl Touch {
    fn new() -> Touch {
        let (id, untouched) = (new_id(), new_id());
        Touch { id, untouched, absolute: None, missing: None, gained: Mutex::default() }
    }

    pub(super) fn row() -> Arc<dyn Mutation> {
        Arc::new(Touch::new())
    }

    pub(super) fn row_with_nearer_deadline() -> Arc<dyn Mutation> {
        Arc::new(Touch { absolute: Some(IDLE / 2), ..Touch::new() })
    }

    pub(super) fn row_of_many() -> Arc<dyn Mutation> {
        Arc::new(Touch { missing: Some(new_id()), ..Touch::new() })
    }

    /// How much longer than the untouched one it lives: at least and at most. An outage in between is time of neither.
    async fn gain(&self, client: &Client) -> Result<(Duration, Duration), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What remained of the untouched one at the moment of the second read lies between the others.
            let before = remaining(client, &self.untouched).await?;
            let touched = remaining(client, &self.id).await?;
            let after = remaining(client, &self.untouched).await?;
            let gain = (touched.saturating_sub(before), touched.saturating_sub(after));
            if gain.1.saturating_sub(gain.0) < BETWEEN / 4 {
                return Ok(gain);
            }
            if Instant::now() >= deadline {
                return Err(format!("this machine is too slow to tell: {gain:?}"));
            }
        }
    }
}

#[tonic::async_trait]
impl Mutation for Touch {
    fn name(&self) -> &'static str {
        match (&self.absolute, &self.missing) {
            (Some(_), _) => "touch, absolute deadline nearer",
            (None, Some(_)) => "touch many",
            (None, None) => "touch",
        }
    }

    async fn prepare(&self, client: &Client) -> Result<(), Error> {
        for id in [&self.id, &self.untouched] {
            let new = NewSession::new().id(id.clone()).idle_timeout(IDLE);
            let new = match self.absolute {
                Some(absolute) => new.absolute_timeout(absolute),
                None => new,
            };
            client.create(new).await?;
        }
        Ok(())
    }

    async fn send(&self, mut stub: Stub, id: v1::RequestId) -> Result<Answer, Status> {
        if let Some(missing) = &self.missing {
            let ids = [&self.id, missing].map(|id| id.reveal().to_owned()).into();
            let request = v1::TouchManyRequest { ids, request_id: Some(id), ..Default::default() };
            return stub.sessions.touch_many(request).await.map(answered);
        }
        let request =
            v1::TouchRequest { id: self.id.reveal().to_owned(), request_id: Some(id), ..Default::default() };
        stub.sessions.touch(request).await.map(answered)
    }

    fn decode(&self, message: &[u8]) -> Option<Answer> {
        if self.missing.is_some() {
            decoded::<v1::TouchManyResponse>(message)
        } else {
            decoded::<v1::TouchResponse>(message)
        }
    }

    async fn check(&self, client: &Client) -> Result<(), String> {
        if self.absolute.is_some() {
            // Its answer alone tells when it was touched.
            return remaining(client, &self.id).await.map(drop);
        }
        let (at_least, at_most) = self.gain(client).await?;
        let mut gained = self.gained.lock();
        match *gained {
            // Between its creation and its touch time was let pass.
            None if at_least < BETWEEN / 2 => Err("not touched".to_owned()),
            None => {
                *gained = Some(at_most);
                Ok(())
            }
            Some(once) if at_least > once + BETWEEN / 2 => {
                Err(format!("touched again: {at_least:?} gained, {once:?} by the first"))
            }
            Some(_) => Ok(()),
        }
    }

    async fn overtake(&self, client: &Client) -> Result<(), Error> {
        match &self.missing {
            Some(missing) => client.create(NewSession::new().id(missing.clone())).await.map(drop),
            None => Ok(()),
        }
    }
}
