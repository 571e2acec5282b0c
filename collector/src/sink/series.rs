//! The declared time series: what there is, in which unit, under which tags. Line protocol is written only through a
//! declaration, so nothing reaches a database that is not in its file.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;

macro_rules! declared {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../series/", $name, ".toml")))),+]
    };
}

/// The files, by the names of their series.
const FILES: [(&str, &str); 19] = declared![
    "agent",
    "answer",
    "clock",
    "collector",
    "comparison",
    "epoch",
    "gap",
    "job_phase",
    "latency",
    "loss",
    "node",
    "phase",
    "result",
    "run",
    "sample",
    "sample_10s",
    "sample_decimated",
    "trial",
    "window",
];

static SERIES: LazyLock<Vec<Series>> = LazyLock::new(|| {
    let parse = |(name, text): (&str, &str)| -> Series {
        toml::from_str(text).unwrap_or_else(|error| panic!("series/{name}.toml is in this program and tested: {error}"))
    };
    FILES.into_iter().map(parse).collect()
});

/// One time series.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Name: InfluxDB's measurement.
    pub name: String,
    /// Bucket that it is written to.
    pub bucket: Bucket,
    /// Who writes it.
    #[serde(default)]
    pub writer: Writer,
    /// What one point is.
    pub description: String,
    /// What its time stamp means.
    pub time: String,
    /// Its tags, by name.
    #[serde(default, rename = "tag")]
    pub tags: Vec<Tag>,
    /// Its fields.
    #[serde(rename = "field")]
    pub fields: Vec<Field>,
}

impl Series {
    /// Whether it has such a tag.
    pub fn has_tag(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag.name == name)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The buckets, by what they hold and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// Samples: many, and kept for a while.
    Samples,
    /// Everything else: little, and kept.
    Results,
}

impl Bucket {
    /// Its word in the files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Results => "results",
        }
    }
}

/// Who writes a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The sink.
    #[default]
    Sink,
    /// A task inside InfluxDB.
    Task,
}

/// A tag: by it series are told apart and found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// Name.
    pub name: String,
    /// What it says.
    pub description: String,
    /// Why it has few values.
    pub bound: String,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Name, ending in its unit.
    pub name: String,
    /// Type; for ever, as InfluxDB keeps one type a field.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Unit, for people; empty for a text, a number that counts nothing, and a ratio.
    pub unit: String,
    /// What it says, and what its absence means.
    pub description: String,
}

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// 64-bit floating point.
    Float,
    /// 64-bit signed integer.
    Integer,
    /// Text.
    String,
    /// True or false.
    Boolean,
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::String => "text",
            Self::Boolean => "true or false",
        })
    }
}

/// All series, by name.
pub fn all() -> &'static [Series] {
    &SERIES
}

/// The series of a name.
///
/// # Panics
/// When no file declares it: an error of this program, not of its input.
pub fn named(name: &str) -> &'static Series {
    all().iter().find(|series| series.name == name).unwrap_or_else(|| panic!("no file declares the series '{name}'"))
}

/// The series as a page for people, in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "# Time series\n\nWhat `collector` writes to InfluxDB: one table for each series (measurement), from the files in \
         `collector/series`.\nA field that cannot be given is absent, never zero. The bucket `results` is kept, `samples` \
         expires.\n",
    );
    for series in all() {
        let bucket = series.bucket.word();
        text +=
            &format!("\n## {}\n\n{}\n\nBucket: {bucket}. Time: {}\n\n", series.name, series.description, series.time);
        text += "| tag or field | type | unit | meaning |\n|---|---|---|---|\n";
        for tag in &series.tags {
            text += &format!("| **{}** | tag | | {} Bounded: {} |\n", tag.name, tag.description, tag.bound);
        }
        for field in &series.fields {
            text += &format!("| {} | {} | {} | {} |\n", field.name, field.kind, field.unit, field.description);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/series");

    #[test]
    fn every_file_is_read_and_named_after_its_series() {
        let files: BTreeSet<String> = std::fs::read_dir(FOLDER)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let read: BTreeSet<String> = all().iter().map(|series| series.name.clone()).collect();
        assert_eq!(read, files);
        for ((name, _), series) in FILES.iter().zip(all()) {
            assert_eq!(*name, series.name);
        }
    }

    #[test]
    fn names_are_plain_and_stand_once() {
        let is_plain = |name: &str| {
            name.starts_with(|letter: char| letter.is_ascii_lowercase())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        for series in all() {
            let names = series.tags.iter().map(|tag| &tag.name).chain(series.fields.iter().map(|field| &field.name));
            let names: Vec<&String> = names.collect();
            assert!(names.iter().all(|name| is_plain(name)) && is_plain(&series.name), "{}", series.name);
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "a name of {} stands twice", series.name);
            assert!(names.iter().all(|name| name.as_str() != "time"), "InfluxDB drops a tag or field named time");
        }
    }

    #[test]
    fn every_name_with_a_unit_ends_in_it_and_everything_is_described() {
        // Words that name a unit, with the unit that the file must state.
        let units = [
            ("_ns", "ns"),
            ("_ms", "ms"),
            ("seconds", "s"),
            ("joules", "J"),
            ("watts", "W"),
            ("volts", "V"),
            ("amperes", "A"),
            ("_bytes", "B"),
            ("_grams", "g"),
            ("_hz", "Hz"),
        ];
        for series in all() {
            assert!(series.description.ends_with('.') && series.time.ends_with('.'), "{}", series.name);
            for tag in &series.tags {
                assert!(tag.description.ends_with('.') && tag.bound.ends_with('.'), "{}.{}", series.name, tag.name);
            }
            for field in &series.fields {
                let place = format!("{}.{}", series.name, field.name);
                assert!(field.description.ends_with('.'), "{place}");
                for (word, unit) in units {
                    if field.name.ends_with(word) && field.name != "joule_seconds_per_inference" {
                        assert_eq!(field.unit, unit, "{place}");
                    }
                }
            }
        }
    }

    /// Write it anew with `TINYWATT_BLESS=1`.
    #[test]
    fn the_page_for_people_is_the_files() {
        let path = Path::new(FOLDER).join("README.md");
        if std::env::var_os("TINYWATT_BLESS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), page());
    }
}
