//! What a query in Flux names: as much of the language as our queries use, read without running it.

use std::collections::BTreeSet;

/// The names in a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Compared with `_measurement`.
    pub measurements: BTreeSet<String>,
    /// Compared with `_field`.
    pub fields: BTreeSet<String>,
    /// Read as `r.name`, or listed in `columns`, `rowKey`, `on` and the like.
    pub used: BTreeSet<String>,
    /// Made by the query itself: keys of records, and what `set` and `rename` give.
    pub made: BTreeSet<String>,
}

/// A piece of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Arguments that list or name columns.
const ARGUMENTS_OF_COLUMNS: [&str; 6] = ["columns", "column", "rowKey", "columnKey", "valueColumn", "on"];

/// Columns that the database gives by itself.
pub(super) const GIVEN: [&str; 7] = ["_time", "_value", "_field", "_measurement", "_start", "_stop", "elapsed"];

pub(super) fn names(query: &str) -> Names {
    let tokens = tokens(query);
    let mut names = Names::default();
    let mut nesting = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign(sign @ ('(' | '[' | '{')) => nesting.push(*sign),
            Token::Sign(')' | ']' | '}') => {
                nesting.pop();
            }
            Token::Word(word) if word == "r" && is_sign(&tokens, index + 1, '.') => {
                if let Some(Token::Word(column)) = tokens.get(index + 2) {
                    names.used.insert(column.clone());
                    compared(&tokens, index + 3, column, &mut names);
                }
            }
            Token::Word(word) if is_sign(&tokens, index + 1, ':') => match nesting.last() {
                Some('{') => {
                    names.made.insert(word.clone());
                    // `rename(columns: {old: "new"})`.
                    if let Some(Token::Text(new)) = tokens.get(index + 2) {
                        names.made.insert(new.clone());
                    }
                }
                _ if ARGUMENTS_OF_COLUMNS.contains(&word.as_str()) => listed(&tokens, index + 2, &mut names.used),
                _ if word == "key" => listed(&tokens, index + 2, &mut names.made),
                _ => {}
            },
            _ => {}
        }
    }
    names
}

/// The columns of every call of a function, in order: `keep`, `group`.
pub(super) fn lists(query: &str, function: &str) -> Vec<Vec<String>> {
    let tokens = tokens(query);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if *token == Token::Word(function.to_owned()) && is_sign(&tokens, index + 1, '(') {
            let mut columns = BTreeSet::new();
            if tokens.get(index + 2) == Some(&Token::Word("columns".to_owned())) {
                listed(&tokens, index + 4, &mut columns);
            }
            found.push(columns.into_iter().collect());
        }
    }
    found
}

fn is_sign(tokens: &[Token], index: usize, sign: char) -> bool {
    tokens.get(index) == Some(&Token::Sign(sign))
}

/// `== "x"` after `r._measurement` or `r._field`.
fn compared(tokens: &[Token], index: usize, column: &str, names: &mut Names) {
    if !is_sign(tokens, index, '=') || !is_sign(tokens, index + 1, '=') {
        return;
    }
    if let Some(Token::Text(text)) = tokens.get(index + 2) {
        match column {
            "_measurement" => names.measurements.insert(text.clone()),
            "_field" => names.fields.insert(text.clone()),
            _ => false,
        };
    }
}

/// One text, or all in a list.
fn listed(tokens: &[Token], index: usize, into: &mut BTreeSet<String>) {
    match tokens.get(index) {
        Some(Token::Text(text)) => {
            into.insert(text.clone());
        }
        Some(Token::Sign('[')) => {
            let inside = tokens[index..].iter().take_while(|token| **token != Token::Sign(']'));
            into.extend(inside.filter_map(|token| match token {
                Token::Text(text) => Some(text.clone()),
                _ => None,
            }));
        }
        _ => {}
    }
}

fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(first) = rest.next() {
        if first == '"' {
            let mut text = String::new();
            while let Some(next) = rest.next().filter(|next| *next != '"') {
                text.push(if next == '\\' { rest.next().unwrap_or(next) } else { next });
            }
            tokens.push(Token::Text(text));
        } else if first.is_alphabetic() || first == '_' {
            let mut word = String::from(first);
            while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                word.push(next);
            }
            tokens.push(Token::Word(word));
        } else if first == '/' && tokens.last() == Some(&Token::Sign('~')) {
            // A regular expression holds no names of ours.
            while rest.next().is_some_and(|next| next != '/') {}
        } else if !first.is_whitespace() {
            tokens.push(Token::Sign(first));
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_told_apart_by_where_they_stand() {
        let query = r#"from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "result" and r.run =~ /^r.nothing "x"$/)
  |> filter(fn: (r) => r._field == "joules" or r._field == "seconds")
  |> pivot(rowKey: ["_time", "node"], columnKey: ["_field"], valueColumn: "_value")
  |> map(fn: (r) => ({r with watts: r.joules / float(v: r.seconds), words: "r.no: column"}))
  |> set(key: "figure", value: "mean")
  |> rename(columns: {watts: "power"})
  |> group(columns: ["kind"])
  |> keep(columns: ["kind", "power"])"#;
        let names = names(query);
        assert_eq!(names.measurements, set(&["result"]));
        assert_eq!(names.fields, set(&["joules", "seconds"]));
        let used = ["_measurement", "run", "_field", "_time", "node", "_value", "joules", "seconds", "kind", "power"];
        assert_eq!(names.used, set(&used));
        assert_eq!(names.made, set(&["watts", "words", "r.no: column", "figure", "power"]));
        assert_eq!(lists(query, "keep"), [["kind", "power"]]);
        assert_eq!(lists("a |> group() |> group(columns: [\"b\"])", "group"), [vec![], vec!["b".to_owned()]]);
    }
}
