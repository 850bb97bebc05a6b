//! Exactly once.

use std::collections::BTreeMap;

use quorate_state::{Operation, Outcome, Refusal, RequestId};

use super::{MINUTE, Model};

#[derive(Default)]
pub(crate) struct Client {
    lowest: u64,
    pub(super) used: u64,
    outcomes: BTreeMap<u64, (Operation, Outcome)>,
}

impl Model {
    pub(super) fn open_client(&mut self, client: u64) -> Result<Outcome, Refusal> {
        if self.clients.contains_key(&client) {
            return Err(Refusal::ClientTaken);
        }
        if self.clients.len() >= 100_000 && !self.forget_spare_client() {
            return Err(Refusal::TooManyClients { max: 100_000 });
        }
        self.clients.insert(client, Client { used: self.cluster, ..Client::default() });
        Ok(Outcome::ClientOpened(client))
    }

    pub(crate) fn outcomes(&self) -> usize {
        self.clients.values().map(|client| client.outcomes.len()).sum()
    }

    /// The one unused for longest, of those the one with the lowest number; none that was used within five minutes.
    fn forget_spare_client(&mut self) -> bool {
        let oldest = self.clients.iter().min_by_key(|(id, client)| (client.used / MINUTE, **id));
        let Some((id, client)) = oldest else { return false };
        let (id, spare) = (*id, self.cluster / MINUTE > client.used / MINUTE + 5);
        if spare {
            self.clients.remove(&id);
        }
        spare
    }

    pub(super) fn operate_once(
        &mut self,
        request: &RequestId,
        operation: &Operation,
    ) -> Result<Outcome, Refusal> {
        let now = self.cluster;
        if let Some(client) = self.clients.get_mut(&request.client) {
            client.used = now;
        }
        for _ in 0..64 {
            if self.outcomes() < 1 << 21 || !self.forget_spare_client() {
                break;
            }
        }
        let full = self.outcomes() >= 1 << 21;
        let client = self.clients.get_mut(&request.client).ok_or(Refusal::UnknownClient)?;
        if request.sequence < client.lowest || request.sequence < request.lowest_unanswered {
            return Err(Refusal::StaleRequest);
        }
        client.lowest = client.lowest.max(request.lowest_unanswered);
        let lowest = client.lowest;
        client.outcomes.retain(|sequence, _| *sequence >= lowest);
        if let Some((known, outcome)) = client.outcomes.get(&request.sequence) {
            return if known == operation { Ok(outcome.clone()) } else { Err(Refusal::RequestMismatch) };
        }
        if request.sequence >= lowest + 4_096 {
            return Err(Refusal::TooManyOutstanding { max: 4_096 });
        }
        if full && client.outcomes.len() >= 16 {
            return Err(Refusal::TooManyOutcomes { max: 1 << 21 });
        }
        let outcome = self.operate(operation).unwrap_or_else(Outcome::Refused);
        let client = self.clients.get_mut(&request.client).unwrap();
        client.outcomes.insert(request.sequence, (operation.clone(), outcome.clone()));
        Ok(outcome)
    }
}
