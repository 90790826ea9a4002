//! What a committed offset says besides its number, and whether it may be believed.
//!
//! Kafka keeps a string beside each committed offset. Ours names the topic's id, the next offset of
//! the evidence and the head of its chain, so that a topic that was created again, an offset that
//! another tool moved, or one that expired is noticed before a record is scored; and the package that
//! decided last, so that an older one does not come back by mistake. Pure.

use std::fmt;

use crate::package::Edition;
use crate::record::{Digest, Gap, NextOffset, Offset};
use crate::source::track::Disorder;
use crate::words::counted;

/// The metadata of a committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bookmark {
    pub topic_id: String,
    /// One past the last offset that the evidence covers. Smaller than the committed offset only
    /// where an operator accepted the hole between them.
    pub next: NextOffset,
    /// Head of the partition's evidence chain.
    pub head: Digest,
    /// The package that decided last; none before the first decision.
    pub model: Option<Edition>,
}

impl Bookmark {
    const VERSION: &'static str = "probity-2";
    /// Names no package.
    const VERSION_BEFORE: &'static str = "probity-1";

    #[must_use]
    pub fn parse(text: &str) -> Option<Bookmark> {
        let mut words = text.splitn(5, ' ');
        let version = words.next()?;
        let (topic_id, next, head) = (words.next()?, words.next()?, words.next()?);
        let model = match (version, words.next()) {
            (Self::VERSION, Some(words)) => Some(Edition::parse(words)?),
            (Self::VERSION | Self::VERSION_BEFORE, None) => None,
            _ => return None,
        };
        let next = NextOffset(next.parse().ok().filter(|next| *next >= 0)?);
        Some(Bookmark {
            topic_id: topic_id.to_owned(),
            next,
            head: Digest::parse(head)?,
            model,
        })
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            Self::VERSION,
            self.topic_id,
            self.next,
            self.head
        )?;
        match &self.model {
            Some(model) => write!(f, " {model}"),
            None => Ok(()),
        }
    }
}

/// Where scoring of a partition goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    pub next: NextOffset,
    pub head: Digest,
    /// A hole that an operator accepted; it becomes a gap row before the first record.
    pub accepted: Option<Gap>,
    /// The package that decided last.
    pub model: Option<Edition>,
}

/// Why a partition is not scored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    NoCommit,
    ForeignCommit {
        offset: NextOffset,
    },
    OtherTopic {
        was: String,
        is: String,
    },
    BehindEvidence {
        offset: NextOffset,
        evidence: NextOffset,
    },
    OutOfRange {
        expected: NextOffset,
        low: i64,
        high: i64,
    },
    NoTwin {
        topic: String,
        partitions: i32,
    },
    Disorder(Disorder),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoCommit => f.write_str(
                "no offset is committed for it: it is new, the topic was deleted and created again (Kafka \
                 forgets the offsets with the topic), or they expired; say where to begin with \
                 `probity topics create --start earliest` (or `latest`), or with `probity topics accept` \
                 where there is evidence of it already",
            ),
            Refusal::ForeignCommit { offset } => write!(
                f,
                "its offset {offset} was committed by another tool, so what was scored before is \
                 unknown; stop the group and say where to go on with `probity topics accept`"
            ),
            Refusal::OtherTopic { was, is } => write!(
                f,
                "the topic was deleted and created again (its id was {was} and is {is}), so the \
                 committed offset means other records; stop the group and say where to begin with \
                 `probity topics accept`"
            ),
            Refusal::BehindEvidence { offset, evidence } => write!(
                f,
                "its offset {offset} was moved back behind the evidence, which ends at {evidence}; \
                 records are not scored twice: stop the group and set it right with \
                 `probity topics accept`"
            ),
            Refusal::OutOfRange { expected, low, high } => write!(
                f,
                "offset {expected} is no longer there: the log holds {low} to {high}; records were \
                 deleted before they were scored; stop the group and accept the hole with \
                 `probity topics accept`"
            ),
            Refusal::NoTwin { topic, partitions } => write!(
                f,
                "`{topic}` has only {}; add partitions to it until it has as many as the input",
                counted(*partitions, "partition")
            ),
            Refusal::Disorder(Disorder::WentBack { expected, found }) => write!(
                f,
                "offset {found} was delivered again where {expected} was expected: the log was cut \
                 or the client is broken; nothing was committed"
            ),
            Refusal::Disorder(Disorder::NeverSettles { sought }) => write!(
                f,
                "each seek to {sought} finds another first record; the log is changing under the \
                 reader; nothing was committed"
            ),
        }
    }
}

