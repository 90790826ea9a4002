//! Named points at which a test kills or stops the process, and mistakes that a test plants.
//!
//! Release builds have none: without the feature `crash-points` everything here compiles to nothing.
//! With it, `PROBITY_CRASH=name:nth` ends the process at the nth passage of a point (counted from 1),
//! as `kill -9` would; `PROBITY_STOP=name:nth` stops it there until somebody sends SIGCONT; and
//! `PROBITY_FAULT=name,…` makes the named mistakes, which the accounting tool must find.

/// Passes a named point.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Passes a named point while `call` is under way, on another thread.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn during<T>(_name: &'static str, call: impl FnOnce() -> T) -> T {
    call()
}

/// Whether a test asks for a named mistake.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
#[must_use]
pub fn planted(_fault: &'static str) -> bool {
    false
}

/// Whether a test asks for a named mistake, at its third opportunity alone.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
#[must_use]
pub fn planted_once(_fault: &'static str) -> bool {
    false
}

#[cfg(feature = "crash-points")]
pub use active::{during, planted, planted_once, point};

#[cfg(feature = "crash-points")]
mod active {
    use std::collections::HashMap;
    use std::env;
    use std::process::Command;
    use std::sync::{LazyLock, Mutex};

    /// How often each name was passed.
    static PASSED: LazyLock<Mutex<HashMap<&'static str, u64>>> = LazyLock::new(Default::default);

    fn count(name: &'static str) -> u64 {
        let mut passed = PASSED.lock().expect("nothing panics while it counts");
        let count = passed.entry(name).or_default();
        *count += 1;
        *count
    }

    fn wanted(variable: &str, name: &str) -> Option<u64> {
        let value = env::var(variable).ok()?;
        let (point, nth) = value.split_once(':').unwrap_or((&value, "1"));
        (point == name).then(|| nth.parse().expect("NAME:NTH"))
    }

    pub fn point(name: &'static str) {
        let (crash, stop) = (wanted("PROBITY_CRASH", name), wanted("PROBITY_STOP", name));
        if crash.is_none() && stop.is_none() {
            return;
        }
        let signal = match count(name) {
            n if Some(n) == crash => "-KILL",
            n if Some(n) == stop => "-STOP",
            _ => return,
        };
        eprintln!("crash point {name}: {signal}");
        let pid = std::process::id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill must work");
    }

    pub fn during<T>(name: &'static str, call: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            scope.spawn(|| point(name));
            call()
        })
    }

    #[must_use]
    pub fn planted(fault: &'static str) -> bool {
        env::var("PROBITY_FAULT").is_ok_and(|faults| faults.split(',').any(|f| f == fault))
    }

    #[must_use]
    pub fn planted_once(fault: &'static str) -> bool {
        let now = planted(fault) && count(fault) == 3;
        if now {
            eprintln!("planted: {fault}");
        }
        now
    }
}
