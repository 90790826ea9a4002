<<<<<<< HEAD
//! Named points at which a test kills or stops the process, to see what is left.
//!
//! Release builds have none: without the feature `crash-points` a point compiles to nothing. With it,
//! `PROBITY_CRASH=name:nth` ends the process at the nth passage (counted from 1), as `kill -9` would,
//! and `PROBITY_STOP=name:nth` stops it there until somebody sends SIGCONT.

/// Passes a named point.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Passes a named point.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};

    static PASSED: LazyLock<Mutex<HashMap<&'static str, u64>>> = LazyLock::new(Default::default);

    let wanted = |variable| {
        let value = std::env::var(variable).ok()?;
        let (point, nth) = value.split_once(':').unwrap_or((&value, "1"));
        (point == name).then(|| nth.parse::<u64>().expect("NAME:NTH"))
    };
    let (crash, stop) = (wanted("PROBITY_CRASH"), wanted("PROBITY_STOP"));
    if crash.is_none() && stop.is_none() {
        return;
    }
    let mut passed = PASSED.lock().expect("no point panics while it counts");
    let count = passed.entry(name).or_default();
    *count += 1;
    let signal = match *count {
        n if Some(n) == crash => "-KILL",
        n if Some(n) == stop => "-STOP",
        _ => return,
    };
    eprintln!("crash point {name}: {signal}");
    let pid = std::process::id().to_string();
    let sent = std::process::Command::new("kill")
        .args([signal, &pid])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill must work");
}

/// Whether a test asks for a named mistake, with `PROBITY_FAULT=name`: the accounting tool must find
/// what it breaks.
#[must_use]
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn planted(_fault: &'static str) -> bool {
    false
}

/// Whether a test asks for a named mistake, with `PROBITY_FAULT=name`: the accounting tool must find
/// what it breaks.
#[must_use]
#[cfg(feature = "crash-points")]
pub fn planted(fault: &'static str) -> bool {
    std::env::var("PROBITY_FAULT").is_ok_and(|value| value == fault)
=======
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
>>>>>>> archive
}
