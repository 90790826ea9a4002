//! Errors by what the caller does with them: stop with a sentence for the operator, and an exit code.
//!
//! A bad record is not an error (see [`crate::record::Rejection`]); what may pass on a second try is
//! private to the edge that retries it. What is left stops the process.

use std::error::Error as StdError;
use std::fmt;

/// How the process ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Asked to stop, and stopped.
    Done = 0,
    /// A check that was asked for failed.
    CheckFailed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Something that is needed cannot be reached.
    Unreachable = 3,
    /// What was read contradicts what was written before.
    Integrity = 4,
    /// A belief of the program does not hold.
    Bug = 70,
}

/// Stops the process: what was attempted, on what, and why it failed.
#[derive(Debug)]
pub struct Fatal {
    pub exit: Exit,
    /// A sentence in lower case that an operator can act on.
    pub message: String,
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Fatal {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Fatal {
            exit,
            message: message.into(),
            source: None,
        }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Fatal::new(Exit::Usage, message)
    }

    pub fn unreachable(message: impl Into<String>) -> Self {
        Fatal::new(Exit::Unreachable, message)
    }

    pub fn integrity(message: impl Into<String>) -> Self {
        Fatal::new(Exit::Integrity, message)
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.message.clone();
        let mut source = self.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(error) = source {
            let cause = error.to_string();
            // Many errors repeat their source in their own text.
            if !told.contains(&cause) {
                told = format!("{told}: {cause}");
            }
            source = error.source();
        }
        f.write_str(&told)
    }
}

impl StdError for Fatal {}

pub type Result<T, E = Fatal> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|layer| layer as &dyn StdError)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let refused = || Some(Box::new(Layer("connection refused", None)));
        let both = Layer("fetch: connection refused", refused());
        let told = Fatal::unreachable("asking the broker").because(both);
        assert_eq!(
            told.to_string(),
            "asking the broker: fetch: connection refused"
        );
        let apart = Layer("fetch", refused());
        let told = Fatal::unreachable("asking the broker").because(apart);
        assert_eq!(
            told.to_string(),
            "asking the broker: fetch: connection refused"
        );
    }
}
