//! Where an archive is kept: objects that are created once and never change.
//!
//! [`Store`] is the contract; [`Local`] keeps objects in a folder, [`Bucket`] in S3 or what speaks its
//! protocol. Above it, [`get`], [`size`] and [`ensure`] try again with bounded patience and turn what
//! stays broken into a [`Fatal`]. Only audits list: no archiver decides by what a listing shows.

mod bucket;
mod local;
mod told;
#[cfg(test)]
pub(super) mod memory;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::layout;
use crate::error::{Fatal, Result};

pub use bucket::{Bucket, request_timeout};
pub use local::Local;
pub use told::Told;

/// Immutable objects under paths that [`layout`] makes.
///
/// An implementation MUST keep these promises, on which the whole archive stands:
///
/// 1. Of all calls of [`create`](Store::create) for one path, by all processes on all machines, at most
///    one answers [`Created::New`], and only its bytes are ever read back.
/// 2. Objects appear whole or not at all, and stay: after `New`, every [`get`](Store::get) anywhere gives
///    these bytes, also after a loss of power.
/// 3. [`Created::Refused`] says that an object *may* be there. It says nothing of which, and S3's 409
///    ("somebody else is at it") may leave none.
/// 4. An `Err` of `create` says nothing at all: the object may be there, may appear later, or never.
pub trait Store: Send + Sync {
    /// The whole object; none where there is none.
    ///
    /// # Errors
    /// When the store cannot answer now.
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError>;

    /// How many bytes the object has; none where there is none.
    ///
    /// # Errors
    /// When the store cannot answer now.
    fn size(&self, path: &str) -> Result<Option<u64>, StoreError>;

    /// Creates the object unless there is one.
    ///
    /// # Errors
    /// When the outcome is not known.
    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError>;

    /// Puts the object in the place of what is there. Only for hints: nothing may rest on it.
    ///
    /// # Errors
    /// When the outcome is not known.
    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError>;

    /// All paths below a folder, in no order. For audits: no archiver decides by it.
    ///
    /// # Errors
    /// When the store cannot answer now.
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// The archive's root, for messages.
    fn place(&self) -> String;

    /// Waits before the next try, after `failures` failed ones (1, 2 …). False: do not try again.
    fn wait(&self, failures: u32) -> bool {
        let Some(&millis) = WAITS.get(failures as usize - 1) else {
            return false;
        };
        std::thread::sleep(Duration::from_millis(millis));
        true
    }
}

/// After this no other try begins, however long the requests took. With two more requests it is below the
/// time after which Kafka takes partitions away from a consumer that does not poll; see [`request_timeout`].
const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds before the second, third … try: half a minute in all.
const WAITS: [u64; 9] = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800];

/// The answer to [`Store::create`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Created {
    /// This call made the object.
    New,
    /// This call made no object.
    Refused,
}

/// The store could not answer.
#[derive(Debug)]
pub struct StoreError {
    cause: Box<dyn std::error::Error + Send + Sync>,
    fix: Option<&'static str>,
}

impl StoreError {
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        StoreError {
            cause: cause.into(),
            fix: None,
        }
    }

    /// Says what an operator must mend, where time alone is not likely to.
    #[must_use]
    pub fn needs(mut self, fix: &'static str) -> StoreError {
        self.fix = Some(fix);
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// What lies under a path after [`ensure`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Ensured {
    /// The bytes that were asked for, whoever put them there.
    Same,
    /// Other bytes, which were there before.
    Other(Bytes),
}

/// Reads an object, trying again.
///
/// # Errors
/// When the store does not answer in time.
pub fn get(store: &dyn Store, path: &str) -> Result<Option<Bytes>> {
    patiently(store, "read", path, || store.get(path))
}

/// The size of an object, trying again.
///
/// # Errors
/// When the store does not answer in time.
pub fn size(store: &dyn Store, path: &str) -> Result<Option<u64>> {
    patiently(store, "look for", path, || store.size(path))
}

fn patiently<T>(
    store: &dyn Store,
    verb: &str,
    path: &str,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
) -> Result<T> {
    let mut tries = Tries::start();
    loop {
        match attempt() {
            Ok(answer) => return Ok(answer),
            Err(error) if !tries.again(store) => {
                return Err(out_of_patience(store, verb, path, Some(error)));
            }
            Err(_) => {}
        }
    }
}

