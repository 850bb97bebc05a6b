//! A cluster, and one of each mutation on its way to the leader.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, LockOptions, NewSession};
use quorate_proto::v1;
use quorate_tests::{HarnessError, PATIENCE, ProcessCluster, Proxy, channel, until};
use tokio::task::JoinHandle;
use tonic::Status;

use super::BETWEEN;
use super::answer::{Answer, Said};
use super::mutations::{Mutation, Stub, all};
use crate::common::{Outcome, patiently, stub, three};

/// A leader that is left alone takes requests for five seconds.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);
const BEGINNINGS_MAX: usize = 4;

/// One mutation with the id under which it is sent, however often.
struct Row {
    mutation: Arc<dyn Mutation>,
    id: v1::RequestId,
    /// Between this row's client and the leader.
    proxy: Proxy,
    through_proxy: Stub,
    /// Its first try, on its way.
    on_its_way: Option<JoinHandle<Result<Answer, Status>>>,
}

/// See the module.
pub(super) struct Story {
    cluster: ProcessCluster,
    leader: u64,
    /// Prepares, overtakes and checks; not what is tested.
    client: Client,
    rows: Vec<Row>,
}

impl Story {
    /// Three nodes, and every row prepared a while ago.
    pub(super) async fn begin() -> Result<Story, Box<dyn std::error::Error>> {
        let mut cluster = three().await?;
        let leader = cluster.wait_leader().await?;
        let client = cluster.client()?;
        let direct = stub(&cluster, leader).await?;
        let open = || {
            let mut stub = direct.clone();
            async move { stub.open_client(v1::OpenClientRequest {}).await }
        };
        let opened = patiently(open).await?.client;
        let mut rows = Vec::new();
        for (sequence, mutation) in (1..).zip(all()) {
            mutation.prepare(&client).await.map_err(|error| format!("{}: {error}", mutation.name()))?;
            let proxy = Proxy::start(cluster.ports(leader)?.client).await?;
            let through_proxy = Stub::new(channel(proxy.address()).await?);
            let id = v1::RequestId { client: opened, sequence, lowest_unanswered: 1 };
            rows.push(Row { mutation, id, proxy, through_proxy, on_its_way: None });
        }
        let story = Story { cluster, leader, client, rows };
        story.warm_up().await?;
        story.let_time_pass().await?;
        Ok(story)
    }

