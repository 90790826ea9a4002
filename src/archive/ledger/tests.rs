use super::*;
use crate::record::Offset;
use crate::tlog::Signer;
use bytes::Bytes;
use proptest::prelude::*;

/// One key in all roles.
pub fn signer() -> Signer {
    Signer::from_seed("bank.example", [1; 32]).unwrap()
}

pub fn authority() -> Authority {
    Authority {
        archive: archive_id("cluster", "evidence-id"),
        log: vec![signer().verifier().clone()],
    }
}

/// The next entry of `state`, signed.
fn next(state: &State, body: Body) -> (Entry, Bytes) {
    let entry = Entry {
        n: state.entries(),
        archive: authority().archive,
        time: 5,
        state: state.commitment(),
        body,
    };
    let bytes = entry.sign(&signer());
    (entry, bytes)
}

fn fold(state: &mut State, body: Body) -> Result<(), Invalid> {
    let (entry, bytes) = next(state, body);
    state.fold(entry, &bytes)
}

fn add_key(role: Role, key: &Verifier) -> Body {
    change_key(Act::Add, role, key)
}

fn change_key(act: Act, role: Role, key: &Verifier) -> Body {
    Body::Key(KeyChange {
        act,
        role,
        key: key.to_string(),
    })
}

pub fn stream(partition: i32) -> StreamId {
    StreamId {
        cluster_id: "cluster".into(),
        topic: "payments.evidence".into(),
        topic_id: "evidence-id".into(),
        partition,
    }
}

fn cover(partition: i32, first: i64, next: i64) -> Coverage {
    Coverage {
        topic: "payments".into(),
        topic_id: "input-id".into(),
        partition,
        first: Offset(first),
        next: NextOffset(next),
    }
}

/// A segment that follows `tip`, `len` positions and offsets long.
pub fn segment(n: u64, partition: i32, tip: &Tip, len: i64) -> Segment {
    let stream = stream(partition);
    let covered = tip.coverage.values().next().map_or(0, |next| next.0);
    let head = Digest::of(&tip.next.0.to_be_bytes());
    let day = layout::Day::of(0).unwrap();
    Segment {
        first: tip.next,
        next: NextPosition(tip.next.0 + len),
        coverage: vec![cover(partition, covered, covered + len)],
        prev_head: tip.head,
        head,
        rows: 3,
        scored: 1,
        rejected: 1,
        gaps: 1,
        columns: Digest::ZERO,
        row_root: head,
        group_roots: vec![head],
        min_id: Some("a".into()),
        max_id: None,
        sha256: head,
        bytes: 10,
        path: layout::segment(day, &stream.topic, partition, tip.next, n),
        context: Digest::ZERO,
        min_time: 0,
        max_time: 1,
        writer: "probity 0.1.0".into(),
        stream,
    }
}

fn body(segment: Segment) -> Body {
    Body::Segment(Box::new(segment))
}

fn brk(tip: &Tip, next: i64, covered: i64) -> Break {
    Break {
        stream: stream(0),
        first: tip.next,
        next: NextPosition(next),
        coverage: vec![cover(0, covered, covered + 5)],
        head: Digest::of(b"after"),
        reason: "retention".into(),
        operator: "ann".into(),
    }
}

/// Two streams, each of some segments, and what they fold to.
fn folded(lens: &[(i32, i64)]) -> (Vec<Entry>, State) {
    let mut state = State::default();
    let mut entries = Vec::new();
    for &(partition, len) in lens {
        let tip = state.tip(&stream(partition));
        let (entry, bytes) = next(&state, body(segment(state.entries(), partition, &tip, len)));
        entries.push(entry.clone());
        state.fold(entry, &bytes).unwrap();
    }
    (entries, state)
}

