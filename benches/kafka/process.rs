//! What the operating system counts for a process.

use std::fs;
use std::time::Duration;

use crate::kit::Guarded;

/// Linux counts in hundredths of a second, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Seconds of CPU time in the program and in the kernel.
    pub user: f64,
    pub system: f64,
    /// The most memory that was resident at any time.
    pub peak_memory: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Usage {
        read(pid).expect("the process runs")
    }

    /// Waits until the process has ended; what it used up to 10 ms before that is seen.
    pub fn until_end(process: &mut Guarded) -> Usage {
        let mut last = Usage::default();
        while let Some(usage) = read(process.pid()) {
            last = Usage {
                peak_memory: usage.peak_memory.max(last.peak_memory),
                ..usage
            };
            // The end of somebody else's child comes without notice.
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(process.wait(), 0, "{}", process.lines().join("\n"));
        last
    }

    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// None once the process has ended.
fn read(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // What follows the name, which stands in parentheses: the state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let seconds = |index: usize| {
        fields[index]
            .parse::<f64>()
            .ok()
            .map(|t| t / TICKS_PER_SECOND)
    };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let has_ended = fields[0] == "Z";
    (!has_ended).then_some(Usage {
        user: seconds(11)?,
        system: seconds(12)?,
        peak_memory: kibibytes.unwrap_or(0) * 1024,
    })
}
