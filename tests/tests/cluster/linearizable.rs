use std::time::Duration;

use quorate_tests::linearizable::{
    Fault, Findings, History, Operation, Outcome, Recording, Seen, Size, Verdict, check,
};

use crate::common::{Outcome as Ended, three};

const PLACES_MAX: usize = 1_000_000;

/// The last read of all, of a session that was read then, as if the last acknowledged change had been lost.
fn with_a_stale_read(history: &History) -> Option<History> {
    let mut stale = history.clone();
    // What is created anew begins with version 1 again.
    stale.absolute_timeout.is_none().then_some(())?;
    let written = stale.records.iter().filter_map(|record| match (record.operation, record.outcome) {
        (Operation::Write { .. }, Outcome::Written(version)) => Some(version),
        _ => None,
    });
    let acknowledged = written.max()?;
    let last = stale.records.iter_mut().max_by_key(|record| record.call)?;
    let Outcome::Found(seen) = last.outcome else { return None };
    last.outcome = Outcome::Found(Seen { version: acknowledged - 1, ..seen });
    Some(stale)
}

#[tokio::test]
async fn histories_are_linearizable_while_nodes_are_killed_and_paused() -> Ended {
    let mut cluster = three().await?;
    let failures = tempfile::tempdir()?;
    let (mut findings, mut recordings) = (Findings::default(), Vec::new());
    let size = Size { operations: 400, ..Size::default() };
    for (seed, first) in (1..).zip([Fault::KillLeader, Fault::PauseLeader]) {
        let recording = Recording::make(&mut cluster, size, first, seed).await?;
        findings.add(&recording, failures.path())?;
        recordings.push(recording);
    }
    let histories = || recordings.iter().flat_map(|recording| &recording.histories);
    let texts: Vec<String> = histories().map(History::to_string).collect();
    assert!(findings.is_clean(), "{:?}\n{}", findings.described, texts.join("\n"));
    assert!(findings.unknown > 0 && findings.contended > 0, "{findings:?}");
    assert!(histories().all(|history| history.span() > Duration::ZERO));
    assert!(cluster.digests().await?.are_equal());

    let stale: Vec<History> = histories().filter_map(with_a_stale_read).collect();
    assert!(!stale.is_empty(), "no session was there at the end");
    for history in stale {
        let verdict = check(&history.entries(), PLACES_MAX);
        assert!(matches!(verdict, Verdict::Illegal(_)), "a stale read was found legal: {verdict:?}");
    }
    Ok(())
}
