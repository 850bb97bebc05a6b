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
        Refusal::Locked { age_ms: 5, remaining_ms: 7 },
        Refusal::StaleFence,
        Refusal::NotLocked,
        Refusal::TooManyWaiters { max: 1 },
        Refusal::WaitOver,
        Refusal::NamespaceFull { max: 1 },
        Refusal::NamespaceBytesExceeded { bytes: 2, max: 1 },
        Refusal::TooManySessionsOfPrincipal { max: 1 },
        Refusal::NotOfPrincipal,
        Refusal::TooManyRevocations { max: 1 },
        Refusal::NamespaceExists,
        Refusal::TooManyNamespaces { max: 1 },
        Refusal::NamespaceRequired,
        Refusal::PolicyOutOfRange { name: "granule_ms".into(), min: 1, max: 2 },
        Refusal::NotYetSupported { current: 1 },
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
            | Refusal::ApplyVersionLower { .. }
            | Refusal::Locked { .. }
            | Refusal::StaleFence
            | Refusal::NotLocked
            | Refusal::TooManyWaiters { .. }
            | Refusal::WaitOver
            | Refusal::NamespaceFull { .. }
            | Refusal::NamespaceBytesExceeded { .. }
            | Refusal::TooManySessionsOfPrincipal { .. }
            | Refusal::NotOfPrincipal
            | Refusal::TooManyRevocations { .. }
            | Refusal::NamespaceExists
            | Refusal::TooManyNamespaces { .. }
            | Refusal::NamespaceRequired
            | Refusal::PolicyOutOfRange { .. }
            | Refusal::NotYetSupported { .. } => {}
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
    assert_eq!(code(Refusal::Locked { age_ms: 1, remaining_ms: 1 }), Code::Aborted);
    assert_eq!(code(Refusal::WaitOver), Code::Aborted);
    assert_eq!(code(Refusal::StaleFence), Code::FailedPrecondition);
    assert_eq!(code(Refusal::NotLocked), Code::FailedPrecondition);
    assert_eq!(code(Refusal::NotOfPrincipal), Code::FailedPrecondition);
    assert_eq!(code(Refusal::NamespaceRequired), Code::FailedPrecondition);
    assert_eq!(code(Refusal::NamespaceExists), Code::AlreadyExists);
    assert_eq!(code(Refusal::NamespaceFull { max: 1 }), Code::ResourceExhausted);
    assert_eq!(code(Refusal::NotYetSupported { current: 1 }), Code::Unavailable);
}

#[test]
fn only_what_passes_by_itself_is_worth_a_retry() {
    let retryable: Vec<_> = refusals().into_iter().map(Failure::from).filter(|f| f.retryable).collect();
    let reasons: Vec<_> = retryable.iter().map(|failure| failure.reason).collect();
    let expected = [
        "TOO_MANY_OUTSTANDING",
        "TOO_MANY_CLIENTS",
        "TOO_MANY_OUTCOMES",
        "CLIENT_TAKEN",
        "TOO_MANY_WAITERS",
        "TOO_MANY_REVOCATIONS",
        "NOT_YET_SUPPORTED",
    ];
    assert_eq!(reasons, expected);
}

/// Whether to ask again is the caller's to say, who learns what it needs for that.
#[test]
fn a_locked_session_tells_for_how_long() {
    let told = |remaining_ms| Failure::from(Refusal::Locked { age_ms: 5, remaining_ms });
    assert_eq!(told(300).facts, [("age_ms", "5".to_owned()), ("remaining_ms", "300".to_owned())]);
    assert!(!told(300).retryable && !told(300).maybe_applied);
    for (remaining_ms, after_ms) in [(0, 20), (300, 300), (60_000, 1_000)] {
        assert_eq!(told(remaining_ms).retry_after, Some(Duration::from_millis(after_ms)));
    }
}

/// The state machine names settings as the API does: each is a field of the request.
#[test]
fn every_setting_of_a_policy_has_its_field() {
    use quorate_state::{Policy, PolicyChange};
    let (none, far) = (Some(0), Some(u64::MAX));
    let changes = [
        PolicyChange { default_idle_ms: Some(far), ..Default::default() },
        PolicyChange { default_absolute_ms: Some(far), ..Default::default() },
        PolicyChange { idle_ms_max: none, ..Default::default() },
        PolicyChange { absolute_ms_max: none, ..Default::default() },
        PolicyChange { session_bytes_max: none, ..Default::default() },
        PolicyChange { attributes_max: Some(0), ..Default::default() },
        PolicyChange { tombstone_ms: none, ..Default::default() },
        PolicyChange { anonymous_idle_ms: Some(far), ..Default::default() },
        PolicyChange { granule_ms: Some(far), ..Default::default() },
        PolicyChange { sessions_max: Some(none), ..Default::default() },
        PolicyChange { bytes_max: Some(none), ..Default::default() },
        PolicyChange { principal_sessions_max: Some(Some(u32::MAX)), ..Default::default() },
        PolicyChange { events_max: Some(u32::MAX), ..Default::default() },
        PolicyChange { events_bytes_max: far, ..Default::default() },
    ];
    for change in changes {
        let (name, min, max) = Policy::default().changed(&change).out_of_range().unwrap();
        let failure = Failure::from(Refusal::PolicyOutOfRange { name: name.into(), min, max });
        assert_eq!(failure.field, Some(format!("policy.{name}").as_str()));
    }
}

#[test]
fn a_node_that_is_too_far_behind_says_how_far() {
    let failure = too_stale(Some(Duration::from_secs(3)));
    assert_eq!((failure.code, failure.reason, failure.retryable), (Code::Unavailable, "TOO_STALE", true));
    assert_eq!(failure.facts, [("staleness_ms", "3000".to_owned())]);
    assert!(too_stale(None).facts.is_empty());
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
