use super::*;

#[tokio::test(start_paused = true)]
async fn it_begins_at_once_and_tells_what_happens_from_then_on() {
    let rig = rig().await;
    rig.create(1, "ann").await;
    let (mut watch, begin) = rig.begun(&all()).await;
    assert_eq!(begin, at(rig.index().await));
    assert_quiet(&mut watch).await;

    let created = rig.create(2, "").await;
    let updated = rig.write(2, b"last", Some("bob")).await;
    let new_key = key(3);
    let renamed = RegenerateSession { namespace: "default".into(), key: key(2), new_key, fence: None };
    let renamed = rig.operate(Operation::Regenerate(renamed)).await;
    let deleted = rig.delete(3).await;
    rig.operate(Operation::Touch { namespace: "default".into(), key: key(1) }).await;
    let (told, cursor) = events(&mut watch, 4).await;
    let cursor_of = |index| {
        Some(v1::Cursor { position: Some(v1::Position { cluster: CLUSTER, index }), ordinal: Some(0) })
    };
    let event = |kind: v1::EventKind, index, number| v1::Event {
        kind: kind.into(),
        cursor: cursor_of(index),
        handle: key(number).handle(),
        at_ms: 3_600_000,
        ..v1::Event::default()
    };
    let expected = [
        v1::Event { version: 1, ..event(v1::EventKind::Created, created, 2) },
        v1::Event {
            version: 2,
            principal: "bob".to_owned(),
            previous_principal: Some(String::new()),
            ..event(v1::EventKind::Updated, updated, 2)
        },
        v1::Event {
            version: 3,
            principal: "bob".to_owned(),
            new_handle: key(3).handle(),
            ..event(v1::EventKind::Renamed, renamed, 2)
        },
        v1::Event {
            version: 3,
            principal: "bob".to_owned(),
            reason: v1::EndReason::Logout.into(),
            attributes: BTreeMap::from([("a".to_owned(), Bytes::from_static(b"last"))]),
            ..event(v1::EventKind::Deleted, deleted, 3)
        },
    ];
    assert_eq!(told, expected);
    assert!(cursor.position.unwrap().index >= deleted);
    assert_quiet(&mut watch).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_wanted_is_told() {
    let rig = rig().await;
    rig.keep("shop", 1_000).await;
    let of = |principal: &str| v1::WatchRequest { principal: Some(principal.to_owned()), ..all() };
    let kinds = vec![v1::EventKind::Created.into(), v1::EventKind::Deleted.into()];
    let (mut of_ann, _) = rig.begun(&of("ann")).await;
    let (mut of_nobody, _) = rig.begun(&of("")).await;
    let (mut ends, _) = rig.begun(&v1::WatchRequest { kinds, without_attributes: true, ..all() }).await;
    let (mut shop, _) = rig.begun(&in_namespace("shop")).await;
    rig.create(1, "ann").await;
    rig.create(2, "bob").await;
    rig.write(1, b"mine", None).await;
    // She hears that she has signed in and out.
    rig.write(2, b"hers", Some("ann")).await;
    rig.write(2, b"nobody's", Some("")).await;
    rig.write(2, b"his", Some("bob")).await;
    rig.delete(1).await;
    rig.delete(2).await;
    rig.create_in("shop", 9, "ann").await;
    let versions =
        |events: &[v1::Event]| events.iter().map(|event| (event.kind, event.version)).collect::<Vec<_>>();
    let (created, updated, deleted) = (1, 2, 4);
    let (told, _) = events(&mut of_ann, 5).await;
    assert_eq!(versions(&told), [(created, 1), (updated, 2), (updated, 2), (updated, 3), (deleted, 2)]);
    let (told, _) = events(&mut of_nobody, 2).await;
    assert_eq!(versions(&told), [(updated, 3), (updated, 4)]);
    let (told, _) = events(&mut ends, 4).await;
    assert_eq!(versions(&told), [(created, 1), (created, 1), (deleted, 2), (deleted, 4)]);
    assert!(told.iter().all(|event| event.attributes.is_empty()));
    let (told, _) = events(&mut shop, 1).await;
    assert_eq!(told[0].handle, key(9).handle());
    for watch in [&mut of_ann, &mut of_nobody, &mut ends, &mut shop] {
        assert_quiet(watch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn from_any_cursor_it_goes_on_without_a_gap() {
    let rig = rig().await;
    let (mut watch, begin) = rig.begun(&all()).await;
    for number in 0..40 {
        rig.create(number, "ann").await;
    }
    // One entry with many events.
    let revoke = RevokePrincipal { namespace: "default".into(), principal: "ann".into(), except: None };
    rig.operate(Operation::Revoke(revoke)).await;
    rig.apply(Command::Reap { keys: (0..40).map(key).collect() }).await;
    let (told, end) = events(&mut watch, 80).await;
    assert_eq!(told[79].reason, i32::from(v1::EndReason::Revoked));
    let ordinals: Vec<_> = told[40..].iter().map(|event| event.cursor.unwrap().ordinal.unwrap()).collect();
    assert_eq!(ordinals, (0..40).collect::<Vec<_>>());
    for (number, event) in told.iter().enumerate() {
        let (mut resumed, began) = rig.begun(&after(event.cursor.unwrap())).await;
        assert_eq!(Some(began), event.cursor);
        if number < 79 {
            assert_eq!(events(&mut resumed, 79 - number).await.0, told[number + 1..]);
        }
        assert_quiet(&mut resumed).await;
    }
    let (mut resumed, _) = rig.begun(&after(begin)).await;
    assert_eq!(events(&mut resumed, 80).await.0, told);
    let (mut resumed, _) = rig.begun(&after(end)).await;
    assert_quiet(&mut resumed).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_not_come_so_far_waits_until_it_has() {
    let rig = rig().await;
    let now = rig.index().await;
    // Nothing of this is known yet: not even the namespace.
    let request = v1::WatchRequest { after: Some(at(now + 2)), ..in_namespace("shop") };
    let (mut watch, begin) = rig.begun(&request).await;
    assert_eq!(begin, at(now + 2));
    // It is told that the watch lives.
    for _ in 0..2 {
        let progress = next(&mut watch).await.unwrap();
        assert_eq!((progress.events.len(), progress.cursor), (0, Some(at(now + 2))));
    }
    rig.keep("shop", 1_000).await;
    rig.create_in("shop", 1, "before").await;
    let (quiet, behind) = (watch, rig.create_in("shop", 2, "behind").await);
    let mut watch = quiet;
    let (told, _) = events(&mut watch, 1).await;
    assert_eq!(
        (told[0].principal.as_str(), told[0].cursor.unwrap().position.unwrap().index),
        ("behind", behind)
    );

    let request = v1::WatchRequest { after: Some(at(behind + 1)), ..in_namespace("nowhere") };
    let (mut watch, _) = rig.begun(&request).await;
    rig.create(1, "").await;
    is(&end(&mut watch).await, Code::NotFound, "UNKNOWN_NAMESPACE");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_hears_its_cursor_though_nothing_concerns_it() {
    let rig = rig().await;
    let (mut watch, begin) =
        rig.begun(&v1::WatchRequest { principal: Some("ann".to_owned()), ..all() }).await;
    let began = tokio::time::Instant::now();
    let mut last = begin;
    for number in 0..4 {
        for _ in 0..300 {
            rig.create(number, "bob").await;
            rig.write(number, b"value", None).await;
        }
        let message = next(&mut watch).await.unwrap();
        assert_eq!(message.events, []);
        assert!(message.cursor.unwrap().position.unwrap().index > last.position.unwrap().index);
        last = message.cursor.unwrap();
        assert_eq!(last, at(rig.index().await));
    }
    let passed = began.elapsed();
    assert!(passed >= 4 * PROGRESS_INTERVAL && passed < 5 * PROGRESS_INTERVAL, "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_are_bounded() {
    let rig = rig().await;
    let (mut watch, _) = rig.begun(&all()).await;
    rig.create(1, "").await;
    for _ in 0..1_000 {
        rig.write(1, b"value", None).await;
    }
    let mut count = 0;
    while count < 1_001 {
        let message = next(&mut watch).await.unwrap();
        assert!((1..=EVENTS_MAX).contains(&message.events.len()));
        count += message.events.len();
        let last = message.events.last().unwrap();
        assert!(
            message.cursor.unwrap().position.unwrap().index >= last.cursor.unwrap().position.unwrap().index
        );
    }
    // The last attributes count.
    for number in 10..40 {
        rig.create(number, "").await;
        rig.write(number, &vec![7; 100_000], None).await;
    }
    rig.create(40, "").await;
    rig.write(40, &vec![7; 1_048_000], None).await;
    for number in 10..=40 {
        rig.delete(number).await;
    }
    let (mut ended, mut largest) = (0, 0);
    while ended < 31 {
        let message = next(&mut watch).await.unwrap();
        let bytes: usize =
            message.events.iter().flat_map(|event| event.attributes.values()).map(Bytes::len).sum();
        assert!(bytes <= 256 << 10 || message.events.len() == 1, "{bytes}");
        largest = largest.max(bytes);
        ended +=
            message.events.iter().filter(|event| event.kind == i32::from(v1::EventKind::Deleted)).count();
    }
    assert_eq!(largest, 1_048_000);
}