    /// A story whose leader has every request in its log, and which no other node has; with the leader and the others,
    /// which do not run. They are killed and not paused: the kernel of a node that is paused goes on receiving.
    ///
    /// An election at the wrong moment, on a machine that is busy, leaves nobody to take the requests: then another story
    /// begins.
    pub(super) async fn begin_uncommitted() -> Result<(Story, u64, Vec<u64>), Box<dyn std::error::Error>> {
        let mut failed = String::new();
        for _ in 0..BEGINNINGS_MAX {
            let mut story = Story::begin().await?;
            story.wait_leader_but(0).await?;
            let others = story.kill_followers()?;
            story.send_directly().await?;
            match story.wait_logged_by_leader_alone().await {
                Ok(()) => {
                    let leader = story.leader;
                    return Ok((story, leader, others));
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed.into())
    }

    /// A call through each proxy, so that nothing but the mutations is lost later.
    async fn warm_up(&self) -> Outcome {
        for row in &self.rows {
            let request =
                v1::GetRequest { id: "not-there-0123456789abcdef".to_owned(), ..Default::default() };
            let answer = row.through_proxy.sessions.clone().get(request).await;
            assert_eq!(answer.err().map(|status| status.code()), Some(tonic::Code::NotFound));
            assert_eq!((row.proxy.lost_requests().bytes, row.proxy.lost_answers().bytes), (0, 0));
        }
        Ok(())
    }

    /// Waits until [`BETWEEN`] has passed for the cluster.
    pub(super) async fn let_time_pass(&self) -> Result<(), HarnessError> {
        let now = || async {
            let status = self.cluster.status(self.leader).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(status.cluster_time_ms)
        };
        let before = until("the leader tells the time", PATIENCE, now).await?;
        let between_ms = u64::try_from(BETWEEN.as_millis()).unwrap_or(u64::MAX);
        until("time passes", PATIENCE, || async {
            let passed_ms = now().await?.saturating_sub(before);
            if passed_ms >= between_ms { Ok(()) } else { Err(format!("{passed_ms} ms have")) }
        })
        .await
    }

    pub(super) fn leader(&self) -> u64 {
        self.leader
    }

    pub(super) fn proxies_lose_requests(&self) {
        self.rows.iter().for_each(|row| row.proxy.lose_requests());
    }

    pub(super) fn proxies_lose_answers(&self) {
        self.rows.iter().for_each(|row| row.proxy.lose_answers());
    }

    /// Sends every mutation through its proxy; returns with all on their way.
    pub(super) async fn send_through_proxies(&mut self) -> Outcome {
        for row in &mut self.rows {
            let (mutation, stub, id) = (Arc::clone(&row.mutation), row.through_proxy.clone(), row.id);
            row.on_its_way = Some(tokio::spawn(async move { mutation.send(stub, id).await }));
        }
        Ok(())
    }

    /// Sends every mutation to the leader; returns with all on their way.
    async fn send_directly(&mut self) -> Outcome {
        let direct = Stub::new(channel(self.cluster.ports(self.leader)?.client).await?);
        for row in &mut self.rows {
            let (mutation, stub, id) = (Arc::clone(&row.mutation), direct.clone(), row.id);
            row.on_its_way = Some(tokio::spawn(async move { mutation.send(stub, id).await }));
        }
        Ok(())
    }

    /// Waits until each proxy has lost its whole request.
    pub(super) async fn wait_lost_requests(&self) -> Outcome {
        for row in &self.rows {
            until("the request is lost", PATIENCE, || async {
                let lost = row.proxy.lost_requests();
                if (lost.messages.len(), lost.ended) == (1, 1) { Ok(()) } else { Err(format!("{lost:?}")) }
            })
            .await?;
            assert_eq!(row.proxy.lost_answers().bytes, 0, "{}", row.mutation.name());
        }
        Ok(())
    }

    /// Waits until each proxy has lost its whole answer; returns them. `None` for refusals: they are no messages.
    pub(super) async fn wait_lost_answers(&self) -> Result<Vec<Option<Answer>>, Box<dyn std::error::Error>> {
        let mut answers = Vec::new();
        for row in &self.rows {
            let name = row.mutation.name();
            let lost = until("the answer is lost", PATIENCE, || async {
                let lost = row.proxy.lost_answers();
                if lost.ended == 1 { Ok(lost) } else { Err(format!("{name}: {lost:?}")) }
            })
            .await?;
            assert_eq!(row.proxy.lost_requests().bytes, 0, "{name}");
            let answer = match lost.messages.as_slice() {
                [] if row.mutation.is_refused() => None,
                [message] => Some(row.mutation.decode(message).ok_or("an answer that nobody understands")?),
                messages => return Err(format!("{name}: {} messages were lost", messages.len()).into()),
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Ends the first tries, none of which may have an answer.
    pub(super) async fn assert_unanswered(&mut self) {
        for row in &mut self.rows {
            row.proxy.heal();
            let Some(call) = row.on_its_way.take() else { panic!("{} was not sent", row.mutation.name()) };
            // One that is not over now waits for what will not come.
            call.abort();
            match call.await {
                Ok(answer) => assert_eq!(
                    answer.as_ref().err().and_then(Answer::refusal),
                    None,
                    "{} was answered: {answer:?}",
                    row.mutation.name()
                ),
                Err(aborted) => assert!(aborted.is_cancelled(), "{aborted}"),
            }
        }
    }

    /// Whether the log of `node`, running or not, holds the request.
    fn is_logged(&self, node: u64, id: v1::RequestId) -> bool {
        let Ok(node) = self.cluster.node(node) else { return false };
        let mut needle = Vec::new();
        // As postcard writes it.
        for mut number in [id.client, id.sequence, id.lowest_unanswered] {
            while number >= 0x80 {
                needle.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
                number >>= 7;
            }
            needle.push(u8::try_from(number).unwrap_or(0));
        }
        holds(&node.spec().data_dir.join("log"), &needle)
    }

    pub(super) fn assert_logged_nowhere(&self) {
        for row in &self.rows {
            for node in self.cluster.ids() {
                assert!(!self.is_logged(node, row.id), "node {node} has {}", row.mutation.name());
            }
        }
    }

    /// Waits until the leader's log holds every request; no other's does.
    async fn wait_logged_by_leader_alone(&self) -> Outcome {
        for row in &self.rows {
            let name = row.mutation.name();
            until("the leader has the request in its log", LOGGED_WITHIN, || async {
                if self.is_logged(self.leader, row.id) { Ok(()) } else { Err(name.to_owned()) }
            })
            .await?;
            for node in self.cluster.ids().into_iter().filter(|node| *node != self.leader) {
                assert!(!self.is_logged(node, row.id), "{name} has reached node {node}");
            }
        }
        Ok(())
    }

    /// Kills every node but the leader; returns their ids.
    fn kill_followers(&mut self) -> Result<Vec<u64>, HarnessError> {
        let followers: Vec<_> = self.cluster.ids().into_iter().filter(|id| *id != self.leader).collect();
        for id in &followers {
            self.cluster.node_mut(*id)?.kill()?;
        }
        Ok(followers)
    }

    pub(super) fn kill_leader(&mut self) -> Result<(), HarnessError> {
        self.cluster.node_mut(self.leader)?.kill()
    }

    /// Starts these nodes, waits until all that run are ready, and follows whoever leads then.
    pub(super) async fn start(&mut self, nodes: &[u64]) -> Outcome {
        for id in nodes {
            self.cluster.node_mut(*id)?.start()?;
        }
        self.cluster.wait_ready_all().await?;
        self.leader = self.cluster.wait_leader().await?;
        Ok(())
    }

    /// Follows whoever leads, or comes to lead, other than `but` (0: any).
    pub(super) async fn wait_leader_but(&mut self, but: u64) -> Outcome {
        self.leader = self.cluster.wait_leader_but(but).await?;
        Ok(())
    }

    /// Sends every mutation once more under its id, to every node that runs, until each has answered.
    pub(super) async fn retry_all(&mut self) -> Result<Vec<Option<Answer>>, Box<dyn std::error::Error>> {
        let mut answers = Vec::new();
        for row in &self.rows {
            let mut answer: Option<Answer> = None;
            for node in self.cluster.expected() {
                let by_node = self.retry(row, node).await?;
                let name = row.mutation.name();
                assert_eq!(
                    matches!(by_node.said, Said::Refused(..)),
                    row.mutation.is_refused(),
                    "{name}: {by_node:?}"
                );
                if let Some(answer) = &answer {
                    assert_eq!(by_node.said, answer.said, "{name}, as answered by node {node}");
                    assert!(row.mutation.is_refused() || by_node.index >= answer.index, "{name}");
                }
                answer = Some(by_node);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn retry(&self, row: &Row, node: u64) -> Result<Answer, HarnessError> {
        let address = self.cluster.ports(node)?.client;
        until("the retry is answered", PATIENCE, || async {
            let stub = Stub::new(channel(address).await.map_err(|status| status.to_string())?);
            match row.mutation.send(stub, row.id).await {
                Ok(answer) => Ok(answer),
                Err(status) => {
                    Answer::refusal(&status).ok_or_else(|| format!("{}: {status}", row.mutation.name()))
                }
            }
        })
        .await
    }

    /// Lets time pass and retries: each answer is the first one, and nothing has happened since the row was overtaken.
    pub(super) async fn assert_answered_again(&mut self, first: &[Option<Answer>]) -> Outcome {
        self.let_time_pass().await?;
        let again = self.retry_all().await?;
        let mut violations = Vec::new();
        for ((row, first), again) in self.rows.iter().zip(first).zip(&again) {
            let name = row.mutation.name();
            if let (Some(first), Some(again)) = (first, again) {
                if again.said != first.said {
                    violations.push(format!("{name}: first {:?}, then {:?}", first.said, again.said));
                }
                if again.index < first.index {
                    violations.push(format!("{name}: first at {}, then at {}", first.index, again.index));
                }
            }
            if let Err(found) = row.mutation.check_overtaken(&self.client).await {
                violations.push(format!("{name}: {found}"));
            }
        }
        assert!(violations.is_empty(), "a retry was no retry:\n{}", violations.join("\n"));
        Ok(())
    }

    pub(super) async fn check_all(&self) -> Outcome {
        for row in &self.rows {
            let checked = row.mutation.check(&self.client).await;
            checked.map_err(|found| format!("{}: {found}", row.mutation.name()))?;
        }
        Ok(())
    }

    /// Waits until every mutation that is on its way has taken effect.
    pub(super) async fn wait_checked_all(&self) -> Outcome {
        for row in &self.rows {
            until("it takes effect", PATIENCE, || async {
                let checked = row.mutation.check(&self.client).await;
                checked.map_err(|found| format!("{}: {found}", row.mutation.name()))
            })
            .await?;
        }
        Ok(())
    }

    pub(super) async fn overtake_all(&self) -> Outcome {
        for row in &self.rows {
            let overtaken = row.mutation.overtake(&self.client).await;
            overtaken.map_err(|error| format!("{}: {error}", row.mutation.name()))?;
        }
        Ok(())
    }

    /// The end of each story: all nodes run and are equal, and no more fencing tokens were drawn than locks taken.
    pub(super) async fn assert_equal_replicas(&mut self) -> Outcome {
        let id = self.client.create(NewSession::new()).await?.id;
        let fence = self.client.lock(&id, LockOptions::new()).await?.into_fence();
        let drawn: u64 = self.rows.iter().map(|row| row.mutation.fences()).sum();
        assert_eq!(fence, drawn + 1, "a lock was taken twice");
        let digests = self.cluster.digests().await?;
        assert!(digests.are_equal() && digests.are_of(&self.cluster.ids()), "{digests}");
        Ok(())
    }
}

/// Whether a file of this directory holds these bytes.
fn holds(dir: &Path, needle: &[u8]) -> bool {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read(file.path()).ok())
        .any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}
