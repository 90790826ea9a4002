//! The auditor: has an archive, a key and the commands that need no configuration and no broker.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use probity::keys::Trust;
use serde_json::Value;

use super::pipeline::{Pipeline, root};
use super::{DEADLINE, ledgercheck};

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// What was printed as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs `probity` with these arguments, in `folder`, to its end.
pub fn audit<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Ended {
    audit_with(folder, arguments, &[])
}

/// As [`audit`], with these variables on top of the environment.
pub fn audit_with<S: AsRef<OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = S>,
    variables: &[(&str, &str)],
) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probity"));
    command
        .current_dir(folder)
        .args(arguments)
        .envs(variables.iter().copied());
    run(&mut command)
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().expect("nobody kills it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Checks the ledger of an archive with Go's libraries, by the log keys of `trust`. Does nothing where Go
/// is absent, which is noted once.
pub fn assert_standard(archive: &Path, trust: &Path) {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(program) = PROGRAM.get_or_init(ledgercheck) else {
        return;
    };
    let keys = Trust::load(trust).unwrap().log;
    let mut command = Command::new(program);
    command.arg(archive.join("ledger"));
    command.args(keys.iter().map(ToString::to_string));
    let ended = run(&mut command);
    assert_eq!(ended.code, 0, "{}: {ended}", archive.display());
}

/// What a report says of what is not signed for yet.
pub fn in_flight(report: &Value) -> Vec<String> {
    let told = report["told"].as_array().expect("a report tells");
    let told = told.iter().filter(|told| told["name"] == "in-flight");
    told.map(|told| told["what"].as_str().expect("a sentence").to_owned())
        .collect()
}

impl Pipeline<'_> {
    /// Whose signatures count in this pipeline's archive.
    pub fn trust(&self) -> PathBuf {
        self.keys().join("trust.toml")
    }

    /// What `probity verify` says of the archive as it is now.
    pub fn verify(&self) -> Ended {
        self.mirror();
        let [archive, trust] = [self.archive(), self.trust()];
        let arguments = [
            OsStr::new("verify"),
            archive.as_ref(),
            "--trust".as_ref(),
            trust.as_ref(),
            "--output=json".as_ref(),
        ];
        audit(&self.folder, arguments)
    }

    /// Verifies the archive as an auditor does, with what is signed and what is not yet; waits until all
    /// is signed; and lets Go's libraries check the ledger. An archiver must run, unless all is signed.
    pub fn assert_verified(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ended = self.verify();
            assert_eq!(ended.code, 0, "{}: {ended}", self.folder.display());
            if in_flight(&ended.json()).is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "still not signed: {ended}");
            // Checkpoints come without notice.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert_standard(&self.archive(), &self.trust());
    }

    /// Copies an archive in a bucket into the folder from which the books were taken.
    fn mirror(&self) {
        let Some(bucket) = self.bucket() else { return };
        let python = std::env::var("PROBITY_PYTHON").expect("`make test` sets PROBITY_PYTHON");
        let mut command = Command::new(python);
        command
            .args(["-m", "books.mirror", "--archive"])
            .arg(self.archive())
            .current_dir(root().join("tests/python"));
        bucket.let_read(&mut command);
        let ended = run(&mut command);
        assert_eq!(ended.code, 0, "{ended}");
    }
}
