use super::*;
use proptest::prelude::*;

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
        n,
        first: tip.next,
        next: NextPosition(tip.next.0 + len),
        coverage: vec![cover(partition, covered, covered + len)],
        prev_head: tip.head,
        head,
        rows: 3,
        scored: 1,
        rejected: 1,
        gaps: 1,
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

fn entry(segment: Segment) -> Entry {
    Entry::Segment(Box::new(segment))
}

fn brk(n: u64, tip: &Tip, next: i64, covered: i64) -> Break {
    Break {
        n,
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
        let next = entry(segment(state.entries(), partition, &tip, len));
        entries.push(next.clone());
        state.fold(next).unwrap();
    }
    (entries, state)
}

#[test]
fn a_segment_is_written_like_this() {
    let text = String::from_utf8(entry(segment(0, 0, &Tip::genesis(), 7)).to_bytes()).unwrap();
    let zeros = "0".repeat(64);
    let head = Digest::of(&[0; 8]);
    let expected = format!(
        r#"{{"type":"segment","n":0,"stream":{{"cluster_id":"cluster","topic":"payments.evidence","topic_id":"evidence-id","partition":0}},"first":0,"next":7,"coverage":[{{"topic":"payments","topic_id":"input-id","partition":0,"first":0,"next":7}}],"prev_head":"{zeros}","head":"{head}","rows":3,"scored":1,"rejected":1,"gaps":1,"sha256":"{head}","bytes":10,"path":"segments/dt=1970-01-01/payments.evidence-0-00000000000000000000-0.parquet","context":"{zeros}","min_time":0,"max_time":1,"writer":"probity 0.1.0"}}"#
    );
    assert_eq!(text, expected + "\n");
}

#[test]
fn other_entries_are_written_like_this() {
    let reseal = Entry::Reseal(Reseal {
        n: 1,
        entry: 0,
        sha256: Digest::ZERO,
        bytes: 9,
    });
    let zeros = "0".repeat(64);
    let expected =
        format!("{{\"type\":\"reseal\",\"n\":1,\"entry\":0,\"sha256\":\"{zeros}\",\"bytes\":9}}\n");
    assert_eq!(String::from_utf8(reseal.to_bytes()).unwrap(), expected);
    let text = String::from_utf8(Entry::Break(brk(0, &Tip::genesis(), 9, 0)).to_bytes()).unwrap();
    assert!(
        text.starts_with(r#"{"type":"break","n":0,"stream":"#),
        "{text}"
    );
    assert!(
        text.ends_with("\"reason\":\"retention\",\"operator\":\"ann\"}\n"),
        "{text}"
    );
    assert_eq!(
        Entry::parse(text.as_bytes()).unwrap().to_bytes(),
        text.as_bytes()
    );
}

#[test]
fn only_the_one_form_is_read() {
    let good = String::from_utf8(entry(segment(0, 0, &Tip::genesis(), 7)).to_bytes()).unwrap();
    assert!(Entry::parse(good.as_bytes()).is_ok());
    for bad in [
        good.trim_end().to_owned(),
        good.replace("\"rows\":3", "\"rows\": 3"),
        good.replace("\"rows\":3", "\"rows\":3,\"more\":1"),
        good.replace("\"segment\"", "\"sediment\""),
        good.replace("\"rows\":3,", ""),
        String::new(),
    ] {
        assert!(Entry::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

type Change = fn(&mut Segment);

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let (_, state) = folded(&[(0, 7), (1, 3)]);
    let tip = state.tip(&stream(0));
    let good = segment(2, 0, &tip, 5);
    assert!(state.clone().fold(entry(good.clone())).is_ok());
    let changes: [(&str, Change); 14] = [
        ("number", |s| s.n = 1),
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
        ("another stream", |s| s.stream.topic_id.push('x')),
    ];
    for (what, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let mut after = state.clone();
        assert!(after.fold(entry(bad)).is_err(), "{what}");
        assert_eq!(after, state, "{what}");
    }
}

#[test]
fn a_break_moves_the_tip_where_the_operator_says() {
    let (_, mut state) = folded(&[(0, 7)]);
    let tip = state.tip(&stream(0));
    let mut nameless = brk(1, &tip, 20, 7);
    nameless.operator.clear();
    assert!(state.fold(Entry::Break(nameless)).is_err());
    assert!(
        state.fold(Entry::Break(brk(1, &tip, 6, 7))).is_err(),
        "backwards"
    );
    assert!(
        state.fold(Entry::Break(brk(1, &tip, 20, 8))).is_err(),
        "does not join"
    );
    state.fold(Entry::Break(brk(1, &tip, 20, 7))).unwrap();
    let tip = state.tip(&stream(0));
    assert_eq!(
        (tip.next, tip.head),
        (NextPosition(20), Digest::of(b"after"))
    );
    assert!(tip.last.is_none());
    let next = segment(2, 0, &tip, 1);
    assert_eq!(next.coverage[0].first, Offset(12));
    state.fold(entry(next)).unwrap();
}

#[test]
fn only_the_last_segment_can_be_resealed_and_only_with_new_bytes() {
    let (_, mut state) = folded(&[(0, 7), (0, 3)]);
    let reseal = |entry, text: &[u8]| {
        Entry::Reseal(Reseal {
            n: 2,
            entry,
            sha256: Digest::of(text),
            bytes: 1,
        })
    };
    assert!(state.fold(reseal(0, b"x")).is_err());
    assert!(state.fold(reseal(5, b"x")).is_err());
    assert!(
        state.fold(reseal(1, &7i64.to_be_bytes())).is_err(),
        "its own bytes"
    );
    state.fold(reseal(1, b"x")).unwrap();
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
                resumed = State::parse(&bytes).unwrap();
                prop_assert_eq!(resumed.to_bytes(), bytes);
            }
            resumed.fold(Entry::parse(&entry.to_bytes()).unwrap()).unwrap();
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
            let all = rest.into_iter().try_for_each(|entry| again.fold(entry));
            prop_assert_eq!(all.is_ok(), left_out + 1 == entries.len());
        }
    }
}
