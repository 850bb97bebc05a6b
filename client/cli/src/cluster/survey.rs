//! Survey: asks every node, also those that only other nodes know of.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_client::{Client, Error};
use quorate_proto::v1::StatusResponse;
use tokio::time::timeout;

use super::view::{KnownMember, Reply, Said};

/// How long one node may think about its status: a dead one must not keep a person waiting for the whole deadline.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the `endpoints`, then the members that their answers name and that were not asked yet.
pub(crate) async fn survey(client: &Client, endpoints: &[String], deadline: Duration) -> Vec<Reply> {
    let deadline = deadline.min(PATIENCE);
    let first: BTreeSet<String> = endpoints.iter().map(|endpoint| address(endpoint)).collect();
    let mut replies = ask_all(client, &first, deadline).await;
    let answered = replies.iter().filter_map(|reply| reply.said.as_ref().ok());
    let known: BTreeSet<u64> = answered.clone().map(|said| said.node).collect();
    let second: BTreeSet<String> = answered
        .flat_map(|said| &said.members)
        .filter(|member| !known.contains(&member.node) && !member.address.is_empty())
        .map(|member| member.address.clone())
        .filter(|address| !first.contains(address))
        .collect();
    replies.extend(ask_all(client, &second, deadline).await);
    replies
}

/// Asks all addresses at once, each for `deadline` at most.
async fn ask_all(client: &Client, addresses: &BTreeSet<String>, deadline: Duration) -> Vec<Reply> {
    join_all(addresses.iter().map(|address| async move {
        let said = match timeout(deadline, client.status_of(address, false, 0)).await {
            Ok(Ok(status)) => Ok(said(status)),
            Ok(Err(error)) => Err(why(address, &error)),
            Err(_) => Err(format!("no answer in {}", humantime::format_duration(deadline))),
        };
        Reply { address: address.clone(), said }
    }))
    .await
}

/// An endpoint as members give theirs: `host:port`.
fn address(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/').to_owned()
}

fn said(status: StatusResponse) -> Said {
    let member = |member: quorate_proto::v1::Member| KnownMember {
        node: member.node,
        address: member.client_address,
        voter: member.voter,
    };
    Said {
        cluster: status.cluster,
        node: status.node,
        leader: status.leader,
        term: status.term,
        role: status.role,
        last_log_index: status.last_log_index,
        applied_index: status.applied_index,
        persisted_index: status.persisted_index,
        sessions: status.sessions,
        version: status.version,
        members: status.members.into_iter().map(member).collect(),
    }
}

/// Why a node did not answer, without what the table says anyway.
fn why(address: &str, error: &Error) -> String {
    let why = error.to_string();
    let short =
        why.strip_prefix(&format!("cannot reach {address}: ")).or(why.strip_prefix(&format!("{address} ")));
    short.unwrap_or(&why).to_owned()
}