#[test]
fn a_segment_is_written_like_this() {
    let segment = segment(0, 0, &Tip::genesis(), 7);
    let text = next(&State::default(), body(segment)).0.to_text();
    let (zeros, archive) = ("0".repeat(64), authority().archive);
    let head = Digest::of(&[0; 8]);
    let expected = format!(
        r#"{{"n":0,"archive":"{archive}","time":5,"type":"segment","stream":{{"cluster_id":"cluster","topic":"payments.evidence","topic_id":"evidence-id","partition":0}},"first":0,"next":7,"coverage":[{{"topic":"payments","topic_id":"input-id","partition":0,"first":0,"next":7}}],"prev_head":"{zeros}","head":"{head}","rows":3,"scored":1,"rejected":1,"gaps":1,"columns":"{zeros}","row_root":"{head}","group_roots":["{head}"],"min_id":"a","max_id":null,"sha256":"{head}","bytes":10,"path":"segments/dt=1970-01-01/payments.evidence-0-00000000000000000000-0.parquet","context":"{zeros}","min_time":0,"max_time":1,"writer":"probity 0.1.0"}}"#
    );
    assert_eq!(text, expected + "\n");
}

#[test]
fn other_entries_are_written_like_this() {
    let zeros = "0".repeat(64);
    let key = signer().verifier().clone();
    let event = Event {
        kind: "started".into(),
        instance: "a".into(),
        facts: BTreeMap::from([("version".into(), "1".into())]),
    };
    let reseal = Reseal {
        entry: 0,
        sha256: Digest::ZERO,
        bytes: 9,
    };
    for (body, expected) in [
        (
            Body::Reseal(reseal),
            format!(r#""type":"reseal","entry":0,"sha256":"{zeros}","bytes":9}}"#),
        ),
        (
            add_key(Role::Scorer, &key),
            format!(r#""type":"key","act":"add","role":"scorer","key":"{key}"}}"#),
        ),
        (
            Body::Event(event),
            r#""type":"event","kind":"started","instance":"a","facts":{"version":"1"}}"#.to_owned(),
        ),
        (Body::Heartbeat, r#""type":"heartbeat"}"#.to_owned()),
    ] {
        let (entry, bytes) = next(&State::default(), body);
        let archive = authority().archive;
        let start = format!(r#"{{"n":0,"archive":"{archive}","time":5,"#);
        assert_eq!(entry.to_text(), start + &expected + "\n");
        assert_eq!(Entry::parse(&bytes).unwrap().0, entry);
    }
    let text = next(&State::default(), Body::Break(brk(&Tip::genesis(), 9, 0)))
        .0
        .to_text();
    assert!(
        text.ends_with("\"reason\":\"retention\",\"operator\":\"ann\"}\n"),
        "{text}"
    );
}

#[test]
fn only_the_one_form_is_read() {
    let (entry, bytes) = next(&State::default(), body(segment(0, 0, &Tip::genesis(), 7)));
    let good = entry.to_text();
    assert!(Entry::parse(&bytes).is_ok());
    for bad in [
        good.replace("\"rows\":3", "\"rows\": 3"),
        good.replace("\"rows\":3", "\"rows\":3,\"more\":1"),
        good.replace("{\"n\":0", "{\"more\":1,\"n\":0"),
        good.replace("\"segment\"", "\"sediment\""),
        good.replace("\"rows\":3,", ""),
        "\n".into(),
    ] {
        assert!(
            Entry::parse(signer().note(&bad).as_bytes()).is_err(),
            "{bad}"
        );
    }
    assert!(Entry::parse(good.as_bytes()).is_err(), "not signed");
}

#[test]
fn an_entry_counts_only_if_a_key_of_its_role_signed_it() {
    let stranger = Signer::from_seed("bank.example", [2; 32]).unwrap();
    let mut state = State::default();
    let (entry, bytes) = next(&state, Body::Heartbeat);
    assert!(
        state.accept(&bytes, &authority()).is_err(),
        "the log key is no archiver"
    );
    let (_, adds) = next(&state, add_key(Role::Archiver, stranger.verifier()));
    state.accept(&adds, &authority()).unwrap();
    let beat = |state: &State, signer: &Signer| {
        let entry = Entry {
            n: state.entries(),
            ..entry.clone()
        };
        entry.sign(signer)
    };
    assert!(
        state
            .clone()
            .accept(&beat(&state, &signer()), &authority())
            .is_err()
    );
    state
        .accept(&beat(&state, &stranger), &authority())
        .unwrap();
    let elsewhere = Authority {
        archive: Digest::ZERO,
        ..authority()
    };
    assert!(
        state
            .clone()
            .accept(&beat(&state, &stranger), &elsewhere)
            .is_err()
    );
    let (entry, _) = next(
        &state,
        change_key(Act::Retire, Role::Archiver, stranger.verifier()),
    );
    let own = entry.sign(&stranger);
    assert!(
        state.clone().accept(&own, &authority()).is_err(),
        "only log keys give roles"
    );
    state.accept(&entry.sign(&signer()), &authority()).unwrap();
    assert!(
        state
            .clone()
            .accept(&beat(&state, &stranger), &authority())
            .is_err()
    );
    assert!(state.has_held(Role::Archiver, stranger.verifier()));
}

#[test]
fn a_log_key_hands_over_to_the_next() {
    let (new, mut state) = (
        Signer::from_seed("bank.example", [2; 32]).unwrap(),
        State::default(),
    );
    let (_, handed) = next(&state, add_key(Role::Log, new.verifier()));
    state.accept(&handed, &authority()).unwrap();
    let (entry, _) = next(
        &state,
        change_key(Act::Retire, Role::Log, signer().verifier()),
    );
    state.accept(&entry.sign(&new), &authority()).unwrap();
    assert_eq!(
        state.holders(Role::Log, &authority()),
        [new.verifier().clone()]
    );
    let (_, old) = next(&state, add_key(Role::Scorer, new.verifier()));
    assert!(
        state.clone().accept(&old, &authority()).is_err(),
        "the old key is retired"
    );
    // A stored state proves its keys: one that is put into it is not believed.
    let stored = state.to_bytes();
    assert_eq!(State::parse(&stored, &authority()).unwrap(), state);
    let stranger = Signer::from_seed("bank.example", [3; 32]).unwrap();
    let (entry, _) = next(&State::default(), add_key(Role::Log, new.verifier()));
    let forged = String::from_utf8(stored).unwrap();
    let note = |signer: &Signer| {
        serde_json::to_string(&String::from_utf8(entry.sign(signer).to_vec()).unwrap()).unwrap()
    };
    assert!(forged.contains(&note(&signer())));
    let forged = forged.replace(&note(&signer()), &note(&stranger));
    assert!(State::parse(forged.as_bytes(), &authority()).is_err());
}

#[test]
fn every_256th_entry_names_the_fold_before_it() {
    let mut state = State::default();
    for _ in 0..256 {
        fold(&mut state, Body::Heartbeat).unwrap();
    }
    let (mut entry, bytes) = next(&state, Body::Heartbeat);
    assert_eq!(entry.state, Some(Digest::of(&state.to_bytes())));
    state.clone().fold(entry.clone(), &bytes).unwrap();
    entry.state = None;
    assert!(state.clone().fold(entry.clone(), &bytes).is_err());
    entry.state = Some(Digest::ZERO);
    assert!(state.fold(entry, &bytes).is_err());
}

type Change = fn(&mut Segment);

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let (_, state) = folded(&[(0, 7), (1, 3)]);
    let tip = state.tip(&stream(0));
    let good = segment(2, 0, &tip, 5);
    assert!(fold(&mut state.clone(), body(good.clone())).is_ok());
    let changes: [(&str, Change); 17] = [
        ("root of the rows", |s| s.row_root = Digest::ZERO),
        ("roots of groups", |s| s.group_roots.push(s.row_root)),
        ("before the tip", |s| s.first.0 -= 1),
        ("after the tip", |s| s.first.0 += 1),
        ("empty", |s| s.next = s.first),
        ("chain", |s| s.prev_head = Digest::ZERO),
        ("hole in the input", |s| s.coverage[0].first.0 += 1),
        ("input twice", |s| s.coverage[0].first.0 -= 1),
        ("empty input", |s| {
            s.coverage[0].next.0 = s.coverage[0].first.0
        }),
        ("no input", |s| s.coverage.clear()),
        ("one input in two ranges", |s| {
            s.coverage.push(s.coverage[0].clone())
        }),
        ("rows", |s| s.rows += 1),
        ("overflow of rows", |s| s.gaps = u64::MAX),
        ("path of another entry", |s| {
            s.path = s.path.replace("-2.", "-1.")
        }),
        ("another stream", |s| s.stream.partition = 1),
        ("another evidence topic", |s| s.stream.topic_id.push('x')),
        ("another partition of the input", |s| {
            s.coverage[0].partition = 1
        }),
    ];
    for (what, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let mut after = state.clone();
        assert!(fold(&mut after, body(bad)).is_err(), "{what}");
        assert_eq!(after, state, "{what}");
    }
}

#[test]
fn a_break_moves_the_tip_where_the_operator_says() {
    let (_, mut state) = folded(&[(0, 7)]);
    let tip = state.tip(&stream(0));
    let mut nameless = brk(&tip, 20, 7);
    nameless.operator.clear();
    assert!(fold(&mut state, Body::Break(nameless)).is_err());
    assert!(
        fold(&mut state, Body::Break(brk(&tip, 6, 7))).is_err(),
        "backwards"
    );
    assert!(
        fold(&mut state, Body::Break(brk(&tip, 20, 8))).is_err(),
        "does not join"
    );
    fold(&mut state, Body::Break(brk(&tip, 20, 7))).unwrap();
    let tip = state.tip(&stream(0));
    assert_eq!(
        (tip.next, tip.head),
        (NextPosition(20), Digest::of(b"after"))
    );
    assert!(tip.last.is_none());
    let next = segment(2, 0, &tip, 1);
    assert_eq!(next.coverage[0].first, Offset(12));
    fold(&mut state, body(next)).unwrap();
}

#[test]
fn only_the_last_segment_can_be_resealed_and_only_with_new_bytes() {
    let (_, mut state) = folded(&[(0, 7), (0, 3)]);
    let reseal = |entry, text: &[u8]| {
        Body::Reseal(Reseal {
            entry,
            sha256: Digest::of(text),
            bytes: 1,
        })
    };
    assert!(fold(&mut state, reseal(0, b"x")).is_err());
    assert!(fold(&mut state, reseal(5, b"x")).is_err());
    assert!(
        fold(&mut state, reseal(1, &7i64.to_be_bytes())).is_err(),
        "its own bytes"
    );
    fold(&mut state, reseal(1, b"x")).unwrap();
    assert_eq!(state.tip(&stream(0)).files.len(), 2);
}

#[test]
fn a_topic_made_again_is_another_stream() {
    let (_, state) = folded(&[(0, 7)]);
    let mut again = stream(0);
    again.topic_id = "other".into();
    assert_eq!(state.tip(&again), Tip::genesis());
}

#[test]
fn the_end_is_found_in_few_looks() {
    for end in (0..2_000).chain([6_700_000, 1 << 40, (1 << 40) - 1]) {
        let mut looks = 0;
        let found = find_end(|n| {
            looks += 1;
            Ok::<_, ()>(n < end)
        });
        assert_eq!(found, Ok(end));
        let log2 = u64::from((end + 1).ilog2());
        assert!(looks <= 2 * log2 + 2, "{looks} looks for {end}");
    }
}

proptest! {
    #[test]
    fn folding_is_the_same_through_a_snapshot(lens in prop::collection::vec((0..3i32, 1..9i64), 1..40), cut in 0usize..40) {
        let (entries, state) = folded(&lens);
        let mut resumed = State::default();
        for (i, entry) in entries.iter().enumerate() {
            if i == cut {
                let bytes = resumed.to_bytes();
                resumed = State::parse(&bytes, &authority()).unwrap();
                prop_assert_eq!(resumed.to_bytes(), bytes);
            }
            let bytes = entry.sign(&signer());
            resumed.fold(Entry::parse(&bytes).unwrap().0, &bytes).unwrap();
        }
        prop_assert_eq!(resumed, state);
    }

    #[test]
    fn segments_tile_each_stream(lens in prop::collection::vec((0..3i32, 1..9i64), 0..40)) {
        let (entries, state) = folded(&lens);
        for partition in 0..3 {
            let total: i64 = lens.iter().filter(|(p, _)| *p == partition).map(|(_, len)| len).sum();
            prop_assert_eq!(state.tip(&stream(partition)).next, NextPosition(total));
        }
        for left_out in 0..entries.len() {
            let mut rest = entries.clone();
            rest.remove(left_out);
            let mut again = State::default();
            let all = rest.into_iter().try_for_each(|entry| {
                let bytes = entry.sign(&signer());
                again.fold(entry, &bytes)
            });
            prop_assert_eq!(all.is_ok(), left_out + 1 == entries.len());
        }
    }
}
