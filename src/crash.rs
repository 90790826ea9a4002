//! Named points at which a test can kill or stop the process. With the feature `crash-points` they
//! read the environment; without it they are nothing, and a release has none.
//!
//! `PROBITY_CRASH=<name>[:<n>]` aborts the process when it comes to the point for the n-th time (the
//! first, if not said): no destructor runs, nothing is flushed. `PROBITY_STALL=<name>[:<n>]` says
//! `stalled at <name>` on standard error and stands still until the file that
//! `PROBITY_STALL_RELEASE` names exists.

/// A point that the process may not survive.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn crash_point(_name: &'static str) {}

/// A point that the process may not survive.
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &'static str) {
    let visits = count_visit(name);
    if is_asked_for("PROBITY_CRASH", name, visits) {
        std::process::abort();
    }
    if is_asked_for("PROBITY_STALL", name, visits) {
        eprintln!("stalled at {name}");
        let release = std::env::var_os("PROBITY_STALL_RELEASE").map(std::path::PathBuf::from);
        while !release.as_ref().is_some_and(|path| path.exists()) {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    }
}

#[cfg(feature = "crash-points")]
fn count_visit(name: &'static str) -> u64 {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    static VISITS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
    let mut visits = VISITS.lock().expect("no holder of this lock panics");
    let count = visits.entry(name).or_default();
    *count += 1;
    *count
}

#[cfg(feature = "crash-points")]
fn is_asked_for(variable: &str, name: &str, visits: u64) -> bool {
    let Ok(wish) = std::env::var(variable) else {
        return false;
    };
    let (wished, nth) = wish.split_once(':').unwrap_or((&wish, "1"));
    wished == name && nth.parse() == Ok(visits)
}
