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
}
