//! Every query asked of a real server, with variables and macros replaced as Grafana does.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Dashboard, Query, list, unit, words};
use crate::influxd::{Influxd, Table};

/// What a person has chosen who looks at a dashboard.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The data source's own bucket.
    pub bucket: String,
    /// Begin of the time that is shown, RFC 3339.
    pub start: String,
    /// Its end.
    pub stop: String,
    /// What falls on one point of a curve, as Flux writes a duration.
    pub window_period: String,
    /// Chosen values of variables; all others are as Grafana chooses them, the first or all.
    pub values: BTreeMap<String, String>,
}

/// What came of asking a dashboard's queries.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Queries that the server refused, and columns that are wrong.
    pub problems: BTreeSet<String>,
    /// Queries that gave no row in any of the scenes, variables' among them.
    pub empty: BTreeSet<String>,
}

impl Outcome {
    /// The empty ones but for those whose place begins like this.
    pub fn empty_but_for(&self, places: &[&str]) -> Vec<&String> {
        self.empty.iter().filter(|place| !places.iter().any(|known| place.starts_with(known))).collect()
    }
}

/// Asks every query of a dashboard in each scene.
///
/// # Errors
/// When the server does not answer at all.
pub fn check(server: &Influxd, dashboard: &Dashboard, scenes: &[Scene]) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut filled = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for scene in scenes {
        let chosen = chosen(server, dashboard, scene)?;
        let mut answers: BTreeMap<String, Vec<Table>> = BTreeMap::new();
        for query in dashboard.queries() {
            let place = format!("{}: {}", dashboard.name, query.place);
            asked.insert(place.clone());
            let flux = replaced(query.flux, scene, &chosen);
            match server.query(&flux) {
                Err(error) => {
                    outcome.problems.insert(format!("{place}: {error:#}\n{flux}"));
                }
                Ok(tables) if tables.iter().all(|table| table.rows.is_empty()) => {}
                Ok(tables) => {
                    columns(&query, &place, &tables, &mut outcome.problems);
                    filled.insert(place);
                    let title = query.panel.map(|panel| panel["id"].to_string()).unwrap_or_default();
                    answers.entry(title).or_default().extend(tables);
                }
            }
        }
        for panel in dashboard.panels() {
            if let Some(tables) = answers.get(&panel["id"].to_string()) {
                named_columns(dashboard, panel, tables, &mut outcome.problems);
            }
        }
    }
    outcome.empty = asked.difference(&filled).cloned().collect();
    Ok(outcome)
}

/// The value of each variable: as chosen, all, or what its query answers first.
fn chosen(server: &Influxd, dashboard: &Dashboard, scene: &Scene) -> Result<BTreeMap<String, String>> {
    let mut chosen = BTreeMap::new();
    for variable in dashboard.variables() {
        let name = words(&variable["name"]).to_owned();
        let value = if let Some(value) = scene.values.get(&name) {
            value.clone()
        } else if variable["includeAll"] == true {
            words(&variable["allValue"]).to_owned()
        } else if variable["type"] == "query" {
            let flux = replaced(words(&variable["query"]), scene, &chosen);
            let tables = server.query(&flux).with_context(|| format!("{}: variable {name}", dashboard.name))?;
            first_value(&tables, words(&variable["regex"]))
        } else {
            words(&variable["current"]["value"]).to_owned()
        };
        chosen.insert(name, value);
    }
    Ok(chosen)
}

/// The first text of an answer; with the expression of our pickers, what stands before the bar.
fn first_value(tables: &[Table], regex: &str) -> String {
    let text = tables.iter().find_map(|table| {
        let column = table.columns.iter().position(|column| !matches!(&*column.name, "result" | "table"))?;
        Some(table.rows.first()?[column].clone())
    });
    let text = text.unwrap_or_default();
    if regex.is_empty() { text } else { text.split('|').next().unwrap_or_default().to_owned() }
}

/// A query as Grafana sends it. `${name:regex}` of all values is their expression as it stands.
fn replaced(flux: &str, scene: &Scene, chosen: &BTreeMap<String, String>) -> String {
    let mut flux = flux.to_owned();
    for (name, value) in chosen {
        let expression = if value == ".*" { value.clone() } else { escaped(value) };
        flux = flux.replace(&format!("${{{name}:regex}}"), &expression).replace(&format!("${{{name}}}"), value);
    }
    flux.replace("v.timeRangeStart", &scene.start)
        .replace("v.timeRangeStop", &scene.stop)
        .replace("v.windowPeriod", &scene.window_period)
        .replace("v.defaultBucket", &format!("\"{}\"", scene.bucket))
}

fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for letter in value.chars() {
        if "\\^$*+?.()|{}[]/".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn is_shown(name: &str) -> bool {
    !matches!(name, "result" | "table")
}

/// What the panel needs of an answer: units of numbers, labels in names of curves, and one frame where it takes one.
fn columns(query: &Query<'_>, place: &str, tables: &[Table], problems: &mut BTreeSet<String>) {
    let Some(panel) = query.panel else { return };
    let kind = words(&panel["type"]);
    for table in tables {
        for column in table.columns.iter().filter(|column| is_shown(&column.name) && !column.is_key) {
            let is_number = matches!(&*column.datatype, "double" | "long" | "unsignedLong");
            if is_number && kind != "state-timeline" && unit(panel, &column.name).is_none() {
                problems.insert(format!("{place}: column {} is a number without a unit", column.name));
            }
        }
        let labels: Vec<&str> =
            table.columns.iter().filter(|column| column.is_key).map(|column| &*column.name).collect();
        let name = words(&panel["fieldConfig"]["defaults"]["displayName"]);
        for label in name.split("${__field.labels.").skip(1).filter_map(|rest| rest.split('}').next()) {
            if !labels.contains(&label) {
                problems.insert(format!("{place}: the names of curves read {label}, which is no label"));
            }
        }
        if matches!(kind, "timeseries" | "state-timeline") && table.index("_time").is_none() {
            problems.insert(format!("{place}: curves over time without a time"));
        }
    }
    let takes_one = matches!(kind, "table" | "stat" | "trend" | "barchart" | "xychart");
    let frames: BTreeSet<Vec<&str>> = tables
        .iter()
        .map(|table| {
            let keys = table.columns.iter().enumerate().filter(|(_, column)| column.is_key && is_shown(&column.name));
            keys.map(|(index, _)| table.rows.first().map_or("", |row| &*row[index])).collect()
        })
        .collect();
    if takes_one && frames.len() > 1 {
        problems.insert(format!("{place}: {} frames, of which the panel shows one", frames.len()));
    }
}

/// The columns that a panel's options and overrides name are there, but for declared ones that no point of the answer has.
fn named_columns(dashboard: &Dashboard, panel: &Value, tables: &[Table], problems: &mut BTreeSet<String>) {
    let there: BTreeSet<&str> =
        tables.iter().flat_map(|table| table.columns.iter().map(|column| &*column.name)).collect();
    let mut named: Vec<&str> = Vec::new();
    // An XY chart has a series for each kind that there might be; its x is named by all of them.
    if panel["type"] == "xychart" {
        named.extend(list(&panel["options"]["series"]).map(|series| words(&series["x"]["matcher"]["options"])));
        let is_any =
            list(&panel["options"]["series"]).any(|series| there.contains(words(&series["y"]["matcher"]["options"])));
        if !is_any {
            problems.insert(format!(
                "{}: panel \"{}\" shows none of its series",
                dashboard.name,
                words(&panel["title"])
            ));
        }
    } else {
        let overrides = list(&panel["fieldConfig"]["overrides"]).filter(|changed| changed["matcher"]["id"] == "byName");
        named.extend(overrides.map(|changed| words(&changed["matcher"]["options"])));
        named.extend(panel["options"]["xField"].as_str());
        let organized = list(&panel["transformations"]).find(|change| change["id"] == "organize");
        let order = organized.and_then(|change| change["options"]["indexByName"].as_object());
        named.extend(order.into_iter().flat_map(|order| order.keys().map(String::as_str)));
    }
    let mut declared = BTreeSet::new();
    for target in list(&panel["targets"]) {
        let names = super::flux::names(words(&target["query"]));
        declared.extend(names.used.difference(&names.made).cloned());
    }
    for name in named.into_iter().filter(|name| !there.contains(name) && !declared.contains(*name)) {
        problems.insert(format!(
            "{}: panel \"{}\" names column {name}, which is not there",
            dashboard.name,
            words(&panel["title"])
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_macros_are_replaced_as_grafana_does() {
        let scene = Scene {
            bucket: "b".to_owned(),
            start: "2026-01-01T00:00:00Z".to_owned(),
            stop: "2026-01-02T00:00:00Z".to_owned(),
            window_period: "10s".to_owned(),
            values: BTreeMap::new(),
        };
        let chosen = BTreeMap::from([("node".to_owned(), ".*".to_owned()), ("file".to_owned(), "a.csv".to_owned())]);
        let flux = "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop) ${node:regex} \
                    ${file:regex} ${file} v.windowPeriod";
        assert_eq!(
            replaced(flux, &scene, &chosen),
            "from(bucket: \"b\") |> range(start: 2026-01-01T00:00:00Z, stop: 2026-01-02T00:00:00Z) .* a\\.csv a.csv 10s"
        );
    }
}
