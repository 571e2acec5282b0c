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
    refused: BTreeSet<&'static str>,
}

/// A key that the file may name freely, with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: serde_json::Value,
}

/// Tables within tables of free-form configuration; JSON readers of trainers stop somewhere, too.
const DEPTH_MAX: usize = 32;

impl<'a> Keys<'a> {
    /// The table that the whole file is.
    pub(super) fn root(text: &'a str, table: &'a DeTable<'a>) -> Self {
        let place = Place { line: 1, key: String::new() };
        Self { text, table, prefix: String::new(), place, known: BTreeSet::new(), refused: BTreeSet::new() }
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

    /// Takes a size such as "2 GiB".
    pub(super) fn bytes(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        findings: &mut Findings,
    ) -> Option<Located<u64>> {
        let Located { value: text, place } = self.string(key, findings)?;
        match bytes(&text) {
            Some(bytes) if range.contains(&bytes) => Some(Located { value: bytes, place }),
            Some(_) => {
                let (start, end) = (range.start() >> 20, range.end() >> 30);
                findings.add(&place, format_args!("must be from {start} MiB to {end} GiB, and is {text}"));
                None
            }
            None => {
                findings.add(&place, format_args!("\"{text}\" is no size; write it like \"500 MiB\" or \"2 GiB\""));
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

    /// Takes every key that is not taken yet, of whatever kind JSON has, with those inside.
    pub(super) fn rest(&mut self, findings: &mut Findings) -> Vec<Entry> {
        let is_rest = |key: &str| !self.known.contains(key) && !self.refused.contains(key);
        let rest = self.table.iter().filter(|(key, _)| is_rest(key.get_ref()));
        let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            let place = self.key_place(key);
            match json(value.get_ref(), DEPTH_MAX) {
                Ok(value) => Some(Entry { place, key: key.get_ref().to_string(), value }),
                Err(problem) => {
                    findings.add(&place, problem);
                    None
                }
            }
        };
        rest.filter_map(entry).collect()
    }

    /// Notes, when the table carries a key that has a reason not to be here, that reason.
    pub(super) fn refuse(&mut self, key: &'static str, reason: impl fmt::Display, findings: &mut Findings) {
        self.refused.insert(key);
        if let Some((found, _)) = self.table.get_key_value(key) {
            findings.add(&self.key_place(found), reason);
        }
    }

    /// Where a key of this table stands, or would stand.
    pub(super) fn place_of(&self, key: &str) -> Place {
        match self.table.get_key_value(key) {
            Some((found, _)) => self.key_place(found),
            None => Place { line: self.place.line, key: format!("{}{key}", self.prefix) },
        }
    }

    /// Notes every key that was not taken.
    pub(super) fn finish(self, findings: &mut Findings) {
        let is_unknown = |key: &str| !self.known.contains(key) && !self.refused.contains(key);
        for key in self.table.keys().filter(|key| is_unknown(key.get_ref())) {
            let place = self.key_place(key);
            let known: Vec<&str> = self.known.iter().copied().collect();
            findings.add(&place, format_args!("is not a known key; known here: {}", known.join(", ")));
        }
    }

    /// Whether the table carries a key, of whatever kind.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether a key holds a list, of tables or of anything.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_array())
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
        let prefix = format!("{}{key}.", self.prefix);
        Some(Keys { text: self.text, table, prefix, place, known: BTreeSet::new(), refused: BTreeSet::new() })
    }
}

fn string(value: &Spanned<DeValue<'_>>, place: Place, findings: &mut Findings) -> Option<Located<String>> {
    let Some(text) = value.get_ref().as_str() else {
        findings.add(&place, format_args!("must be a text in quotes, and is {}", article(value)));
        return None;
    };
    Some(Located { value: text.to_owned(), place })
}

/// A whole number of a unit, the space between them free.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match text[digits..].trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// A value as JSON has it.
fn json(value: &DeValue<'_>, depth: usize) -> Result<serde_json::Value, &'static str> {
    let Some(depth) = depth.checked_sub(1) else { return Err("is nested too deeply") };
    Ok(match value {
        DeValue::String(text) => serde_json::Value::from(text.as_ref()),
        DeValue::Boolean(flag) => serde_json::Value::from(*flag),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(serde_json::Value::from)
            .map_err(|_| "must fit 64 bits")?,
        DeValue::Float(float) => {
            let number = float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            serde_json::Value::Number(number.ok_or("must be a finite number, JSON has no other")?)
        }
        DeValue::Array(entries) => {
            let entries = entries.iter().map(|entry| json(entry.get_ref(), depth));
            serde_json::Value::Array(entries.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let mut members = serde_json::Map::new();
            for (key, value) in table.iter() {
                members.insert(key.get_ref().to_string(), json(value.get_ref(), depth)?);
            }
            serde_json::Value::Object(members)
        }
        DeValue::Datetime(_) => return Err("is a date, which JSON does not have; write it as a text in quotes"),
    })
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
