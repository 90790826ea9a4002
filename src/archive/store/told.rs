//! A store that tells of each call: what was put, and that who waits for it is alive.

use std::sync::Arc;

use bytes::Bytes;

use super::{Created, Store, StoreError};
use crate::archive::Observer;

/// Another store, which keeps its promises.
pub struct Told {
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
}

impl Told {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, observer: Arc<dyn Observer>) -> Told {
        Told { store, observer }
    }

    /// Before each call, so that what is silent for long is one call that does not end.
    fn store(&self) -> &dyn Store {
        self.observer.alive();
        &*self.store
    }
}

impl Store for Told {
    fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.store().get(path)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.store().size(path)
    }

    fn create(&self, path: &str, bytes: &Bytes) -> Result<Created, StoreError> {
        let created = self.store().create(path, bytes);
        self.observer.put(created.as_ref().ok().copied());
        created
    }

    fn replace(&self, path: &str, bytes: &Bytes) -> Result<(), StoreError> {
        self.store().replace(path, bytes)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.store().list(folder)
    }

    fn place(&self) -> String {
        self.store.place()
    }

    fn wait(&self, failures: u32) -> bool {
        self.store().wait(failures)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::archive::Local;
    use crate::archive::store::{ensure, get};

    #[derive(Default)]
    struct Count {
        created: AtomicUsize,
        refused: AtomicUsize,
        unknown: AtomicUsize,
        alive: AtomicUsize,
    }

    impl Observer for Count {
        fn put(&self, created: Option<Created>) {
            let which = match created {
                Some(Created::New) => &self.created,
                Some(Created::Refused) => &self.refused,
                None => &self.unknown,
            };
            which.fetch_add(1, Ordering::Relaxed);
        }

        fn alive(&self) {
            self.alive.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers nothing, and gives up after two waits.
    struct Gone;

    impl Store for Gone {
        fn get(&self, _: &str) -> Result<Option<Bytes>, StoreError> {
            Err(StoreError::new("gone"))
        }

        fn size(&self, _: &str) -> Result<Option<u64>, StoreError> {
            Err(StoreError::new("gone"))
        }

        fn create(&self, _: &str, _: &Bytes) -> Result<Created, StoreError> {
            Err(StoreError::new("gone"))
        }

        fn replace(&self, _: &str, _: &Bytes) -> Result<(), StoreError> {
            Err(StoreError::new("gone"))
        }

        fn list(&self, _: &str) -> Result<Vec<String>, StoreError> {
            Err(StoreError::new("gone"))
        }

        fn place(&self) -> String {
            "nowhere".to_owned()
        }

        fn wait(&self, failures: u32) -> bool {
            failures < 3
        }
    }

    #[test]
    fn what_is_put_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let count = Arc::new(Count::default());
        let store = Told::new(Arc::new(Local::open(folder.path()).unwrap()), count.clone());
        let bytes = Bytes::from_static(b"one");
        let _ = ensure(&store, "a", &bytes).unwrap();
        let _ = ensure(&store, "a", &bytes).unwrap();
        assert_eq!(get(&store, "a").unwrap(), Some(bytes));
        let told = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!((told(&count.created), told(&count.refused)), (1, 1));
        assert_eq!(told(&count.unknown), 0);
    }

    #[test]
    fn who_waits_for_a_store_is_alive_all_the_time() {
        let count = Arc::new(Count::default());
        let store = Told::new(Arc::new(Gone), count.clone());
        get(&store, "a").unwrap_err();
        // Three tries and three waits, the last of which ends it.
        assert_eq!(count.alive.load(Ordering::Relaxed), 6);
        let _ = ensure(&store, "a", &Bytes::from_static(b"one")).unwrap_err();
        assert_eq!(count.unknown.load(Ordering::Relaxed), 3);
    }
}
