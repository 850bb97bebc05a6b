//! Events and cursors as messages.

use quorate_proto::v1;
use quorate_state::{Cursor, EndReason, Event, Happening};

use super::wanted::kind;

/// A cursor behind all of an entry has no ordinal.
pub(super) fn cursor(cluster: u64, cursor: Cursor) -> v1::Cursor {
    let Cursor { index, ordinal } = cursor;
    let ordinal = (cursor != Cursor::behind(index)).then_some(ordinal);
    v1::Cursor { position: Some(v1::Position { cluster, index }), ordinal }
}

pub(super) fn event(cluster: u64, event: &Event, with_attributes: bool) -> v1::Event {
    let mut message = v1::Event {
        kind: kind(event).into(),
        cursor: Some(cursor(cluster, event.cursor)),
        handle: event.key.handle(),
        principal: event.principal.to_string(),
        version: event.version,
        at_ms: event.at.0,
        ..v1::Event::default()
    };
    match &event.what {
        Happening::Created => {}
        Happening::Updated { previous_principal } => {
            message.previous_principal = previous_principal.as_ref().map(ToString::to_string);
        }
        Happening::Renamed { to } => message.new_handle = to.handle(),
        Happening::Ended { why, attributes } => {
            message.reason = reason(*why).into();
            if with_attributes {
                let own = attributes.iter().map(|(name, value)| (name.to_string(), value.clone()));
                message.attributes = own.collect();
            }
        }
    }
    message
}

fn reason(why: EndReason) -> v1::EndReason {
    match why {
        EndReason::Logout => v1::EndReason::Logout,
        EndReason::Revoked => v1::EndReason::Revoked,
        EndReason::PrincipalLimit => v1::EndReason::PrincipalLimit,
        EndReason::Idle => v1::EndReason::IdleTimeout,
        EndReason::Absolute => v1::EndReason::AbsoluteTimeout,
    }
}
