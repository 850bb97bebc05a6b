//! Operations of the fake cluster on many sessions, and on namespaces.

use quorate_proto::v1;
use quorate_proto::v1::answer::Answer;
use quorate_proto::v1::operation::Operation;
use tonic::Code;

use super::state::{State, error, request_id};

impl State {
    pub(super) fn run_new(&mut self, operation: &Operation) -> Answer {
        let request = request_id(operation);
        match operation {
            Operation::Lock(lock) => self.lock(lock),
            Operation::Unlock(unlock) => self.unlock(unlock),
            Operation::BreakLock(lock) => self.break_lock(lock),
            Operation::TouchMany(touch) => {
                self.effects.push((request, None));
                let place = |(place, id): (usize, &String)| {
                    (!self.sessions.contains_key(id)).then(|| u32::try_from(place).expect("at most 1,000"))
                };
                let missing = touch.ids.iter().enumerate().filter_map(place).collect();
                Answer::TouchMany(v1::TouchManyResponse { missing, position: self.position() })
            }
            Operation::List(list) => self.list(list),
            Operation::Revoke(revoke) => {
                self.effects.push((request, None));
                let before = self.sessions.len();
                self.sessions
                    .retain(|id, session| session.principal != revoke.principal || *id == revoke.except_id);
                let sessions = (before - self.sessions.len()) as u64;
                Answer::Revoke(v1::RevokeResponse { sessions, position: self.position() })
            }
            Operation::PutNamespace(put) => {
                let known = self.namespaces.contains_key(&put.name);
                match put.mode() {
                    v1::PutMode::Create if known => {
                        return error(Code::AlreadyExists, "NAMESPACE_EXISTS", &[]);
                    }
                    v1::PutMode::Change if !known => {
                        return error(Code::NotFound, "UNKNOWN_NAMESPACE", &[]);
                    }
                    _ => {}
                }
                self.effects.push((request, None));
                self.namespaces.insert(put.name.clone(), put.policy.unwrap_or_default());
                Answer::PutNamespace(v1::PutNamespaceResponse { created: !known, position: self.position() })
            }
            Operation::GetNamespace(get) => match self.policy(&get.name) {
                Some(policy) => Answer::GetNamespace(v1::GetNamespaceResponse {
                    namespace: Some(self.namespace(&get.name, &policy)),
                    position: Some(v1::Position { cluster: 7, index: self.feed.now() }),
                }),
                None => error(Code::NotFound, "UNKNOWN_NAMESPACE", &[]),
            },
            Operation::ListNamespaces(_) => {
                let all = self.namespaces.iter().map(|(name, policy)| self.namespace(name, policy));
                Answer::ListNamespaces(v1::ListNamespacesResponse {
                    namespaces: all.collect(),
                    position: self.position(),
                })
            }
            Operation::DeleteNamespace(delete) => {
                if self.namespaces.remove(&delete.name).is_none() {
                    return error(Code::NotFound, "UNKNOWN_NAMESPACE", &[]);
                }
                self.effects.push((request, None));
                Answer::DeleteNamespace(v1::DeleteNamespaceResponse { position: self.position() })
            }
            _ => error(Code::Unimplemented, "UNKNOWN", &[]),
        }
    }

    /// `default` is always there.
    fn policy(&self, name: &str) -> Option<v1::Policy> {
        let known = self.namespaces.get(name).copied();
        known.or_else(|| (name == "default").then(v1::Policy::default))
    }

    fn namespace(&self, name: &str, policy: &v1::Policy) -> v1::Namespace {
        let counters = v1::Counters { live: self.sessions.len() as u64, ..v1::Counters::default() };
        v1::Namespace { name: name.to_owned(), policy: Some(*policy), counters: Some(counters) }
    }

    /// By handle; a page's token is the last handle on it.
    fn list(&self, list: &v1::ListRequest) -> Answer {
        let asked = |session: &&v1::Session| {
            session.handle.starts_with(&list.handle_prefix)
                && list.principal.as_ref().is_none_or(|principal| session.principal == *principal)
                && session.handle > list.page_token
        };
        let mut sessions: Vec<v1::Session> = self.sessions.values().filter(asked).cloned().collect();
        sessions.sort_by(|one, other| one.handle.cmp(&other.handle));
        let size = if list.page_size == 0 { 100 } else { list.page_size as usize };
        let more = sessions.len() > size;
        sessions.truncate(size);
        let next = sessions.last().filter(|_| more).map(|session| session.handle.clone());
        Answer::List(v1::ListResponse {
            sessions,
            next_page_token: next.unwrap_or_default(),
            position: self.position(),
        })
    }
}
