//! A child process that cannot outlive the test process, and whose output can be waited for.
//!
//! A small shell stands between: it holds the reading end of a pipe, and kills the child when the
//! writing end closes, which the operating system does however the test process ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use super::DEADLINE;

/// Runs the child in the background and then waits for the end of its own standard input. The
/// child writes its process id first. The guard itself must not end by a signal to the whole
/// process group, nor hold the child's output open.
const GUARD: &str = r#"
sh -c 'echo "$$"; exec "$@"' child "$@" </dev/null &
trap '' INT TERM HUP QUIT
exec >/dev/null 2>&1
cat
kill -9 "$!"
wait "$!"
"#;

/// A running child process.
pub struct Guarded {
    guard: Child,
    pipe: Option<ChildStdin>,
    pid: u32,
    output: Output,
    log: PathBuf,
}

#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Kill,
    Stop,
    Continue,
    Terminate,
}

impl Guarded {
    /// Starts `command`; its output goes to `<log>.stdout` and `<log>.stderr`.
    pub fn start(command: &Command, log: &Path) -> Guarded {
        let mut guard = under_guard(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(guard.stdout.take().unwrap());
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).unwrap();
        let pid = first_line
            .trim()
            .parse()
            .expect("the guard writes the process id first");
        let output = Output::default();
        output.follow(stdout, &log.with_extension("stdout"));
        output.follow(guard.stderr.take().unwrap(), &log.with_extension("stderr"));
        let pipe = guard.stdin.take();
        Guarded {
            guard,
            pipe,
            pid,
            output,
            log: log.to_path_buf(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
            Signal::Terminate => "-TERM",
        };
        let sent = Command::new("kill")
            .args([name, &self.pid.to_string()])
            .status()
            .unwrap();
        assert!(
            sent.success(),
            "{}: cannot send {signal:?}",
            self.log.display()
        );
    }

    /// Waits until the child has written a line that contains `needle`, and returns that line.
    pub fn wait_for(&self, needle: &str) -> String {
        self.output.wait_for(needle).unwrap_or_else(|why| {
            panic!("{}: waited for {needle:?}, but {why}", self.log.display());
        })
    }

    /// All that the child has written so far, both streams, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines()
    }

    /// Waits until the child ends by itself. Its exit code, or 128 + the signal that ended it.
    pub fn wait(&mut self) -> i32 {
        self.output.wait_for_end().unwrap_or_else(|why| {
            panic!("{}: waited for the end, but {why}", self.log.display());
        });
        self.release()
    }

    /// Kills the child and waits until it is gone.
    pub fn kill(&mut self) {
        self.release();
    }

    /// Lets the guard go, which kills a child that still runs.
    fn release(&mut self) -> i32 {
        drop(self.pipe.take());
        self.guard
            .wait()
            .unwrap()
            .code()
            .expect("the guard ends by itself")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.release();
    }
}

fn under_guard(command: &Command) -> Command {
    let mut guard = Command::new("sh");
    guard
        .args(["-c", GUARD, "guard"])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => guard.env(key, value),
            None => guard.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guard.current_dir(folder);
    }
    guard
}

/// What a child has written, kept in memory beside the files, so that tests can wait for a line.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    open_streams: usize,
}

impl Output {
    fn follow(&self, stream: impl Read + Send + 'static, copy: &Path) {
        let output = self.clone();
        let mut copy = File::create(copy).unwrap();
        output.0.0.lock().unwrap().open_streams += 1;
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                copy.write_all(&line).unwrap();
                copy.write_all(b"\n").unwrap();
                output.change(|o| o.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            output.change(|o| o.open_streams -= 1);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    fn wait_for(&self, needle: &str) -> Result<String, String> {
        let mut seen = 0;
        let mut found = None;
        let written = self.0.0.lock().unwrap();
        let (written, _) = self
            .0
            .1
            .wait_timeout_while(written, DEADLINE, |written| {
                found = written.lines[seen..]
                    .iter()
                    .find(|line| line.contains(needle))
                    .cloned();
                seen = written.lines.len();
                found.is_none() && written.open_streams > 0
            })
            .unwrap();
        found.ok_or_else(|| why_not(&written))
    }

    fn wait_for_end(&self) -> Result<(), String> {
        let written = self.0.0.lock().unwrap();
        let (written, waited) = self
            .0
            .1
            .wait_timeout_while(written, DEADLINE, |w| w.open_streams > 0)
            .unwrap();
        if waited.timed_out() {
            Err(why_not(&written))
        } else {
            Ok(())
        }
    }
}

fn why_not(written: &Written) -> String {
    let last = written.lines[written.lines.len().saturating_sub(20)..].join("\n");
    match written.open_streams {
        0 => format!("the process ended; its last lines:\n{last}"),
        _ => format!("not within {DEADLINE:?}; the last lines so far:\n{last}"),
    }
}
