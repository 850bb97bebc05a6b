//! Locks without a line, lists without pages, namespaces, and events that are there beforehand.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use quorate_proto::v1::{self, answer, operation};
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{CLUSTER, Outcome, Refusal, Store, key, not_found};

/// Events below this index are not kept.
const OLDEST: u64 = 100;
const EVENTS: u64 = 3;

struct Held {
    fence: u64,
    since: Instant,
    until: Instant,
    owner: String,
}

#[derive(Default)]
pub(super) struct More {
    locks: HashMap<String, Held>,
    fence: u64,
    /// Whoever asks for a lock gets it.
    pub(super) lavish: bool,
    namespaces: BTreeMap<String, v1::Policy>,
}

fn lease(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("short")
}

impl More {
    fn holder(&self, key: &str) -> Option<&Held> {
        self.locks.get(key).filter(|held| held.until > Instant::now())
    }

    pub(super) fn is_locked(&self, key: &str) -> bool {
        self.holder(key).is_some()
    }

    pub(super) fn free(&mut self, key: &str) {
        self.locks.remove(key);
    }

    pub(super) fn state(&self, key: &str) -> Option<v1::LockState> {
        self.holder(key).map(|held| v1::LockState {
            age_ms: ms(held.since.elapsed()),
            remaining_ms: ms(held.until - Instant::now()),
            owner: held.owner.clone(),
            waiting: 0,
        })
    }

    pub(super) fn check(&self, key: &str, fence: Option<u64>) -> Result<(), Refusal> {
        match (self.state(key), fence) {
            (None, None) => Ok(()),
            (Some(_), Some(fence)) if self.holder(key).is_some_and(|held| held.fence == fence) => Ok(()),
            (_, Some(_)) => Err((Code::FailedPrecondition, "STALE_FENCE", vec![])),
            (Some(lock), None) => {
                let facts = vec![
                    ("age_ms", lock.age_ms.to_string()),
                    ("remaining_ms", lock.remaining_ms.to_string()),
                ];
                Err((Code::Aborted, "LOCKED", facts))
            }
        }
    }

    /// Three events, the last of which is an end; then silence.
    pub(super) fn watch(
        &self,
        request: &v1::WatchRequest,
    ) -> Result<impl Stream<Item = Result<v1::WatchResponse, Status>> + Send + use<>, Refusal> {
        let cursor =
            |index| v1::Cursor { position: Some(v1::Position { cluster: CLUSTER, index }), ordinal: Some(0) };
        let after = request.after.and_then(|after| after.position).map_or(OLDEST, |after| after.index);
        if after < OLDEST {
            return Err((Code::OutOfRange, "EVENTS_GONE", vec![("oldest_index", OLDEST.to_string())]));
        }
        let event = |index: u64| {
            let ends = index == OLDEST + EVENTS;
            let attributes = match ends && !request.without_attributes {
                true => BTreeMap::from([("cart".to_owned(), "3 apples".into())]),
                false => BTreeMap::new(),
            };
            v1::Event {
                kind: if ends { v1::EventKind::Expired } else { v1::EventKind::Updated }.into(),
                cursor: Some(cursor(index)),
                handle: format!("{index:032x}"),
                principal: "alice".to_owned(),
                version: index,
                reason: if ends { v1::EndReason::IdleTimeout } else { v1::EndReason::Unspecified }.into(),
                at_ms: 1_795_489_323_120,
                attributes,
                ..v1::Event::default()
            }
        };
        let wanted = |event: &v1::Event| request.kinds.is_empty() || request.kinds.contains(&event.kind);
        let events = (after + 1..=OLDEST + EVENTS).map(event).filter(wanted).collect();
        let first = v1::WatchResponse { events: Vec::new(), cursor: Some(cursor(after)) };
        let rest = v1::WatchResponse { events, cursor: Some(cursor(OLDEST + EVENTS)) };
        let messages = [Ok(first), Ok(rest)];
        Ok(futures_util::stream::iter(messages).chain(futures_util::stream::pending()))
    }
}

impl Store {
    pub(super) fn by_handle(&self, namespace: &str, handle: &str) -> Result<String, Refusal> {
        let start = key(namespace, "");
        let found =
            self.sessions.iter().find(|(key, session)| key.starts_with(&start) && session.handle == handle);
        found.map(|(key, _)| key.clone()).ok_or_else(not_found)
    }

    pub(super) fn perform_more(&mut self, operation: operation::Operation) -> Outcome {
        use answer::Answer as A;
        use operation::Operation as O;
        match operation {
            O::TouchMany(touch) => {
                let known = |id: &String| self.sessions.contains_key(&key(&touch.namespace, id));
                let missing = touch.ids.iter().enumerate().filter(|(_, id)| !known(id));
                let missing = missing.map(|(place, _)| place.try_into().expect("few")).collect();
                Ok(A::TouchMany(v1::TouchManyResponse { missing, position: self.next() }))
            }
            O::Lock(lock) => self.lock(lock),
            O::Unlock(unlock) => {
                let key = key(&unlock.namespace, &unlock.id);
                self.more.check(&key, Some(unlock.fence))?;
                self.more.free(&key);
                Ok(A::Unlock(v1::UnlockResponse { position: self.next() }))
            }
            O::BreakLock(lock) => {
                let key = self.by_handle(&lock.namespace, &lock.handle)?;
                if !self.more.is_locked(&key) {
                    return Err((Code::FailedPrecondition, "NOT_LOCKED", vec![]));
                }
                self.more.free(&key);
                Ok(A::BreakLock(v1::BreakLockResponse { position: self.next() }))
            }
            O::List(list) => Ok(A::List(self.list(&list))),
            O::Revoke(revoke) => {
                let (start, kept) = (key(&revoke.namespace, ""), key(&revoke.namespace, &revoke.except_id));
                let before = self.sessions.len();
                self.sessions.retain(|key, session| {
                    !key.starts_with(&start) || session.principal != revoke.principal || *key == kept
                });
                let sessions = (before - self.sessions.len()).try_into().expect("few");
                Ok(A::Revoke(v1::RevokeResponse { sessions, position: self.next() }))
            }
            operation => self.perform_on_namespaces(operation),
        }
    }

