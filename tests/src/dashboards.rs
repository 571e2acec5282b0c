//! The Grafana dashboards, checked without Grafana: by rules that need nothing but their JSON and the series files
//! (`rules`), and by asking a real server every query (`server`).

mod flux;
mod rules;
mod rules_of_place;
mod rules_of_units;
pub mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

pub use self::rules::problems;

/// The uid that every query names; `grafana/provisioning` gives it to the data source.
pub const DATASOURCE: &str = "tinywatt-influx";

/// A dashboard as it lies in the repository.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Name of its file, without the ending.
    pub name: String,
    /// Its JSON.
    pub json: Value,
}

/// A query of a dashboard.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// Where it stands, for people: `panel "Power" A`.
    pub place: String,
    /// Its text, in Flux, with Grafana's variables and macros.
    pub flux: &'a str,
    /// The panel that shows it; none for variables and annotations.
    pub panel: Option<&'a Value>,
}

/// Folder of the dashboards and what makes them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana")
}

/// All dashboards, by name.
///
/// # Errors
/// When a file cannot be read, or is no JSON.
pub fn all() -> Result<Vec<Dashboard>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder().join("dashboards"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        found.push(Dashboard {
            name,
            json: serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?,
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

impl Dashboard {
    /// Its panels, without the headings of sections.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["panels"]).filter(|panel| panel["type"] != "row")
    }

    /// Its variables.
    pub fn variables(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["templating"]["list"])
    }

    /// Its annotation queries.
    pub fn annotations(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["annotations"]["list"])
    }

    /// The series that a query reads; of one that a picker of fixed words names, all that it may be.
    fn measurements(&self, flux: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for name in flux::names(flux).measurements {
            let variable = name.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            match self.variables().find(|one| variable.is_some_and(|name| one["name"] == name)) {
                Some(picker) => found.extend(list(&picker["options"]).map(|option| words(&option["value"]).to_owned())),
                None => drop(found.insert(name)),
            }
        }
        found
    }

    /// Every query: of panels, variables and annotations.
    pub fn queries(&self) -> Vec<Query<'_>> {
        let mut found = Vec::new();
        for panel in self.panels() {
            for target in list(&panel["targets"]) {
                let place = format!("panel \"{}\" {}", words(&panel["title"]), words(&target["refId"]));
                found.push(Query { place, flux: words(&target["query"]), panel: Some(panel) });
            }
        }
        for variable in self.variables().filter(|variable| variable["type"] == "query") {
            let place = format!("variable {}", words(&variable["name"]));
            found.push(Query { place, flux: words(&variable["query"]), panel: None });
        }
        for annotation in self.annotations() {
            let place = format!("annotation \"{}\"", words(&annotation["name"]));
            found.push(Query { place, flux: words(&annotation["target"]["query"]), panel: None });
        }
        found
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Text, empty for what is none.
fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The properties of a panel's column by its name, such as `unit`.
fn property<'a>(panel: &'a Value, column: &str, name: &str) -> Option<&'a Value> {
    list(&panel["fieldConfig"]["overrides"])
        .filter(|changed| changed["matcher"]["id"] == "byName" && changed["matcher"]["options"] == column)
        .flat_map(|changed| list(&changed["properties"]))
        .find(|property| property["id"] == name)
        .map(|property| &property["value"])
}

/// The unit that a panel shows a column in.
fn unit<'a>(panel: &'a Value, column: &str) -> Option<&'a str> {
    property(panel, column, "unit").or_else(|| panel["fieldConfig"]["defaults"].get("unit")).and_then(Value::as_str)
}
