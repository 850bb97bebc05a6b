//! How fresh a read has to be.

use std::time::Duration;

use quorate_proto::v1;

use crate::call::Route;
use crate::change::millis;
use crate::position::Position;

/// How fresh a read has to be, and with it who may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Every change acknowledged before the read began is seen. The leader answers.
    #[default]
    Linearizable,
    /// Any node answers that has applied this position, such as that of the caller's last write; it waits up to 5 s for
    /// it.
    AtLeast(Position),
    /// Any node answers whose state is no older than this: 2 s or more.
    Stale(Duration),
}

impl Consistency {
    /// Whether the leader answers, which alone can renew a deadline.
    pub(crate) fn is_linearizable(self) -> bool {
        self == Consistency::Linearizable
    }

    pub(crate) fn at_least(self) -> Option<v1::Position> {
        if let Consistency::AtLeast(position) = self { Some(position.into()) } else { None }
    }

    pub(crate) fn stale_ms(self) -> Option<u64> {
        if let Consistency::Stale(bound) = self { Some(millis(bound)) } else { None }
    }
}

/// Where a read goes that asks for these.
pub(crate) fn route(at_least: Option<&v1::Position>, stale_ms: Option<u64>) -> Route<'static> {
    if at_least.is_some() || stale_ms.is_some() { Route::Any } else { Route::Leader }
}
