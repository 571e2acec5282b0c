//! A point, and its line: what was not said of it is filled in from the declaration.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};

use super::scatter;
use crate::series::{Field, FieldType, Series};

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// With a point.
    Float(f64),
    /// Whole.
    Integer(i64),
    /// Words.
    Text(String),
    /// Truth.
    Boolean(bool),
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// A point of the story.
#[derive(Debug, Clone)]
pub struct Point {
    /// Its series.
    pub series: &'static str,
    time_ns: i64,
    tags: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, Value)>,
    absent: Vec<&'static str>,
    is_bare: bool,
}

impl Point {
    /// A point of a series at an instant.
    #[must_use]
    pub fn new(series: &'static str, time_ns: i64) -> Self {
        Self { series, time_ns, tags: Vec::new(), fields: Vec::new(), absent: Vec::new(), is_bare: false }
    }

    /// Gives a tag its value.
    #[must_use]
    pub fn tag(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.tags.push((name, value.into()));
        self
    }

    /// Gives a field its value, in place of an earlier one.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.retain(|(named, _)| *named != name);
        self.fields.push((name, value.into()));
        self
    }

    /// Leaves tags and fields out.
    #[must_use]
    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.absent.extend(names);
        self
    }

    /// Writes no field beside those that were named: others fill in only what is unlike them.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// Its line; `index` makes made-up values scatter.
    ///
    /// # Errors
    /// When it names what is not declared, or says nothing of a declared tag.
    pub fn line(&self, series: &Series, index: usize) -> Result<String> {
        let name = self.series;
        let mut line = name.to_owned();
        for (tag, value) in &self.tags {
            ensure!(series.has_tag(tag), "series {name} declares no tag {tag}");
            let value = value.replace('\\', "\\\\").replace(' ', "\\ ").replace(',', "\\,").replace('=', "\\=");
            write!(line, ",{tag}={value}")?;
        }
        for tag in &series.tags {
            let is_said = self.tags.iter().any(|(named, _)| *named == tag.name);
            ensure!(
                is_said || self.absent.contains(&tag.name.as_str()),
                "series {name}: the story forgets tag {}",
                tag.name
            );
        }
        for (field, _) in &self.fields {
            ensure!(series.field(field).is_some(), "series {name} declares no field {field}");
        }
        for absent in &self.absent {
            ensure!(series.has_tag(absent) || series.field(absent).is_some(), "series {name} declares no {absent}");
        }
        let mut separator = ' ';
        for field in &series.fields {
            if self.absent.contains(&field.name.as_str()) {
                continue;
            }
            let said = self.fields.iter().find(|(named, _)| *named == field.name).map(|(_, value)| value.clone());
            let Some(value) = said.or_else(|| (!self.is_bare).then(|| plausible(field, index))) else { continue };
            write!(line, "{separator}{}={}", field.name, text(&value, field, name)?)?;
            separator = ',';
        }
        write!(line, " {}", self.time_ns)?;
        Ok(line)
    }
}

fn text(value: &Value, field: &Field, series: &str) -> Result<String> {
    Ok(match (value, field.kind) {
        (Value::Float(value), FieldType::Float) => value.to_string(),
        (Value::Integer(value), FieldType::Integer) => format!("{value}i"),
        (Value::Boolean(value), FieldType::Boolean) => value.to_string(),
        (Value::Text(value), FieldType::String) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        (value, kind) => bail!("series {series}: field {} is {kind}, not {value:?}", field.name),
    })
}

/// A value that the field might have, by its type and unit.
fn plausible(field: &Field, index: usize) -> Value {
    let is_half_width = field.name.ends_with("half_width") || field.name.ends_with("uncertainty");
    let middle = match field.unit.as_str() {
        "J" => 0.02,
        "W" => 2.4,
        "V" => 5.05,
        "A" => 0.48,
        "s" => 31.0,
        "ms" => 4.2,
        "g" => 1.7,
        "°C" => 51.0,
        "Hz" => 1_000.0,
        "0-1" => 0.93,
        "g/kWh" => 380.0,
        _ => 2.0,
    };
    let value = middle * if is_half_width { 0.02 } else { 1.0 } * (1.0 + 0.03 * scatter(index));
    match field.kind {
        FieldType::Float => Value::Float(value),
        FieldType::Boolean => Value::Boolean(index.is_multiple_of(2)),
        FieldType::String => Value::Text(format!("words of {}", field.name)),
        // Whole: bytes and nanoseconds are large, everything else is a count.
        FieldType::Integer => Value::Integer(match field.unit.as_str() {
            "B" => 48_000_000 + i64::try_from(index).unwrap_or(0) * 100,
            "ns" => 350_000,
            _ => 3,
        }),
    }
}