/// Whether a partition may be scored from its committed offset on, `None` being no commit at all.
///
/// # Errors
/// The [`Refusal`], for an operator.
pub fn judge(
    committed: Option<NextOffset>,
    metadata: &str,
    topic_id: &str,
) -> Result<Start, Refusal> {
    let offset = committed.ok_or(Refusal::NoCommit)?;
    let bookmark = Bookmark::parse(metadata).ok_or(Refusal::ForeignCommit { offset })?;
    if bookmark.topic_id != topic_id {
        return Err(Refusal::OtherTopic {
            was: bookmark.topic_id,
            is: topic_id.to_owned(),
        });
    }
    if offset < bookmark.next {
        return Err(Refusal::BehindEvidence {
            offset,
            evidence: bookmark.next,
        });
    }
    let accepted = (offset > bookmark.next).then_some(Gap {
        first: Offset(bookmark.next.0),
        next: offset,
    });
    Ok(Start {
        next: offset,
        head: bookmark.head,
        accepted,
        model: bookmark.model,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookmark(next: i64) -> Bookmark {
        Bookmark {
            topic_id: "id".into(),
            next: NextOffset(next),
            head: Digest::of(b"h"),
            model: None,
        }
    }

    fn judged(offset: Option<i64>, metadata: &str) -> Result<Start, Refusal> {
        judge(offset.map(NextOffset), metadata, "id")
    }

    #[test]
    fn a_bookmark_reads_what_it_writes_and_fits_the_brokers_limit() {
        let plain = bookmark(i64::MAX);
        assert_eq!(Bookmark::parse(&plain.to_string()), Some(plain));
        let longest = "x".repeat(64);
        let whole = Bookmark {
            model: Edition::parse(&format!("{0} {0} {0} {1}", longest, Digest::of(b"p"))),
            ..bookmark(i64::MAX)
        };
        let text = whole.to_string();
        assert_eq!(Bookmark::parse(&text), Some(whole));
        let before = bookmark(7).to_string().replace("probity-2", "probity-1");
        assert_eq!(Bookmark::parse(&before), Some(bookmark(7)));
        assert!(
            text.len() < 4096,
            "offset.metadata.max.bytes is 4096 by default"
        );
        for bad in [
            "",
            "probity-1",
            "probity-3 id 1 00",
            &format!("{text} x"),
            &format!("{text} "),
        ] {
            assert_eq!(Bookmark::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn our_own_commit_is_believed() {
        let start = judged(Some(7), &bookmark(7).to_string()).unwrap();
        assert_eq!((start.next, start.accepted), (NextOffset(7), None));
    }

    #[test]
    fn what_might_lose_or_double_an_event_is_refused_with_the_way_out() {
        let refusals = [
            judged(None, ""),
            judged(Some(7), ""),
            judged(Some(6), &bookmark(7).to_string()),
            judge(Some(NextOffset(7)), &bookmark(7).to_string(), "other"),
        ];
        for refusal in refusals {
            let sentence = refusal.unwrap_err().to_string();
            assert!(sentence.contains("`probity topics "), "{sentence}");
        }
    }

    #[test]
    fn a_hole_that_an_operator_accepted_becomes_a_gap() {
        let start = judged(Some(9), &bookmark(7).to_string()).unwrap();
        assert_eq!(
            start.accepted,
            Some(Gap {
                first: Offset(7),
                next: NextOffset(9)
            })
        );
    }
}
