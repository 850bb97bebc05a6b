//! Reads of one session, and how fresh a read must be.

use std::time::Duration;

use quorate_proto::v1;
use quorate_state::SessionKey;

use super::attribute::{Selection, selection};
use super::name;
use crate::services::failure::Failure;
use crate::services::{planted, reasons};

/// The least that a caller may bound a read's staleness by: ticks come each second.
const STALE_MS_MIN: u64 = 2_000;

/// A read of one session.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) namespace: Box<str>,
    pub(crate) key: SessionKey,
    /// Renew the idle deadline.
    pub(crate) touch: bool,
    /// The attributes to return.
    pub(crate) selection: Selection,
    pub(crate) freshness: Freshness,
}

/// What a read must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Everything acknowledged before it came: the leader alone knows.
    Linearizable,
    /// All up to this log index.
    AtLeast(u64),
    /// All but the last moments, so long at most.
    Stale(Duration),
}

impl Read {
    /// Any node may answer it: it asks for no more than that, and changes nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.freshness.is_local() && !self.touch
    }
}

impl Freshness {
    /// Any node may have seen enough.
    pub(crate) fn is_local(self) -> bool {
        self != Freshness::Linearizable
    }

    /// `cluster` is this cluster's id.
    pub(super) fn parse(
        at_least: Option<&v1::Position>,
        stale_ms: Option<u64>,
        cluster: u64,
    ) -> Result<Self, Failure> {
        match (at_least, stale_ms) {
            (None, None) => Ok(Freshness::Linearizable),
            (Some(position), None) if position.cluster == cluster => Ok(Freshness::AtLeast(position.index)),
            (Some(_), None) => Err(reasons::other_cluster()),
            (Some(_), Some(_)) => {
                let message = "both at_least and stale_ms are given; ask for one of them";
                Err(Failure::invalid("CONTRADICTING_READ", "stale_ms", message))
            }
            (None, Some(ms)) if ms < STALE_MS_MIN => {
                let message =
                    format!("stale_ms of {ms} ms is too short: at least {STALE_MS_MIN} ms are allowed");
                let failure = Failure::invalid("STALENESS_OUT_OF_RANGE", "stale_ms", message);
                Err(failure.fact("given_ms", ms).fact("min_ms", STALE_MS_MIN))
            }
            (None, Some(ms)) => Ok(Freshness::Stale(Duration::from_millis(ms))),
        }
    }
}

pub(super) fn read(get: &v1::GetRequest, cluster: u64) -> Result<Read, Failure> {
    let (namespace, key) = name::session(&get.namespace, &get.id)?;
    let freshness = Freshness::parse(get.at_least.as_ref(), get.stale_ms, cluster)?;
    if matches!(freshness, Freshness::Stale(_)) && get.touch == Some(true) {
        let message = "a read with stale_ms renews no deadline: leave touch unset, or stale_ms";
        return Err(Failure::invalid("CONTRADICTING_READ", "touch", message));
    }
    Ok(Read {
        namespace,
        key,
        touch: get.touch.unwrap_or(!freshness.is_local()),
        selection: selection(get.attributes.as_ref())?,
        freshness: planted::freshness(freshness),
    })
}
