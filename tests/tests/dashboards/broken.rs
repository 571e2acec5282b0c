//! Each rule sees a dashboard that breaks it: the real one, changed in one place.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tinywatt_tests::dashboards::{self, Dashboard};
use tinywatt_tests::series;

/// Changes a dashboard and expects a problem that says so.
fn check(name: &str, expected: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let all = dashboards::all()?;
    let whole = all.iter().find(|dashboard| dashboard.name == name).context("there")?;
    let mut json = whole.json.clone();
    change(&mut json);
    ensure!(json != whole.json, "the change changed nothing");
    let broken = Dashboard { name: name.to_owned(), json };
    let problems = dashboards::problems(&broken, &all, &series::declared());
    ensure!(problems.iter().any(|problem| problem.contains(expected)), "not seen: {expected}; only {problems:?}");
    Ok(())
}

/// The same by replacing text in every query.
fn check_queries(name: &str, expected: &str, from: &str, to: &str) -> Result<()> {
    check(name, expected, |json| {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        *json = serde_json::from_str(&json.to_string().replace(&quote(from), &quote(to))).expect("still JSON");
    })
}

/// The panel with this title.
fn panel<'a>(json: &'a mut Value, title: &str) -> &'a mut Value {
    let panels = json["panels"].as_array_mut().expect("panels");
    panels.iter_mut().find(|panel| panel["title"] == title && panel["type"] != "row").expect("the panel is there")
}

/// Leaves out a property of a column.
fn forget(panel: &mut Value, column: &str, property: &str) {
    for changed in panel["fieldConfig"]["overrides"].as_array_mut().expect("overrides") {
        if changed["matcher"]["options"] == column {
            changed["properties"].as_array_mut().expect("properties").retain(|kept| kept["id"] != property);
        }
    }
}

#[test]
fn ids_and_letters_that_are_there_twice() -> Result<()> {
    check("trial", "id 2 is not its own", |json| json["panels"][2]["id"] = json!(2))?;
    check("trial", "refId \"A\"", |json| panel(json, "Power")["targets"][1]["refId"] = json!("A"))
}

#[test]
fn panels_that_overlap_or_leave_the_grid() -> Result<()> {
    check("trial", "it lies on \"Voltage\"", |json| panel(json, "Current")["gridPos"]["x"] = json!(11))?;
    check("trial", "outside the grid", |json| panel(json, "Power")["gridPos"]["w"] = json!(25))?;
    check("trial", "no place", |json| panel(json, "Power")["gridPos"] = Value::Null)
}

#[test]
fn what_is_only_for_imports() -> Result<()> {
    check("fleet", "__inputs", |json| json["__inputs"] = json!([]))?;
    check("fleet", "${DS_", |json| panel(json, "Nodes")["datasource"]["uid"] = json!("${DS_INFLUX}"))?;
    check("fleet", "its uid", |json| json["uid"] = json!("fleet"))
}

#[test]
fn another_data_source() -> Result<()> {
    let seen = "its data source is not tinywatt-influx";
    check("fleet", seen, |json| panel(json, "Nodes")["datasource"]["uid"] = json!("mine"))?;
    check("fleet", seen, |json| panel(json, "Nodes")["targets"][0]["datasource"]["uid"] = json!("mine"))?;
    check("fleet", seen, |json| json["templating"]["list"][0]["datasource"]["uid"] = json!("mine"))?;
    check("trial", seen, |json| json["annotations"]["list"][0]["target"]["datasource"] = Value::Null)
}

#[test]
fn descriptions_and_titles_that_are_missing() -> Result<()> {
    check("mcu", "panel \"Score\": no description", |json| panel(json, "Score")["description"] = json!(" "))?;
    check("mcu", "variable valid: no description", |json| json["templating"]["list"][2]["description"] = Value::Null)?;
    check("mcu", "dashboard: no description", |json| json["description"] = json!(""))?;
    check("mcu", "no title", |json| panel(json, "Score")["title"] = json!(""))
}

#[test]
fn variables_that_are_not_defined_or_not_used() -> Result<()> {
    check_queries("techniques", "variable famly is not defined", "${family:regex}", "${famly:regex}")?;
    check_queries("techniques", "variable family is never used", "${family:regex}", ".*")?;
    check("techniques", "defined twice", |json| {
        let first = json["templating"]["list"][0].clone();
        json["templating"]["list"].as_array_mut().expect("variables").push(first);
    })?;
    check("techniques", "which comes later", |json| {
        json["templating"]["list"].as_array_mut().expect("variables").reverse();
    })
}

