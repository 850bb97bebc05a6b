//! The admin listener: health over HTTP.
//!
//! `/livez` says that the process runs, `/readyz` that the node takes requests (503 and the reason while it does
//! not), `/` lists both.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::consensus::Consensus;

/// The admin listener while it serves.
#[derive(Debug)]
pub struct Listener {
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// Serves health on `listener`, in the background.
#[must_use = "stop it, or it serves as long as the process lives"]
pub fn serve(listener: TcpListener, consensus: Consensus) -> Listener {
    serve_readiness(listener, move || {
        if consensus.is_ready() {
            return Ok(());
        }
        Err("not ready: this node has not recovered yet, or knows no leader that a quorum follows".to_owned())
    })
}

fn serve_readiness(
    listener: TcpListener,
    ready: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
) -> Listener {
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let served = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router(ready)).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the admin listener failed");
        }
    });
    Listener { stop, served }
}

fn router(ready: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static) -> Router {
    let readyz = async move || match ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    Router::new()
        .route("/", get(async || "quorated: /livez (the process runs), /readyz (the node takes requests)\n"))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
}

impl Listener {
    /// Stops at once: whoever asks for health now had better not be told that all is well.
    pub async fn stop(self) {
        self.stop.cancel();
        self.served.abort();
        // Aborted or ended: both are what was asked for.
        let _ = self.served.await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::cli::health;

    #[tokio::test]
    async fn readiness_is_served_and_understood_by_the_health_command() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ready = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ready);
        let serving = serve_readiness(listener, move || {
            if seen.load(Ordering::SeqCst) { Ok(()) } else { Err("not ready: no leader".to_owned()) }
        });
        let ask = async |address: &str| {
            let address = address.to_owned();
            tokio::task::spawn_blocking(move || health::check(&address, Duration::from_secs(5)))
                .await
                .unwrap()
        };
        let reason = ask(&address).await.unwrap_err();
        assert!(reason.contains("no leader"), "{reason}");
        ready.store(true, Ordering::SeqCst);
        assert_eq!(ask(&address).await.unwrap(), "ready");
        serving.stop().await;
        let reason = ask(&address).await.unwrap_err();
        assert!(reason.contains(&address), "{reason}");
    }
}
