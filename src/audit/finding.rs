//! What is wrong with an archive: a name that is the same in every verifier, an object, a sentence.

use std::fmt;

use serde::Serialize;

/// Declares the findings with the names that `schemas/ARCHIVE.md` gives them.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// The names of findings, as in `schemas/ARCHIVE.md`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Name {
            $($(#[$doc])* $name,)+
        }

        impl Name {
            pub const ALL: &'static [Name] = &[$(Name::$name,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Name::$name => $text,)+
                }
            }
        }
    };
}

names! {
    Archive => "archive",
    EntryMissing => "entry-missing",
    EntryMalformed => "entry-malformed",
    EntrySignature => "entry-signature",
    EntryOrder => "entry-order",
    CheckpointMissing => "checkpoint-missing",
    CheckpointSignature => "checkpoint-signature",
    CheckpointRoot => "checkpoint-root",
    CheckpointFork => "checkpoint-fork",
    CheckpointOld => "checkpoint-old",
    Rollback => "rollback",
    Tile => "tile",
    FileMissing => "file-missing",
    FileForeign => "file-foreign",
    FileBytes => "file-bytes",
    FileRows => "file-rows",
    FileColumns => "file-columns",
    FileUnreadable => "file-unreadable",
    Rows => "rows",
    Policy => "policy",
    Object => "object",
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Finding {
    pub name: Name,
    /// Its path in the archive, or the archive.
    pub object: String,
    /// What was found. Holds no value of a row.
    pub what: String,
}

impl Finding {
    pub fn new(name: Name, object: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            name,
            object: object.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { name, object, what } = self;
        write!(f, "{name:<21} {object}: {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_contract_and_no_other() {
        let contract = include_str!("../../schemas/ARCHIVE.md");
        let (_, findings) = contract.split_once("## 11. Findings").unwrap();
        let rows = findings.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows = rows.filter_map(|row| row.split_once('`'));
        // Those with a tick are told, and alarm nobody.
        let named: Vec<_> = rows
            .filter(|(_, rest)| !rest.contains('✓'))
            .map(|(name, _)| name)
            .collect();
        let ours: Vec<_> = Name::ALL.iter().map(|name| name.as_str()).collect();
        assert_eq!(named, ours);
    }
}