/// Replaces a hint, trying again.
///
/// # Errors
/// When the store does not answer in time.
pub fn replace(store: &dyn Store, path: &str, bytes: &Bytes) -> Result<()> {
    patiently(store, "replace", path, || store.replace(path, bytes))
}

/// Lists a folder, trying again.
///
/// # Errors
/// When the store does not answer in time.
pub fn list(store: &dyn Store, folder: &str) -> Result<Vec<String>> {
    patiently(store, "list", folder, || store.list(folder))
}

/// How often and how long something was tried.
struct Tries {
    started: Instant,
    failures: u32,
}

impl Tries {
    fn start() -> Tries {
        Tries {
            started: Instant::now(),
            failures: 0,
        }
    }

    /// Waits for the next try. False: that was the last one.
    fn again(&mut self, store: &dyn Store) -> bool {
        self.failures += 1;
        self.started.elapsed() < PATIENCE && store.wait(self.failures)
    }
}

/// Sees to it that there is an object under `path`, and says whether it is this one. Whatever `create`
/// answers but `New`, the object is read and compared: the answer may be lost, late, or a 409.
///
/// # Errors
/// When the store does not answer in time. The object may then be there, or appear later.
pub fn ensure(store: &dyn Store, path: &str, bytes: &Bytes) -> Result<Ensured> {
    let mut tries = Tries::start();
    let mut was_refused = false;
    loop {
        let mut unknown = None;
        // A large object is not sent again while it may be there.
        if !was_refused {
            match store.create(path, bytes) {
                Ok(Created::New) => return Ok(Ensured::Same),
                Ok(Created::Refused) => was_refused = true,
                Err(error) => unknown = Some(error),
            }
        }
        let unread = match store.get(path) {
            Ok(Some(found)) if found == *bytes => return Ok(Ensured::Same),
            Ok(Some(found)) => return Ok(Ensured::Other(found)),
            Ok(None) => {
                was_refused = false;
                None
            }
            Err(error) => Some(error),
        };
        if !tries.again(store) {
            return Err(out_of_patience(store, "create", path, unread.or(unknown)));
        }
    }
}

fn out_of_patience(store: &dyn Store, verb: &str, path: &str, error: Option<StoreError>) -> Fatal {
    let place = store.place();
    let fix = error
        .as_ref()
        .and_then(|error| error.fix)
        .unwrap_or("see that it can be reached, has room, and lets this process read and create");
    let fatal = Fatal::unreachable(format!(
        "cannot {verb} `{path}` in the archive at {place}; {fix}"
    ));
    match error {
        Some(error) => fatal.because(error),
        None => fatal,
    }
}

/// Checks that the store's create-if-absent really is one: a second create of one object, with other
/// bytes, must be refused and change nothing.
///
/// # Errors
/// When the store does not keep that promise, or does not answer. What an operator must mend is said at
/// once: at a start there is nothing yet that patience could save.
pub fn probe(store: &dyn Store) -> Result<()> {
    let first = Bytes::from_static(b"what was created stays\n");
    let second = Bytes::from_static(b"what was created was overwritten\n");
    let broken = |what: &str| {
        Fatal::integrity(format!(
            "the store at {} {what}: it cannot keep an archive, since two archivers could replace each \
             other's entries. use a store that refuses to create an object twice (on s3: conditional \
             put with If-None-Match), then remove `{}`",
            store.place(),
            layout::PROBE
        ))
    };
    if let Err(error) = store.create(layout::PROBE, &first)
        && error.fix.is_some()
    {
        return Err(out_of_patience(store, "create", layout::PROBE, Some(error)));
    }
    if ensure(store, layout::PROBE, &first)? != Ensured::Same {
        return Err(broken("holds another object where the probe's should be"));
    }
    let answer = patiently(store, "create", layout::PROBE, || {
        store.create(layout::PROBE, &second)
    })?;
    if answer != Created::Refused {
        return Err(broken("created one object twice"));
    }
    if get(store, layout::PROBE)?.as_ref() != Some(&first) {
        return Err(broken("changed an object that was there"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
