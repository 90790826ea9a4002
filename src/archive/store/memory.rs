//! A store in memory that misbehaves on request, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;

use super::{Created, Store, StoreError};

/// What goes wrong with one call of `create`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing happens, and the caller does not learn it.
    Lost,
    /// The object is created, and the caller does not learn it.
    AnswerLost,
    /// S3's 409: refused, though there is no object.
    Conflict,
    /// The object is created whatever was there: a store that breaks its promise.
    Overwrite,
}

#[derive(Default)]
pub struct Memory {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub faults: Mutex<VecDeque<Fault>>,
    /// How many times the store was read.
    pub reads: Mutex<u64>,
}

pub fn error(text: &'static str) -> StoreError {
    StoreError::new(text)
}

/// Create-if-absent on a map, with a fault or without.
pub fn create(
    objects: &mut BTreeMap<String, Bytes>,
    path: &str,
    bytes: &Bytes,
    fault: Option<Fault>,
) -> Result<Created, StoreError> {
    match fault {
        Some(Fault::Lost) => return Err(error("500")),
        Some(Fault::Conflict) => return Ok(Created::Refused),
        Some(Fault::Overwrite) => {
            objects.insert(path.to_owned(), bytes.clone());
            return Ok(Created::New);
        }
        Some(Fault::AnswerLost) | None => {}
    }
    let created = match objects.contains_key(path) {
        true => Created::Refused,
        false => Created::New,
    };
    objects
        .entry(path.to_owned())
        .or_insert_with(|| bytes.clone());
    match fault {
        Some(_) => Err(error("timed out")),
        None => Ok(created),
    }
}

impl Memory {
    pub fn failing(faults: impl IntoIterator<Item = Fault>) -> Memory {
        Memory {
            faults: Mutex::new(faults.into_iter().collect()),
            ..Memory::default()
        }
    }

    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let mut objects = self.objects.lock().unwrap();
        objects.insert(path.to_owned(), bytes.into());
    }

    pub fn paths(&self, prefix: &str) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let paths = objects.keys().filter(|path| path.starts_with(prefix));
        paths.cloned().collect()
    }

    pub fn take_reads(&self) -> u64 {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl Store for Memory {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        *self.reads.lock().unwrap() += 1;
        Ok(self.objects.lock().unwrap().get(path).cloned())
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.get(path)?.map(|found| found.len() as u64))
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front();
        create(&mut self.objects.lock().unwrap(), path, bytes, fault)
    }

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        self.put(path, bytes.clone());
        Ok(())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn wait(&self, failures: u32) -> bool {
        failures < 8
    }
}
