//! The declared time series, as `collector/series/*.toml` states them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One declared series.
#[derive(Debug, Deserialize)]
pub struct Series {
    /// Its measurement.
    pub name: String,
    /// `samples` or `results`.
    pub bucket: String,
    /// Its tags.
    #[serde(default, rename = "tag")]
    pub tags: Vec<Tag>,
    /// Its fields.
    #[serde(rename = "field")]
    pub fields: Vec<Field>,
}

/// A declared tag.
#[derive(Debug, Deserialize)]
pub struct Tag {
    /// Its name.
    pub name: String,
}

/// A declared field.
#[derive(Debug, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// `float`, `integer`, `string` or `boolean`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its unit, in words.
    pub unit: String,
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

/// Every declared series, by its name.
///
/// # Errors
/// When a file cannot be read, or is none.
pub fn declared() -> Result<BTreeMap<String, Series>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/series");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let series: Series = toml::from_str(&text).with_context(|| format!("{} is no series", path.display()))?;
        found.insert(series.name.clone(), series);
    }
    Ok(found)
}
