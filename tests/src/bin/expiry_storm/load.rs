//! Writes to sessions that do not expire: at a fixed rate, whether the answers come or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_client::{Client, ErrorKind, SessionId, Write};
use quorate_tests::HarnessError;
use tokio::task::JoinSet;

const VALUE_BYTES: usize = 512;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Acknowledged,
    /// Its session is said to be gone: it must not be.
    Gone,
    /// Not acknowledged, for whatever other reason.
    Failed,
}

/// One write of the open loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    /// When it should have been sent: latency counts from here, so that a stall is paid by all who wait.
    pub(crate) intended: Instant,
    pub(crate) answered: Instant,
    pub(crate) end: End,
}

/// The sessions to write to, and the clients to write with.
pub(crate) struct Writers {
    pub(crate) clients: Vec<Client>,
    pub(crate) ids: Vec<SessionId>,
}

impl Writers {
    /// Write number `number`.
    async fn write(self: Arc<Self>, number: u64) -> End {
        let at = |length: usize| usize::try_from(number).unwrap_or(0).checked_rem(length).unwrap_or(0);
        let (Some(client), Some(id)) =
            (self.clients.get(at(self.clients.len())), self.ids.get(at(self.ids.len())))
        else {
            return End::Failed;
        };
        let value = Bytes::from(vec![u8::try_from(number & 0xff).unwrap_or(0); VALUE_BYTES]);
        match client.write(id, Write::replace([("v", value)])).await {
            Ok(_) => End::Acknowledged,
            Err(error) if error.kind() == ErrorKind::NotFound => End::Gone,
            Err(_) => End::Failed,
        }
    }

    /// Acknowledged writes per second with `callers` at once, each sending when it has its answer.
    pub(crate) async fn measure_max(self: &Arc<Self>, callers: u64, during: Duration) -> f64 {
        let (began, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut running = JoinSet::new();
        for caller in 0..callers {
            let (writers, done) = (Arc::clone(self), Arc::clone(&done));
            running.spawn(async move {
                let mut number = caller;
                while began.elapsed() < during {
                    if Arc::clone(&writers).write(number).await == End::Acknowledged {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    number += callers;
                }
            });
        }
        running.join_all().await;
        let acknowledged = u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        f64::from(acknowledged) / began.elapsed().as_secs_f64()
    }

    /// Sends `rate` writes per second from `from` to `until`; returns once all have ended.
    ///
    /// # Errors
    /// A writer panicked.
    pub(crate) async fn open_loop(
        self: Arc<Self>,
        rate: f64,
        from: Instant,
        until: Instant,
    ) -> Result<Vec<Op>, HarnessError> {
        let panicked = |error: tokio::task::JoinError| HarnessError::Unreadable(error.to_string());
        let interval = Duration::from_secs_f64(1.0 / rate.max(1.0));
        let (mut ops, mut running) = (Vec::new(), JoinSet::new());
        let (mut intended, mut number) = (from, 0);
        while intended < until {
            if intended > Instant::now() {
                tokio::time::sleep_until(intended.into()).await;
            }
            let writers = Arc::clone(&self);
            running.spawn(async move {
                let end = writers.write(number).await;
                Op { intended, answered: Instant::now(), end }
            });
            while let Some(ended) = running.try_join_next() {
                ops.push(ended.map_err(panicked)?);
            }
            intended += interval;
            number += 1;
        }
        while let Some(ended) = running.join_next().await {
            ops.push(ended.map_err(panicked)?);
        }
        Ok(ops)
    }
}
