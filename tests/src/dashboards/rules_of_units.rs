//! Rules of units, and of the kind of figures.

use std::collections::BTreeMap;

use serde_json::Value;

use super::flux::{lists, names};
use super::rules::columns_of;
use super::{Dashboard, list, unit, words};
use crate::series::{Field, FieldType, Series};

/// Units of energy, power and what is reckoned from them.
const ENERGY: [&str; 5] = ["joule", "watt", "watth", "massg", "si:Js"];

/// The unit that Grafana must show a declared unit in; none where it is only counted, or has no name there.
fn expected(field: &Field) -> Option<&'static str> {
    Some(match field.unit.as_str() {
        "J" => "joule",
        "W" => "watt",
        "V" => "volt",
        "A" => "amp",
        "s" => "s",
        "ms" => "ms",
        "ns" => "ns",
        "B" => "bytes",
        "g" => "massg",
        "Hz" => "hertz",
        "°C" => "celsius",
        _ => return None,
    })
}

/// A field is energy by its declaration.
fn is_energy(field: &Field) -> bool {
    matches!(field.unit.as_str(), "J" | "W" | "g" | "Js")
}

fn series_of<'a>(dashboard: &Dashboard, flux: &str, declared: &'a BTreeMap<String, Series>) -> Vec<&'a Series> {
    dashboard.measurements(flux).iter().filter_map(|name| declared.get(name)).collect()
}

fn field_of<'a>(series: &[&'a Series], name: &str) -> Option<&'a Field> {
    series.iter().find_map(|series| series.field(name))
}

/// Every numeric column has a unit, and where the series file tells one it is that.
pub(super) fn units(dashboard: &Dashboard, declared: &BTreeMap<String, Series>, found: &mut Vec<String>) {
    for query in dashboard.queries() {
        let Some(panel) = query.panel else { continue };
        let series = series_of(dashboard, query.flux, declared);
        let is_table = panel["type"] == "table" || panel["type"] == "stat";
        if !is_table && panel["type"] != "state-timeline" && unit(panel, "").is_none() {
            found.push(format!("{}: no unit", query.place));
        }
        let names = names(query.flux);
        let shown = if is_table { columns_of(query.flux) } else { names.fields.iter().cloned().collect() };
        // What is derived has another unit than the field it comes from, and of points over points each has its own.
        let is_as_read = !["derivative(", "elapsed(", "pivot("].iter().any(|call| query.flux.contains(call));
        for name in shown {
            let Some(field) = field_of(&series, &name) else { continue };
            if names.made.contains(&name) || !matches!(field.kind, FieldType::Float | FieldType::Integer) {
                continue;
            }
            match (unit(panel, &name), expected(field)) {
                (None, _) if is_table => found.push(format!("{}: column {name} has no unit", query.place)),
                (Some(unit), Some(expected)) if unit != expected && (is_table || is_as_read) => {
                    found.push(format!("{}: column {name} is in {unit}, not {expected}", query.place));
                }
                _ => {}
            }
        }
    }
}

/// Whether a panel shows energy or power.
fn shows_energy(dashboard: &Dashboard, panel: &Value, declared: &BTreeMap<String, Series>) -> bool {
    let overrides = list(&panel["fieldConfig"]["overrides"]).flat_map(|changed| list(&changed["properties"]));
    let units = overrides.filter(|property| property["id"] == "unit").map(|property| &property["value"]);
    let by_unit = units.chain([&panel["fieldConfig"]["defaults"]["unit"]]).any(|unit| ENERGY.contains(&words(unit)));
    by_unit
        || list(&panel["targets"]).any(|target| {
            let flux = words(&target["query"]);
            let series = series_of(dashboard, flux, declared);
            let shown = columns_of(flux);
            shown.iter().any(|name| field_of(&series, name).is_some_and(is_energy))
        })
}

/// A panel that shows energy or power says where its figures come from.
pub(super) fn kinds(dashboard: &Dashboard, declared: &BTreeMap<String, Series>, found: &mut Vec<String>) {
    for query in dashboard.queries() {
        let Some(panel) = query.panel.filter(|panel| shows_energy(dashboard, panel, declared)) else { continue };
        let columns = columns_of(query.flux);
        let has_column = columns.iter().any(|column| column == "kind");
        let defaults = &panel["fieldConfig"]["defaults"];
        let is_told = match words(&panel["type"]) {
            "table" => has_column,
            // A curve's labels are what its query groups by.
            "timeseries" => words(&defaults["displayName"]).contains("${__field.labels.kind}"),
            "barchart" => query.flux.contains("columnKey: [\"kind\"]"),
            "trend" => query.flux.contains("+ r.kind +") && query.flux.contains("columnKey: [\"label\"]"),
            "xychart" => query.flux.contains(" + r.kind") && query.flux.contains("columnKey: [\"mark\"]"),
            _ => false,
        };
        if !is_told {
            found.push(format!("{}: it shows energy or power without its kind", query.place));
        }
    }
}

/// A mean is over figures of one kind.
pub(super) fn one_kind_a_mean(dashboard: &Dashboard, declared: &BTreeMap<String, Series>, found: &mut Vec<String>) {
    const MEANS: [&str; 6] = ["mean(", "median(", "sum(", "aggregateWindow(", "min(", "max("];
    for query in dashboard.queries() {
        let series = series_of(dashboard, query.flux, declared);
        let reads_energy = names(query.flux).fields.iter().any(|name| field_of(&series, name).is_some_and(is_energy));
        if !reads_energy {
            continue;
        }
        // From one `group` to the next: what a later statement makes of a stream, it makes of its last grouping.
        for part in query.flux.split("|> group(").skip(1) {
            let groups = lists(&format!("group({part}"), "group");
            let has_kind = groups.first().is_some_and(|columns| columns.iter().any(|column| column == "kind"));
            if !has_kind && MEANS.iter().any(|mean| part.contains(&format!("|> {mean}"))) {
                found.push(format!("{}: a mean over several kinds", query.place));
            }
        }
    }
}
