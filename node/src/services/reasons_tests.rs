use super::*;

/// One of each. The match makes the compiler ask for new ones here.
fn refusals() -> Vec<Refusal> {
    let all = vec![
        Refusal::NotFound,
        Refusal::Renamed,
        Refusal::AlreadyExists,
        Refusal::RecentlyEnded,
        Refusal::VersionConflict { current: 7 },
        Refusal::UnknownNamespace,
        Refusal::SessionTooLarge { bytes: 2, max: 1 },
        Refusal::TooManyAttributes { count: 2, max: 1 },
        Refusal::TimeoutOutOfRange { given_ms: 1, min_ms: 2, max_ms: 3 },
        Refusal::UnknownClient,
        Refusal::StaleRequest,
        Refusal::RequestMismatch,
        Refusal::TooManyOutstanding { max: 1 },
        Refusal::TooManyClients { max: 1 },
        Refusal::TooManyOutcomes { max: 1 },
        Refusal::ClientTaken,
        Refusal::IncarnationMismatch { recorded: 1 },
        Refusal::ApplyVersionLower { current: 1 },
    ];
    for refusal in &all {
        match refusal {
            Refusal::NotFound
            | Refusal::Renamed
            | Refusal::AlreadyExists
            | Refusal::RecentlyEnded
            | Refusal::VersionConflict { .. }
            | Refusal::UnknownNamespace
            | Refusal::SessionTooLarge { .. }
            | Refusal::TooManyAttributes { .. }
            | Refusal::TimeoutOutOfRange { .. }
            | Refusal::UnknownClient
            | Refusal::StaleRequest
            | Refusal::RequestMismatch
            | Refusal::TooManyOutstanding { .. }
            | Refusal::TooManyClients { .. }
            | Refusal::TooManyOutcomes { .. }
            | Refusal::ClientTaken
            | Refusal::IncarnationMismatch { .. }
            | Refusal::ApplyVersionLower { .. } => {}
        }
    }
    all
}

fn leader(address: &str) -> Leader {
    Leader { node: 2, is_self: false, client_address: address.to_owned() }
}

#[test]
fn each_refusal_has_a_reason_of_its_own() {
    let reasons: std::collections::BTreeSet<_> =
        refusals().into_iter().map(|r| Failure::from(r).reason).collect();
    assert_eq!(reasons.len(), refusals().len());
    assert!(
        reasons.iter().all(|reason| reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    );
}

#[test]
fn only_lost_requests_may_have_been_applied() {
    for refusal in refusals() {
        let lost = matches!(refusal, Refusal::UnknownClient | Refusal::StaleRequest);
        assert_eq!(Failure::from(refusal).maybe_applied, lost);
    }
}

#[test]
fn refusals_have_the_codes_of_the_contract() {
    let code = |refusal| Failure::from(refusal).code;
    assert_eq!(code(Refusal::NotFound), Code::NotFound);
    assert_eq!(code(Refusal::Renamed), Code::NotFound);
    assert_eq!(code(Refusal::AlreadyExists), Code::AlreadyExists);
    assert_eq!(code(Refusal::RecentlyEnded), Code::AlreadyExists);
    assert_eq!(code(Refusal::VersionConflict { current: 1 }), Code::Aborted);
    assert_eq!(code(Refusal::SessionTooLarge { bytes: 2, max: 1 }), Code::ResourceExhausted);
    assert_eq!(code(Refusal::TimeoutOutOfRange { given_ms: 1, min_ms: 2, max_ms: 3 }), Code::InvalidArgument);
    assert_eq!(code(Refusal::StaleRequest), Code::FailedPrecondition);
}

#[test]
fn a_version_conflict_tells_the_current_version() {
    let failure = Failure::from(Refusal::VersionConflict { current: 7 });
    assert_eq!(failure.facts, [("current_version", "7".to_owned())]);
}

#[test]
fn a_redirect_names_the_leader_only_when_its_address_is_known() {
    let known = not_leader(Some(&leader("b:7101")));
    assert_eq!((known.reason, known.retryable, known.maybe_applied), ("NOT_LEADER", true, false));
    assert!(known.facts.contains(&("leader", "b:7101".to_owned())));
    let unannounced = not_leader(Some(&leader("")));
    assert!(unannounced.facts.iter().all(|(name, _)| *name != "leader"));
    assert_eq!(not_leader(None).reason, "NO_LEADER");
}

/// The two questions, for every failure and stake: may I retry, could it have taken effect.
#[test]
fn stakes_decide_what_an_unclear_end_means() {
    let unclear: [&dyn Fn(Stake) -> Failure; 5] = [
        &|stake| propose_failed(&ProposeError::Unknown("term 3".into()), stake),
        &|stake| propose_failed(&ProposeError::Stopped("signal".into()), stake),
        &|stake| forward_failed(&ForwardError::Lost("reset".into()), stake),
        &|stake| forward_failed(&ForwardError::Deadline, stake),
        &|stake| deadline(true, stake),
    ];
    for failure in unclear {
        let answers = |stake| (failure(stake).retryable, failure(stake).maybe_applied);
        assert_eq!(answers(Stake::Read), (true, false));
        assert_eq!(answers(Stake::Once), (true, true));
        assert_eq!(answers(Stake::Mutation), (false, true));
    }
    let clear: [&dyn Fn(Stake) -> Failure; 6] = [
        &|stake| propose_failed(&ProposeError::NotLeader { leader: None }, stake),
        &|stake| propose_failed(&ProposeError::Overloaded, stake),
        &|stake| forward_failed(&ForwardError::NoLeader, stake),
        &|stake| forward_failed(&ForwardError::Unreachable("refused".into()), stake),
        &|stake| deadline(false, stake),
        &|_| read_failed(&ReadError::NoQuorum),
    ];
    for failure in clear {
        for stake in [Stake::Read, Stake::Once, Stake::Mutation] {
            assert_eq!((failure(stake).retryable, failure(stake).maybe_applied), (true, false));
        }
    }
}

#[test]
fn an_outage_never_looks_like_a_logout() {
    let outages = [
        read_failed(&ReadError::NoQuorum),
        read_failed(&ReadError::NotLeader { leader: None }),
        read_failed(&ReadError::Stopped(String::new())),
        wait_failed(&WaitError::Timeout { applied: 1 }, 2),
    ];
    assert!(outages.iter().all(|failure| failure.code != Code::NotFound && failure.retryable));
}
