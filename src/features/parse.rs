//! From the text of an expression to the parser's tree, within limits.
//!
//! Knows `sqlparser` and the wording of its errors; does not know what an expression may mean.
//! Promises that what it returns is one whole expression, small enough to be walked recursively.

use sqlparser::ast::Expr;
use sqlparser::dialect::AnsiDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::error::{Fault, Words, end_of};

/// Longest text of one expression, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Most words of one expression: a chain of operators makes a tree as deep as it is long.
const MAX_WORDS: usize = 1_000;

/// The tree of `sql` and its words, or what is wrong with its grammar.
pub(super) fn parse(sql: &str) -> Result<(Expr, Words), Fault> {
    if sql.len() > MAX_BYTES {
        let message = format!("the expression is longer than {MAX_BYTES} bytes");
        return Err(Fault::new(end_of(""), message));
    }
    let mut tokens = tokenize(sql)?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    if tokens.is_empty() {
        return Err(Fault::new(end_of(sql), "the expression is empty"));
    }
    if let Some(excess) = tokens.get(MAX_WORDS) {
        let message = format!("the expression has more than {MAX_WORDS} words");
        return Err(Fault::new(excess.span, message));
    }
    let mut parser = Parser::new(&AnsiDialect {}).with_tokens_with_locations(tokens.clone());
    let parsed = parser.parse_expr();
    let next = parser.peek_token();
    let words = Words::new(tokens);
    match parsed {
        Ok(expr) if next.token == Token::EOF => Ok((expr, words)),
        Ok(Expr::Identifier(word)) if word.quote_style.is_none() && is_case(&word.value) => {
            Err(Fault::new(word.span, "this CASE is not complete")
                .hint("write CASE WHEN condition THEN value ELSE value END"))
        }
        Ok(_) => Err(unexpected(&next)),
        Err(error) => Err(grammar(sql, error, &words)),
    }
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, Fault> {
    Tokenizer::new(&AnsiDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| {
            let at = error.location;
            Fault::new(Span::new(at, at), lower_first(&error.message))
        })
}

/// The parser takes the word for a column where what follows it is no complete CASE.
fn is_case(word: &str) -> bool {
    word.eq_ignore_ascii_case("CASE")
}

fn unexpected(next: &TokenWithSpan) -> Fault {
    Fault::new(
        next.span,
        format!("the expression ends before `{}`", next.token),
    )
    .hint("one expression is expected: is an operator or a comma missing?")
}

/// The parser's own error, whose position is the end of its message.
fn grammar(sql: &str, error: ParserError, words: &Words) -> Fault {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Fault::new(Span::empty(), "the expression is nested too deeply");
        }
    };
    let Some((message, at)) = split_position(&text) else {
        return Fault::new(end_of(sql), reworded(&text));
    };
    Fault::new(words.at(at), reworded(message))
}

/// "Expected: X, found: Y at Line: 1, Column: 5" without and with its position.
fn split_position(text: &str) -> Option<(&str, Location)> {
    let (message, position) = text.rsplit_once(" at Line: ")?;
    let (line, column) = position.split_once(", Column: ")?;
    Some((
        message,
        Location {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
        },
    ))
}

/// The parser's message as a sentence of ours.
fn reworded(message: &str) -> String {
    match message
        .strip_prefix("Expected: ")
        .and_then(|m| m.split_once(", found: "))
    {
        Some((expected, "EOF")) => format!("expected {expected}, but the expression ends here"),
        Some((expected, found)) => format!("expected {expected}, and found `{found}`"),
        None if message.starts_with("No infix parser") => "there is no such operator".to_owned(),
        None => lower_first(message),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
