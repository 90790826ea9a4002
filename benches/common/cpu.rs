//! CPU time of one thread: what others do on the machine counts only as far as it disturbs caches.

use std::fs;
use std::time::Duration;

/// Of the calling thread so far. Linux counts it in nanoseconds.
#[must_use]
pub fn time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    let nanoseconds = stat.split_whitespace().next();
    let nanoseconds = nanoseconds.and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the time comes first"))
}

/// µs per row of this thread, the best of so many rounds, each of at least `round`.
pub fn best(rounds: usize, round: Duration, rows: usize, mut run: impl FnMut()) -> f64 {
    run();
    let one = |_| {
        let (start, mut turns) = (time(), 0);
        loop {
            run();
            turns += 1;
            let taken = time() - start;
            if taken >= round {
                return taken.as_secs_f64() * 1e6 / (turns * rows) as f64;
            }
        }
    };
    (0..rounds).map(one).fold(f64::INFINITY, f64::min)
}
