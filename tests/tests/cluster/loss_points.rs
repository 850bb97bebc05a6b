//! Exactly once, on real processes: each mutation, retried after each point at which it or its answer can get lost.
//!
//! The rows are in [`mutations`], the cluster with its mutations on their way in [`story`], the points here. Each test
//! first shows that its fault was injected: a request that was not lost proves nothing.
//!
//! ```text
//! answer      what a node answers to a mutation, to be compared
//! mutations   one row for each mutation: how it is sent, what it leaves behind
//! locks       rows: locks, and what is done under them
//! many        rows: revocation and namespaces
//! touch       rows whose second effect is hard to see
//! line        one that waits for a lock keeps its place
//! story       a cluster, and one of each mutation on its way
//! ```

mod answer;
mod line;
mod locks;
mod many;
mod mutations;
mod story;
mod touch;

use std::time::Duration;

use self::story::Story;
use crate::common::Outcome;

/// So much cluster time passes between a first effect and a retry, at least: a second touch then shows.
const BETWEEN: Duration = Duration::from_millis(1_200);

#[tokio::test]
async fn a_request_lost_on_its_way_takes_effect_once_by_its_retry() -> Outcome {
    let mut story = Story::begin().await?;
    story.proxies_lose_requests();
    story.send_through_proxies().await?;
    story.wait_lost_requests().await?;
    story.assert_logged_nowhere();
    story.assert_unanswered().await;
    let first = story.retry_all().await?;
    story.check_all().await?;
    story.overtake_all().await?;
    story.assert_answered_again(&first).await?;
    story.assert_equal_replicas().await
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_nothing_done_twice() -> Outcome {
    let mut story = Story::begin().await?;
    story.proxies_lose_answers();
    story.send_through_proxies().await?;
    let first = story.wait_lost_answers().await?;
    story.wait_checked_all().await?;
    story.assert_unanswered().await;
    story.overtake_all().await?;
    story.assert_answered_again(&first).await?;
    story.assert_equal_replicas().await
}

#[tokio::test]
async fn a_leader_killed_before_commit_adds_no_second_effect_when_it_comes_back() -> Outcome {
    let (mut story, old, others) = Story::begin_uncommitted().await?;
    story.kill_leader()?;
    story.assert_unanswered().await;
    story.start(&others).await?;
    assert_ne!(story.leader(), old);
    let first = story.retry_all().await?;
    story.check_all().await?;
    story.overtake_all().await?;
    story.assert_answered_again(&first).await?;
    // Its log holds each request, at places where the cluster has decided otherwise by now.
    story.start(&[old]).await?;
    story.assert_answered_again(&first).await?;
    story.assert_equal_replicas().await
}

#[tokio::test]
async fn a_leader_killed_before_commit_that_leads_again_commits_once() -> Outcome {
    let (mut story, old, others) = Story::begin_uncommitted().await?;
    story.kill_leader()?;
    story.assert_unanswered().await;
    let (with, without) = others.split_first().ok_or("a cluster of one")?;
    // Of these two the old leader has the longer log: it leads again, and commits what it was sent. Nobody has sent it
    // again when it takes effect.
    story.start(&[old, *with]).await?;
    story.wait_checked_all().await?;
    story.let_time_pass().await?;
    let first = story.retry_all().await?;
    story.check_all().await?;
    story.overtake_all().await?;
    story.start(without).await?;
    story.assert_answered_again(&first).await?;
    story.assert_equal_replicas().await
}

#[tokio::test]
async fn a_leader_killed_before_its_answer_is_seen_has_its_successor_give_it() -> Outcome {
    let mut story = Story::begin().await?;
    story.proxies_lose_answers();
    story.send_through_proxies().await?;
    let first = story.wait_lost_answers().await?;
    story.wait_checked_all().await?;
    story.wait_leader_but(0).await?;
    let old = story.leader();
    story.kill_leader()?;
    story.assert_unanswered().await;
    story.wait_leader_but(old).await?;
    story.check_all().await?;
    story.overtake_all().await?;
    story.assert_answered_again(&first).await?;
    story.start(&[old]).await?;
    story.assert_answered_again(&first).await?;
    story.assert_equal_replicas().await
}