    fn lock(&mut self, lock: v1::LockRequest) -> Outcome {
        let key = key(&lock.namespace, &lock.id);
        self.sessions.get(&key).ok_or_else(not_found)?;
        if !self.more.lavish {
            self.more.check(&key, lock.fence)?;
        }
        let until = lease(lock.lease_ms);
        let fence = match lock.fence {
            Some(fence) => {
                self.more.locks.entry(key).and_modify(|held| held.until = until);
                fence
            }
            None => {
                self.more.fence += 1;
                let fence = self.more.fence;
                let held = Held { fence, since: Instant::now(), until, owner: lock.owner };
                self.more.locks.insert(key, held);
                fence
            }
        };
        Ok(answer::Answer::Lock(v1::LockResponse {
            fence,
            remaining_ms: lock.lease_ms,
            position: self.next(),
            session: None,
        }))
    }

    /// Two to a page.
    fn list(&self, list: &v1::ListRequest) -> v1::ListResponse {
        let start = key(&list.namespace, "");
        let wanted = |(key, session): &(&String, &v1::Session)| {
            key.starts_with(&start)
                && session.handle.starts_with(&list.handle_prefix)
                && session.handle > list.page_token
                && list.principal.as_ref().is_none_or(|principal| session.principal == *principal)
        };
        let shown = |(key, session): (&String, &v1::Session)| v1::Session {
            attributes: BTreeMap::new(),
            lock: self.more.state(key),
            ..session.clone()
        };
        let mut sessions: Vec<v1::Session> = self.sessions.iter().filter(wanted).map(shown).collect();
        sessions.sort_by(|one, other| one.handle.cmp(&other.handle));
        let more = sessions.len() > 2;
        sessions.truncate(2);
        let next = sessions.last().filter(|_| more).map(|session| session.handle.clone());
        let position = Some(v1::Position { cluster: CLUSTER, index: self.index });
        v1::ListResponse { sessions, next_page_token: next.unwrap_or_default(), position }
    }

    fn namespace(&self, name: &str) -> Result<v1::Namespace, Refusal> {
        let unknown = || (Code::NotFound, "UNKNOWN_NAMESPACE", vec![]);
        let policy = self.more.namespaces.get(name).ok_or_else(unknown)?;
        let start = key(name, "");
        let live = self.sessions.keys().filter(|key| key.starts_with(&start)).count();
        let counters = v1::Counters { live: live.try_into().expect("few"), ..v1::Counters::default() };
        Ok(v1::Namespace { name: name.to_owned(), policy: Some(*policy), counters: Some(counters) })
    }

    fn perform_on_namespaces(&mut self, operation: operation::Operation) -> Outcome {
        use answer::Answer as A;
        use operation::Operation as O;
        let position = Some(v1::Position { cluster: CLUSTER, index: self.index });
        match operation {
            O::PutNamespace(put) => {
                let known = self.namespace(&put.name);
                match put.mode() {
                    v1::PutMode::Create if known.is_ok() => {
                        return Err((Code::AlreadyExists, "NAMESPACE_EXISTS", vec![]));
                    }
                    v1::PutMode::Change => drop(known.clone()?),
                    _ => {}
                }
                self.more.namespaces.insert(put.name, put.policy.unwrap_or_default());
                Ok(A::PutNamespace(v1::PutNamespaceResponse {
                    created: known.is_err(),
                    position: self.next(),
                }))
            }
            // The one that is always there. Its events begin behind this position.
            O::GetNamespace(get) if get.name == "default" => {
                let position = Some(v1::Position { cluster: CLUSTER, index: OLDEST });
                let namespace = Some(v1::Namespace { name: get.name, ..v1::Namespace::default() });
                Ok(A::GetNamespace(v1::GetNamespaceResponse { namespace, position }))
            }
            O::GetNamespace(get) => {
                let namespace = Some(self.namespace(&get.name)?);
                Ok(A::GetNamespace(v1::GetNamespaceResponse { namespace, position }))
            }
            O::ListNamespaces(_) => {
                let all = self.more.namespaces.keys().map(|name| self.namespace(name));
                let namespaces = all.collect::<Result<_, _>>()?;
                Ok(A::ListNamespaces(v1::ListNamespacesResponse { namespaces, position }))
            }
            O::DeleteNamespace(delete) => {
                self.namespace(&delete.name)?;
                self.more.namespaces.remove(&delete.name);
                Ok(A::DeleteNamespace(v1::DeleteNamespaceResponse { position: self.next() }))
            }
            _ => Err((Code::Unimplemented, "UNKNOWN", vec![])),
        }
    }
}
