//! What is wrong with an expression, and under which word.
//!
//! Knows the text of the expression and its tokens, not the rules: those are in `check`. Promises
//! that a person who wrote `model.toml` sees their own line with a caret under the word that is
//! wrong, and where possible what to write instead.

use std::fmt;

use sqlparser::tokenizer::{Location, Span, TokenWithSpan};

/// Where a word stands in the text of its expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Line of the expression, from 1.
    pub line: u32,
    /// Column in that line, in characters, from 1.
    pub column: u32,
    /// Bytes of the expression before the word.
    pub offset: u32,
    /// Length of the word in characters, at least 1 and cut at the end of its line.
    pub length: u32,
}

/// An expression that is refused at load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExprError {
    /// What the expression is for, as a person calls it: "feature `amount_log`". Whoever knows more
    /// (the file, the rule of the policy) may write it here.
    pub subject: String,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
    /// The expression as it was written.
    pub sql: String,
    /// The word that is wrong; `None` where it is not in the expression (a name, an impute value).
    pub place: Option<Place>,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)?;
        if let Some(place) = self.place {
            let line = self
                .sql
                .split('\n')
                .nth(place.line as usize - 1)
                .unwrap_or("");
            let (before, length) = (place.column as usize - 1, place.length as usize);
            let (line, indent, length) = window(line.trim_end(), before, length);
            let margin = place.line.to_string();
            let (indent, caret) = (" ".repeat(indent), "^".repeat(length));
            write!(f, "\n  {margin} | {line}")?;
            write!(
                f,
                "\n  {:>width$} | {indent}{caret}",
                "",
                width = margin.len()
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ExprError {}

/// As much of `line` as is read at a glance, around the word after `before` characters; with the
/// characters before the word and the length of it in what is shown.
fn window(line: &str, before: usize, length: usize) -> (String, usize, usize) {
    const WIDTH: usize = 120;
    // A tab would move the caret away from its word.
    let shown = |letter| if letter == '\t' { ' ' } else { letter };
    let letters: Vec<char> = line.chars().map(shown).collect();
    if letters.len() <= WIDTH {
        return (letters.into_iter().collect(), before, length);
    }
    let start = before.saturating_sub(WIDTH / 2).min(letters.len() - WIDTH);
    let end = start + WIDTH;
    let mut text = String::new();
    text.push_str(if start > 0 { "…" } else { "" });
    text.extend(&letters[start..end]);
    text.push_str(if end < letters.len() { "…" } else { "" });
    let indent = before - start + usize::from(start > 0);
    (text, indent, length.min(end - before.min(end - 1)))
}

/// What a check found wrong, before it is known whose expression it is.
#[derive(Debug)]
pub(super) struct Fault {
    pub message: String,
    pub hint: Option<String>,
    /// Empty where the parser kept no position: the whole expression is meant.
    pub span: Span,
}

impl Fault {
    pub fn new(span: Span, message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            hint: None,
            span,
        }
    }

    /// A fault of the expression as a whole.
    pub fn whole(message: impl Into<String>) -> Fault {
        Fault::new(Span::empty(), message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    pub fn into_error(self, subject: &str, sql: &str) -> ExprError {
        ExprError {
            subject: subject.to_owned(),
            message: self.message,
            hint: self.hint,
            sql: sql.to_owned(),
            place: Some(place(sql, self.span)),
        }
    }
}

/// The span that a fault at the end of the text has: nothing stands there.
pub(super) fn end_of(sql: &str) -> Span {
    let line = sql.split('\n').count() as u64;
    let last = sql.rsplit('\n').next().unwrap_or("");
    let at = Location {
        line,
        column: last.trim_end().chars().count() as u64 + 1,
    };
    Span::new(at, at)
}

fn place(sql: &str, span: Span) -> Place {
    let whole = span.start.line == 0;
    let line = if whole { 1 } else { span.start.line as usize };
    let column = if whole { 1 } else { span.start.column as usize };
    let before: usize = sql.split('\n').take(line - 1).map(|l| l.len() + 1).sum();
    let text = sql.split('\n').nth(line - 1).unwrap_or("");
    let offset = before
        + text
            .chars()
            .take(column - 1)
            .map(char::len_utf8)
            .sum::<usize>();
    let rest = text.trim_end().chars().count().saturating_sub(column - 1);
    let length = match span.end.line as usize {
        _ if whole => rest,
        end if end == line => (span.end.column as usize).saturating_sub(column).min(rest),
        _ => rest,
    };
    let [line, column, offset, length] =
        [line, column, offset, length.max(1)].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Place {
        line,
        column,
        offset,
        length,
    }
}

/// Finds words that the parser's tree keeps no position of: operators, names of types and parts.
pub(super) struct Words {
    tokens: Vec<TokenWithSpan>,
}

impl Words {
    /// `tokens` without white space.
    pub fn new(tokens: Vec<TokenWithSpan>) -> Words {
        Words { tokens }
    }

    /// The word that starts at `at`.
    pub fn at(&self, at: Location) -> Span {
        let word = self.tokens.iter().find(|t| t.span.start == at);
        word.map_or(Span::new(at, at), |t| t.span)
    }

    /// The first word after `from` that reads like the start of `text`, in any case.
    pub fn after(&self, from: Location, text: &str) -> Span {
        let mut later = self.tokens.iter().filter(|t| t.span.start >= from);
        later
            .find(|t| reads_like(t, text))
            .map_or_else(Span::empty, |t| t.span)
    }

    /// The last word before `until` that reads like the start of `text`, in any case.
    pub fn before(&self, until: Location, text: &str) -> Span {
        let mut earlier = self.tokens.iter().rev().filter(|t| t.span.end <= until);
        earlier
            .find(|t| reads_like(t, text))
            .map_or_else(Span::empty, |t| t.span)
    }
}

fn reads_like(token: &TokenWithSpan, text: &str) -> bool {
    let word = token.token.to_string();
    match text.get(..word.len()) {
        Some(start) => {
            let ends = !text[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            ends && start.eq_ignore_ascii_case(&word)
        }
        None => false,
    }
}

/// "did you mean `x`?" for the nearest of `names`, where one is near enough to be meant.
pub(super) fn did_you_mean<'a>(
    word: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let limit = (word.chars().count() + 1) / 3;
    names
        .into_iter()
        .map(|name| (distance(&word.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// Letters to insert, delete or replace to turn one word into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in [
            ("", "", 0),
            ("abc", "abd", 1),
            ("abc", "", 3),
            ("ab", "cab", 1),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn only_near_names_are_offered() {
        let names = ["amount_minor", "currency", "mcc"];
        assert_eq!(
            did_you_mean("AMOUNT_MINR", names).as_deref(),
            Some("did you mean `amount_minor`?")
        );
        assert_eq!(
            did_you_mean("mc", names).as_deref(),
            Some("did you mean `mcc`?")
        );
        assert_eq!(did_you_mean("device", names), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
        assert_eq!(
            did_you_mean("X", ["y", "x"]).as_deref(),
            Some("did you mean `x`?")
        );
    }

    #[test]
    fn places_count_characters_and_bytes() {
        let sql = "'é' =\n  x";
        let at = |line, column| Location { line, column };
        let first = place(sql, Span::new(at(1, 5), at(1, 6)));
        assert_eq!(
            first,
            Place {
                line: 1,
                column: 5,
                offset: 5,
                length: 1
            }
        );
        let second = place(sql, Span::new(at(2, 3), at(2, 4)));
        assert_eq!(&sql[second.offset as usize..], "x");
        assert_eq!(
            place(sql, Span::empty()),
            Place {
                line: 1,
                column: 1,
                offset: 0,
                length: 5
            }
        );
        assert_eq!(place(sql, Span::new(at(1, 1), at(2, 4))).length, 5);
    }
}
