//! Walks a TOML table key by key. Unlike a derived `Deserialize` it does not stop at the first problem.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Findings, Located, Place};

/// A table whose keys are being taken; those that nobody took are unknown.
pub(super) struct Keys<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    /// Name of the table with a dot behind it, empty for the file itself.
    prefix: String,
    place: Place,
    known: BTreeSet<&'static str>,
}

impl<'a> Keys<'a> {
    /// The table that the whole file is.
    pub(super) fn root(text: &'a str, table: &'a DeTable<'a>) -> Self {
        let place = Place { line: 1, key: String::new() };
        Self { text, table, prefix: String::new(), place, known: BTreeSet::new() }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Takes a text; `None` when absent, or wrong and noted.
    pub(super) fn string(&mut self, key: &'static str, findings: &mut Findings) -> Option<Located<String>> {
        let (value, place) = self.take(key)?;
        string(value, place, findings)
    }

    /// Takes a text that must be there.
    pub(super) fn required_string(
        &mut self,
        key: &'static str,
        advice: impl fmt::Display,
        findings: &mut Findings,
    ) -> Option<Located<String>> {
        if !self.has(key) {
            self.known.insert(key);
            let place = Place { line: self.place.line, key: format!("{}{key}", self.prefix) };
            findings.add(&place, format_args!("is missing; {advice}"));
        }
        self.string(key, findings)
    }

    /// Takes a list of texts; `None` when absent. Entries that are no text are noted and left out.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Located<Vec<Located<String>>>> {
        let (value, place) = self.take(key)?;
        let Some(entries) = value.get_ref().as_array() else {
            findings.add(&place, format_args!("must be a list of texts, and is {}", article(value)));
            return None;
        };
        let place_of =
            |entry: &Spanned<DeValue<'_>>| Place { line: line(self.text, entry.span().start), ..place.clone() };
        let value = entries.iter().filter_map(|entry| string(entry, place_of(entry), findings)).collect();
        Some(Located { value, place })
    }

    /// Takes a whole number within limits.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        findings: &mut Findings,
    ) -> Option<Located<u64>> {
        let (value, place) = self.take(key)?;
        let wanted = format!("must be a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = value.get_ref().as_integer() else {
            findings.add(&place, format_args!("{wanted}, and is {}", article(value)));
            return None;
        };
        match i128::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| u64::try_from(number).ok())
        {
            Some(number) if range.contains(&number) => Some(Located { value: number, place }),
            _ => {
                findings.add(&place, format_args!("{wanted}, and is {integer}"));
                None
            }
        }
    }

    /// Takes a whole number that fits 32 bits, within limits.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        findings: &mut Findings,
    ) -> Option<Located<u32>> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let Located { value, place } = self.integer(key, range, findings)?;
        let value = u32::try_from(value).expect("the range's end has 32 bits");
        Some(Located { value, place })
    }

    /// Takes a finite number, written with or without a point.
    pub(super) fn number(&mut self, key: &'static str, findings: &mut Findings) -> Option<Located<f64>> {
        let (value, place) = self.take(key)?;
        let text = match value.get_ref() {
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().to_owned(),
            _ => {
                findings.add(&place, format_args!("must be a number, and is {}", article(value)));
                return None;
            }
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(Located { value: number, place }),
            _ => {
                findings.add(&place, format_args!("must be a finite number, and is {text}"));
                None
            }
        }
    }

    /// Takes a duration such as "500ms".
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        findings: &mut Findings,
    ) -> Option<Located<Duration>> {
        let Located { value: text, place } = self.string(key, findings)?;
        let shown = humantime::format_duration;
        match humantime::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => Some(Located { value: duration, place }),
            Ok(duration) => {
                let (start, end) = (shown(*range.start()), shown(*range.end()));
                findings.add(&place, format_args!("must be from {start} to {end}, and is {}", shown(duration)));
                None
            }
            Err(error) => {
                findings.add(
                    &place,
                    format_args!("\"{text}\" is no duration ({error}); write it like \"500ms\" or \"10s\""),
                );
                None
            }
        }
    }

    /// Takes a table; `None` when absent.
    pub(super) fn table(&mut self, key: &'static str, findings: &mut Findings) -> Option<Keys<'a>> {
        let (value, place) = self.take(key)?;
        if value.get_ref().as_table().is_none() {
            findings.add(&place, format_args!("must be a table, written [{key}], and is {}", article(value)));
        }
        self.inner(key, value, place)
    }

    /// Takes all tables of a list, none when absent; `None` when it is no such list, which is noted.
    pub(super) fn tables(&mut self, key: &'static str, findings: &mut Findings) -> Option<Vec<Keys<'a>>> {
        let Some((value, place)) = self.take(key) else { return Some(Vec::new()) };
        let tables = value.get_ref().as_array().and_then(|entries| {
            let inner = |entry: &'a Spanned<DeValue<'a>>| {
                self.inner(key, entry, Place { line: line(self.text, entry.span().start), ..place.clone() })
            };
            entries.iter().map(inner).collect()
        });
        if tables.is_none() {
            findings.add(&place, format_args!("must be a list of tables; write each under a line [[{key}]]"));
        }
        tables
    }

    /// Notes every key that was not taken.
    pub(super) fn finish(self, findings: &mut Findings) {
        for key in self.table.keys().filter(|key| !self.known.contains(key.get_ref().as_ref())) {
            let place = self.key_place(key);
            let known: Vec<&str> = self.known.iter().copied().collect();
            findings.add(&place, format_args!("is not a known key; known here: {}", known.join(", ")));
        }
    }

    /// Whether the table carries a key, of whatever kind.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<(&'a Spanned<DeValue<'a>>, Place)> {
        self.known.insert(key);
        let (found, value) = self.table.get_key_value(key)?;
        Some((value, self.key_place(found)))
    }

    fn key_place(&self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Place {
        Place { line: line(self.text, key.span().start), key: format!("{}{}", self.prefix, key.get_ref()) }
    }

    fn inner(&self, key: &str, value: &'a Spanned<DeValue<'a>>, place: Place) -> Option<Keys<'a>> {
        let table = value.get_ref().as_table()?;
        Some(Keys { text: self.text, table, prefix: format!("{}{key}.", self.prefix), place, known: BTreeSet::new() })
    }
}

fn string(value: &Spanned<DeValue<'_>>, place: Place, findings: &mut Findings) -> Option<Located<String>> {
    let Some(text) = value.get_ref().as_str() else {
        findings.add(&place, format_args!("must be a text in quotes, and is {}", article(value)));
        return None;
    };
    Some(Located { value: text.to_owned(), place })
}

fn article(value: &Spanned<DeValue<'_>>) -> String {
    let name = value.get_ref().type_str();
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// Line of a byte, from 1.
pub(super) fn line(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|&byte| byte == b'\n').count()
}
