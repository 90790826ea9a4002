//! Commits what the archiver holds: first what the entry names, then the entry, then the file.
//!
//! Whoever loses the race for an entry throws its bytes away. An entry whose file a crash has lost gets it
//! again, from the same messages, before anything follows it.

use bytes::Bytes;

use super::{Archiver, Move, Outcome};
use crate::archive::layout;
use crate::archive::ledger::{Body, Committed, Entry, Reseal, State, StreamId};
use crate::archive::segment::Closed;
use crate::archive::store::{self, Ensured};
use crate::archive::stream::Phase;
use crate::error::{Fatal, Result};
use crate::record::Digest;

impl Archiver {
    /// Commits the open segment, if there is one: context, entry, file.
    pub(super) fn seal(&mut self, partition: i32) -> Result<Outcome> {
        let stream = self
            .streams
            .get_mut(&partition)
            .expect("callers name assigned partitions");
        let id = stream.id.clone();
        let Some(closed) = stream.close()? else {
            return Ok(Outcome::Committed);
        };
        self.keep(&closed)?;
        crate::crash::point("archive.before-entry");
        let is_wanted = |state: &State| closed.joins(&state.tip(&id));
        let make = |n| Body::Segment(Box::new(closed.entry(n)));
        let signer = self.identity.signer()?;
        let appended = self.log.append(is_wanted, make, signer)?;
        if let Some(entry) = &appended {
            self.observer.appended(&entry.body);
        }
        let Some(Entry {
            n,
            body: Body::Segment(segment),
            ..
        }) = appended
        else {
            self.start_again(partition)?;
            return Ok(Outcome::LostRace);
        };
        let entry = Committed {
            n,
            segment: *segment,
        };
        crate::crash::point("archive.after-entry");
        self.put_file(&entry, &closed)?;
        crate::crash::point("archive.after-file");
        self.committed(&entry);
        Ok(Outcome::Committed)
    }

    fn committed(&mut self, entry: &Committed) {
        let Committed { segment, .. } = entry;
        self.observer.sealed(segment);
        if let Some(stream) = self.streams.get_mut(&segment.stream.partition) {
            stream.is_archived(segment.max_time);
        }
        let done = Move::Committed(segment.stream.partition, segment.next);
        self.moves.push(done);
    }

    /// Somebody else has moved the tip: what they committed is right, what we hold is not wanted.
    fn start_again(&mut self, partition: i32) -> Result<()> {
        tracing::warn!(
            partition,
            "another archiver has committed this partition's evidence"
        );
        let next = self.assign(partition)?;
        self.moves.push(Move::Seek(partition, next));
        Ok(())
    }

    /// The evidence of an entry without file has been read again: its file can be made.
    pub(super) fn finish(&mut self, partition: i32) -> Result<()> {
        let stream = self
            .streams
            .get_mut(&partition)
            .expect("callers name assigned partitions");
        let phase = std::mem::replace(&mut stream.phase, Phase::Following);
        let id = stream.id.clone();
        let (Phase::Finishing(entry), Some(closed)) = (phase, stream.close()?) else {
            unreachable!("callers finish what is being finished");
        };
        let segment = &entry.segment;
        if closed.head != segment.head || closed.roots.row_root != segment.row_root {
            return Err(Fatal::integrity(format!(
                "the evidence of {id} at positions {} to {} is not what ledger entry {} committed; do \
                 not remove anything: compare the topic with a backup of the archive",
                segment.first, segment.next, entry.n
            )));
        }
        if !self.accept_bytes(&id, &entry, &closed)? {
            return self.start_again(partition);
        }
        self.put_file(&entry, &closed)?;
        crate::crash::point("archive.after-file");
        self.committed(&entry);
        Ok(())
    }

    /// Another version may write the same rows as other bytes: then the ledger must say so before the
    /// file is there. False if the stream has moved on.
    fn accept_bytes(&mut self, id: &StreamId, entry: &Committed, closed: &Closed) -> Result<bool> {
        let is_accepted = |state: &State| state.tip(id).files.contains(&closed.file());
        let is_last = |state: &State| state.tip(id).last.is_some_and(|last| last.n == entry.n);
        let is_wanted = |state: &State| is_last(state) && !is_accepted(state);
        let make = |_| {
            Body::Reseal(Reseal {
                entry: entry.n,
                sha256: closed.sha256,
                bytes: closed.bytes.len() as u64,
            })
        };
        let resealed = self.log.append(is_wanted, make, self.identity.signer()?)?;
        if let Some(entry) = &resealed {
            self.observer.appended(&entry.body);
        }
        Ok(resealed.is_some() || (is_last(self.log.state()) && is_accepted(self.log.state())))
    }

    /// Puts the file of an entry. Another one may be there: a reseal's, or the resealed one.
    fn put_file(&mut self, entry: &Committed, closed: &Closed) -> Result<()> {
        let ensured = store::ensure(&*self.store, &entry.segment.path, &closed.bytes)?;
        let Ensured::Other(found) = ensured else {
            // Who does not sign would remember files for ever.
            let signs = !self.identity.keys.log.is_empty();
            if let Some(head) = self.head.as_mut().filter(|_| signs) {
                head.has_put(closed.sha256);
            }
            return Ok(());
        };
        let found = Digest::of(&found);
        let files = self.log.files_of(entry)?;
        if files.iter().any(|file| file.sha256 == found) {
            Ok(())
        } else {
            Err(self.foreign_file(entry))
        }
    }

    /// Keeps what the entry names: the context, since a later archiver may read on behind the message
    /// that brings it, and the columns that the row root is of.
    fn keep(&mut self, closed: &Closed) -> Result<()> {
        let (context, columns) = (&closed.context, &closed.columns);
        let objects = [
            (
                context.digest(),
                layout::context(context.digest()),
                context.bytes(),
            ),
            (
                columns.digest(),
                layout::columns(columns.digest()),
                columns.text().as_bytes(),
            ),
        ];
        for (digest, path, bytes) in objects {
            if self.stored.contains(&digest) {
                continue;
            }
            let bytes = Bytes::copy_from_slice(bytes);
            if store::ensure(&*self.store, &path, &bytes)? != Ensured::Same {
                return Err(self.foreign_object(&path));
            }
            self.stored.insert(digest);
        }
        Ok(())
    }
}