#[test]
fn queries_without_range_or_with_another_bucket() -> Result<()> {
    let range = "|> range(start: v.timeRangeStart, stop: v.timeRangeStop)";
    let ever = "|> range(start: 0, stop: 2200-01-01T00:00:00Z)";
    check_queries("fleet", "is not read with range(start: v.", range, "")?;
    check_queries("fleet", "is not read with range(start: v.", range, "|> range(start: -30d)")?;
    check_queries("fleet", "is not read with range(start: v.", range, ever)?;
    check_queries("compare", "is not read with range(start: 0, stop", ever, "")?;
    check_queries("compare", "is not read with range(start: 0, stop", ever, range)?;
    check_queries("compare", "bucket \"tinywatt\" is not v.defaultBucket", "v.defaultBucket", "\"tinywatt\"")?;
    check_queries("trial", "is not \"${samples}\"", "\"${samples}\"", "v.defaultBucket")?;
    check("compare", "no bucket is read", |json| panel(json, "The runs")["targets"][0]["query"] = json!(""))
}

#[test]
fn names_that_no_series_file_declares() -> Result<()> {
    check_queries("compare", "series results is not declared", "== \"result\"", "== \"results\"")?;
    check_queries("compare", "field train_second is not declared", "== \"train_seconds\"", "== \"train_second\"")?;
    check_queries("compare", "framwork is neither declared", "r.framework", "r.framwork")?;
    check_queries("training", "watt_hours is neither declared", "{r with watt_hours", "{r with watts")?;
    check_queries("trial", "sensors is neither declared", "\"sensor\"", "\"sensors\"")?;
    check("trial", "series samples is not declared", |json| {
        let variables = json["templating"]["list"].as_array_mut().expect("variables");
        let detail = variables.iter_mut().find(|variable| variable["name"] == "detail").expect("there");
        detail["options"][0]["value"] = json!("samples");
    })?;
    check_queries("compare", "it names no series", "r._measurement == \"result\"", "true")
}

#[test]
fn attempts_without_the_switch() -> Result<()> {
    check_queries("training", "whether they are valid or not", "r.valid =~ /^(${valid})$/", "exists r.valid")
}

#[test]
fn links_that_lead_nowhere() -> Result<()> {
    check_queries("compare", "/d/tinywatt-trials, which is not there", "/d/tinywatt-trial", "/d/tinywatt-trials")?;
    check_queries("compare", "fills in machine, which trial does not have", "var-node=", "var-machine=")?;
    check_queries("compare", "reads column nodes", "${__data.fields.node}", "${__data.fields.nodes}")
}

#[test]
fn numbers_without_their_unit() -> Result<()> {
    check("trial", "column seconds has no unit", |json| {
        forget(panel(json, "Windows of the attempt"), "seconds", "unit")
    })?;
    check("trial", "column joules is in none, not joule", |json| {
        let panel = panel(json, "Windows of the attempt");
        forget(panel, "joules", "unit");
        panel["fieldConfig"]["defaults"]["unit"] = json!("none");
    })?;
    check("fleet", "column error_ns is in s, not ns", |json| {
        panel(json, "Clock error")["fieldConfig"]["defaults"]["unit"] = json!("s");
    })?;
    check("fleet", "panel \"Spool\" A: no unit", |json| {
        panel(json, "Spool")["fieldConfig"]["defaults"]["unit"] = Value::Null;
    })
}

#[test]
fn energy_without_its_kind() -> Result<()> {
    let seen = "without its kind";
    check("trial", seen, |json| {
        let query = &mut panel(json, "Windows of the attempt")["targets"][0]["query"];
        *query = json!(query.as_str().expect("text").replace(", \"kind\"", ""));
    })?;
    check("trial", seen, |json| panel(json, "Power")["fieldConfig"]["defaults"]["displayName"] = json!("power"))?;
    check_queries("techniques", seen, "columnKey: [\"kind\"]", "columnKey: [\"node\"]")?;
    check_queries("compare", seen, "\"A, \" + r.kind", "\"A\"")?;
    check_queries("mcu", seen, "\" (\" + r.kind + \")\"", "\"\"")?;
    check("trial", seen, |json| panel(json, "Windows of the attempt")["type"] = json!("stat"))
}

#[test]
fn means_over_several_kinds() -> Result<()> {
    let seen = "a mean over several kinds";
    check_queries("training", seen, "group(columns: [\"label\", \"kind\"])", "group(columns: [\"label\"])")?;
    check_queries("fleet", seen, "group(columns: [\"node\", \"channel\", \"kind\"])", "group(columns: [\"node\"])")?;
    check_queries("mcu", seen, "group(columns: [\"treatment\", \"node\", \"kind\"])", "group()")
}
