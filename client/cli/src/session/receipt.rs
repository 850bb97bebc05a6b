//! Receipt: what a change answers.

use serde::Serialize;

use crate::output::{Report, duration, pairs};

/// A new session, or a session under a new id.
#[derive(Debug, Serialize)]
pub(crate) struct NewId {
    /// The id; left out when it was saved to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) handle: String,
    pub(crate) version: u64,
    pub(crate) position: String,
}

impl Report for NewId {
    fn table(&self) -> String {
        let mut rows = Vec::new();
        if let Some(id) = &self.id {
            rows.push(("id", id.clone()));
        }
        rows.push(("handle", self.handle.clone()));
        rows.push(("version", self.version.to_string()));
        rows.push(("position", self.position.clone()));
        pairs(&rows)
    }
}

/// An id that a session may have or not.
#[derive(Debug, Serialize)]
pub(crate) struct MaybeId {
    pub(crate) id: String,
}

impl Report for MaybeId {
    fn table(&self) -> String {
        pairs(&[("id", self.id.clone())])
    }
}

/// A session that was changed.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    pub(crate) version: u64,
    pub(crate) position: String,
}

impl Report for Changed {
    fn table(&self) -> String {
        pairs(&[("version", self.version.to_string()), ("position", self.position.clone())])
    }
}

/// A session that was touched.
#[derive(Debug, Serialize)]
pub(crate) struct Renewed {
    /// Unset when the session never expires.
    pub(crate) remaining_ms: Option<u64>,
    pub(crate) position: String,
}

impl Report for Renewed {
    fn table(&self) -> String {
        pairs(&[("remaining", duration(self.remaining_ms)), ("position", self.position.clone())])
    }
}

/// A session that was ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    pub(crate) position: String,
}

impl Report for Ended {
    fn table(&self) -> String {
        pairs(&[("position", self.position.clone())])
    }
}

/// A lock that was taken or renewed.
#[derive(Debug, Serialize)]
pub(crate) struct Locked {
    pub(crate) fence: u64,
    pub(crate) lease_ms: u64,
    pub(crate) position: String,
}

impl Report for Locked {
    fn table(&self) -> String {
        pairs(&[
            ("fence", self.fence.to_string()),
            ("lease", duration(Some(self.lease_ms))),
            ("position", self.position.clone()),
        ])
    }
}

/// Sessions that were touched together.
#[derive(Debug, Serialize)]
pub(crate) struct RenewedMany {
    pub(crate) touched: usize,
    /// By their places among those named, from 1: ids are secrets.
    pub(crate) missing: Vec<usize>,
    pub(crate) position: String,
}

impl Report for RenewedMany {
    fn table(&self) -> String {
        let missing: Vec<String> = self.missing.iter().map(|place| format!("no. {place}")).collect();
        let missing = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
        pairs(&[
            ("touched", self.touched.to_string()),
            ("missing", missing),
            ("position", self.position.clone()),
        ])
    }
}

/// A user's sessions that were ended.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    pub(crate) sessions: u64,
    pub(crate) position: String,
}

impl Report for Revoked {
    fn table(&self) -> String {
        pairs(&[("sessions ended", self.sessions.to_string()), ("position", self.position.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, render};

    #[test]
    fn shapes_are_stable() {
        let new = NewId { id: Some("ID".into()), handle: "ab".into(), version: 1, position: "c-7".into() };
        assert_eq!(
            render(Format::Json, &new),
            "{\n  \"id\": \"ID\",\n  \"handle\": \"ab\",\n  \"version\": 1,\n  \"position\": \"c-7\"\n}\n"
        );
        assert_eq!(render(Format::Table, &new), "id        ID\nhandle    ab\nversion   1\nposition  c-7\n");
        let saved = NewId { id: None, ..new };
        assert!(!render(Format::Json, &saved).contains("\"id\""), "a saved id is not printed");

        let maybe = MaybeId { id: "ID".into() };
        assert_eq!(render(Format::Json, &maybe), "{\n  \"id\": \"ID\"\n}\n");
        assert_eq!(render(Format::Table, &maybe), "id  ID\n");

        let changed = Changed { version: 2, position: "c-8".into() };
        assert_eq!(render(Format::Json, &changed), "{\n  \"version\": 2,\n  \"position\": \"c-8\"\n}\n");
        let renewed = Renewed { remaining_ms: Some(90_000), position: "c-9".into() };
        assert_eq!(render(Format::Table, &renewed), "remaining  1m 30s\nposition   c-9\n");
        let locked = Locked { fence: 7, lease_ms: 30_000, position: "c-9".into() };
        assert_eq!(render(Format::Table, &locked), "fence     7\nlease     30s\nposition  c-9\n");
        let many = RenewedMany { touched: 3, missing: vec![2, 5], position: "c-9".into() };
        assert_eq!(render(Format::Table, &many), "touched   3\nmissing   no. 2, no. 5\nposition  c-9\n");
        let ended = Ended { position: "c-10".into() };
        assert_eq!(render(Format::Json, &ended), "{\n  \"position\": \"c-10\"\n}\n");
    }
}
