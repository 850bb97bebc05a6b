//! What a watcher asks for.

use quorate_proto::v1;
use quorate_state::{EndReason, Event, Happening};

use crate::services::failure::Failure;
use crate::services::request::name;

/// Kinds named in one request; there are five.
const KINDS_MAX: usize = 16;

/// Which events are wanted, and what of them.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) namespace: Box<str>,
    /// None: all.
    kinds: Vec<v1::EventKind>,
    principal: Option<Box<str>>,
    pub(super) attributes: bool,
}

impl Wanted {
    /// # Errors
    /// [`Failure`]: which field, what is wrong, what is allowed.
    pub(super) fn parse(request: &v1::WatchRequest) -> Result<Self, Failure> {
        let namespace = name::namespace(&request.namespace)?;
        let principal = request.principal.as_deref().map(name::principal).transpose()?;
        let kinds = kinds(&request.kinds)?;
        Ok(Wanted { namespace, kinds, principal, attributes: !request.without_attributes })
    }

    pub(super) fn includes(&self, event: &Event) -> bool {
        self.is_of_kind(event) && self.is_of_principal(event)
    }

    fn is_of_kind(&self, event: &Event) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind(event))
    }

    /// Before or after the event.
    fn is_of_principal(&self, event: &Event) -> bool {
        let Some(wanted) = &self.principal else { return true };
        let previous = match &event.what {
            Happening::Updated { previous_principal } => previous_principal.as_ref(),
            _ => None,
        };
        event.principal == *wanted || previous == Some(wanted)
    }
}

fn kinds(given: &[i32]) -> Result<Vec<v1::EventKind>, Failure> {
    let invalid = |message| Failure::invalid("INVALID_KINDS", "kinds", message);
    if given.len() > KINDS_MAX {
        return Err(invalid(format!("{} kinds are named; at most {KINDS_MAX} are allowed", given.len())));
    }
    let known = |kind: &i32| {
        let known = v1::EventKind::try_from(*kind).ok();
        let known = known.filter(|kind| *kind != v1::EventKind::Unspecified);
        known.ok_or_else(|| invalid(format!("{kind} is no kind of event; leave kinds empty for all")))
    };
    given.iter().map(known).collect()
}

/// What an event is called.
pub(super) fn kind(event: &Event) -> v1::EventKind {
    match &event.what {
        Happening::Created => v1::EventKind::Created,
        Happening::Updated { .. } => v1::EventKind::Updated,
        Happening::Renamed { .. } => v1::EventKind::Renamed,
        Happening::Ended { why: EndReason::Idle | EndReason::Absolute, .. } => v1::EventKind::Expired,
        Happening::Ended { .. } => v1::EventKind::Deleted,
    }
}
