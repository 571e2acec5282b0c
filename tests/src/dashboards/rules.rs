//! Rules that a dashboard's JSON must keep. Each is a function of its own that tells what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::flux::{GIVEN, names};
use super::{DATASOURCE, Dashboard, list, rules_of_place, rules_of_units, words};
use crate::series::{Bucket, Series};

type Problems = Vec<String>;

/// The range that Grafana's time picker gives.
const RANGE: &str = "range(start: v.timeRangeStart, stop: v.timeRangeStop)";

/// What is chosen by its run, and what fills a picker, does not depend on the time that is shown.
const EVER: &str = "range(start: 0, stop: 2200-01-01T00:00:00Z)";

/// Series of attempts, of which some count for nothing.
const ATTEMPTS: [&str; 4] = ["trial", "window", "job_phase", "epoch"];

/// Begin of a link to another dashboard of ours.
const DASHBOARD_LINK: &str = "/d/";

/// Everything that is wrong with a dashboard; `all` are those that its links may lead to.
pub fn problems(dashboard: &Dashboard, all: &[Dashboard], declared: &BTreeMap<String, Series>) -> Problems {
    let mut found = Vec::new();
    rules_of_place::ids(dashboard, &mut found);
    rules_of_place::grid(dashboard, &mut found);
    provisioned(dashboard, &mut found);
    datasource(dashboard, &mut found);
    descriptions(dashboard, &mut found);
    variables(dashboard, &mut found);
    ranges_and_buckets(dashboard, declared, &mut found);
    declared_names(dashboard, declared, &mut found);
    only_valid(dashboard, &mut found);
    links(dashboard, all, &mut found);
    rules_of_units::units(dashboard, declared, &mut found);
    rules_of_units::kinds(dashboard, declared, &mut found);
    rules_of_units::one_kind_a_mean(dashboard, declared, &mut found);
    found.into_iter().map(|problem| format!("{}: {problem}", dashboard.name)).collect()
}

/// What file provisioning does not resolve.
fn provisioned(dashboard: &Dashboard, found: &mut Problems) {
    for key in ["__inputs", "__requires", "__elements", "id"] {
        if dashboard.json.get(key).is_some() {
            found.push(format!("`{key}` is for dashboards that a person imports"));
        }
    }
    if dashboard.json.to_string().contains("${DS_") {
        found.push("`${DS_…}` is for dashboards that a person imports".to_owned());
    }
    if words(&dashboard.json["uid"]) != format!("tinywatt-{}", dashboard.name) {
        found.push("its uid is not `tinywatt-` and the name of its file".to_owned());
    }
}

/// Every query goes to the one data source.
fn datasource(dashboard: &Dashboard, found: &mut Problems) {
    let mut asked: Vec<(String, &Value)> = Vec::new();
    for panel in dashboard.panels() {
        let title = words(&panel["title"]);
        asked.push((format!("panel \"{title}\""), &panel["datasource"]));
        asked.extend(list(&panel["targets"]).map(|target| (format!("panel \"{title}\""), &target["datasource"])));
    }
    for variable in dashboard.variables().filter(|variable| variable["type"] == "query") {
        asked.push((format!("variable {}", words(&variable["name"])), &variable["datasource"]));
    }
    for annotation in dashboard.annotations() {
        let place = format!("annotation \"{}\"", words(&annotation["name"]));
        asked.push((place.clone(), &annotation["datasource"]));
        asked.push((place, &annotation["target"]["datasource"]));
    }
    for (place, source) in asked {
        if source["uid"] != DATASOURCE || source["type"] != "influxdb" {
            found.push(format!("{place}: its data source is not {DATASOURCE}"));
        }
    }
}

fn descriptions(dashboard: &Dashboard, found: &mut Problems) {
    let panels = dashboard.panels().map(|panel| (format!("panel \"{}\"", words(&panel["title"])), panel));
    let variables = dashboard.variables().map(|variable| (format!("variable {}", words(&variable["name"])), variable));
    for (place, told) in panels.chain(variables).chain([("dashboard".to_owned(), &dashboard.json)]) {
        if words(&told["description"]).trim().len() < 10 {
            found.push(format!("{place}: no description"));
        }
    }
    for panel in dashboard.panels() {
        if words(&panel["title"]).is_empty() || list(&panel["targets"]).next().is_none() {
            found.push(format!("panel {}: no title, or no query", panel["id"]));
        }
    }
}

/// Variables in a text: `${name}` and `${name:format}`, without Grafana's own, which begin with two underscores.
fn variables_in(text: &str) -> BTreeSet<&str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split(|next: char| !next.is_alphanumeric() && next != '_').next())
        .filter(|name| !name.is_empty() && !name.starts_with("__"))
        .collect()
}

fn variables(dashboard: &Dashboard, found: &mut Problems) {
    let defined: Vec<&str> = dashboard.variables().map(|variable| words(&variable["name"])).collect();
    let text = dashboard.json.to_string();
    let used = variables_in(&text);
    found.extend(
        used.iter().filter(|name| !defined.contains(*name)).map(|name| format!("variable {name} is not defined")),
    );
    for (index, name) in defined.iter().enumerate() {
        if !used.contains(name) {
            found.push(format!("variable {name} is never used"));
        }
        if defined[..index].contains(name) {
            found.push(format!("variable {name} is defined twice"));
        }
    }
    // A picker is filled from those to its left.
    let mut before: Vec<&str> = Vec::new();
    for variable in dashboard.variables() {
        for name in variables_in(words(&variable["query"])) {
            let is_samples = dashboard.variables().any(|other| other["name"] == name && other["type"] == "textbox");
            if !before.contains(&name) && !is_samples {
                found.push(format!("variable {} depends on {name}, which comes later", words(&variable["name"])));
            }
        }
        before.push(words(&variable["name"]));
    }
}

/// Every `from` has its range, which is the time picker's where nothing else tells the time, and the bucket in which its series lies.
fn ranges_and_buckets(dashboard: &Dashboard, declared: &BTreeMap<String, Series>, found: &mut Problems) {
    for query in dashboard.queries() {
        let sources: Vec<&str> = query.flux.split("from(bucket: ").skip(1).collect();
        if sources.is_empty() {
            found.push(format!("{}: no bucket is read", query.place));
        }
        for source in sources {
            let (bucket, rest) = source.split_once(')').unwrap_or((source, ""));
            let is_by_run = query.panel.is_none() || source.contains("r.run == \"${");
            // The last of what is written once, when it changes.
            let is_last_ever = source.contains("|> last()");
            let range = if is_by_run || is_last_ever { EVER } else { RANGE };
            if !rest.trim_start().strip_prefix("|>").is_some_and(|next| next.trim_start().starts_with(range)) {
                found.push(format!("{}: a bucket is not read with {range}", query.place));
            }
            let wanted =
                dashboard.measurements(source).iter().find_map(|name| declared.get(name)).map(|series| series.bucket);
            let expected = if wanted == Some(Bucket::Samples) { "\"${samples}\"" } else { "v.defaultBucket" };
            if bucket != expected {
                found.push(format!("{}: bucket {bucket} is not {expected}", query.place));
            }
        }
    }
}

/// Every series, tag and field that a query names is declared, or made by the query.
fn declared_names(dashboard: &Dashboard, declared: &BTreeMap<String, Series>, found: &mut Problems) {
    for query in dashboard.queries() {
        let names = names(query.flux);
        let measurements = dashboard.measurements(query.flux);
        if measurements.is_empty() {
            found.push(format!("{}: it names no series", query.place));
        }
        let mut series = Vec::new();
        for name in &measurements {
            match declared.get(name) {
                Some(known) => series.push(known),
                None => found.push(format!("{}: series {name} is not declared", query.place)),
            }
        }
        for field in &names.fields {
            if !series.iter().any(|series| series.field(field).is_some()) {
                found.push(format!("{}: field {field} is not declared", query.place));
            }
        }
        for name in names.used.iter().filter(|name| !GIVEN.contains(&name.as_str()) && !names.made.contains(*name)) {
            if !series.iter().any(|series| series.has_tag(name) || series.field(name).is_some()) {
                found.push(format!("{}: {name} is neither declared nor made by the query", query.place));
            }
        }
    }
}

/// Attempts are shown by the switch, or it is one that was chosen.
fn only_valid(dashboard: &Dashboard, found: &mut Problems) {
    for query in dashboard.queries().into_iter().filter(|query| query.panel.is_some()) {
        let measurements = dashboard.measurements(query.flux);
        let is_switched = query.flux.contains("r.valid =~ /^(${valid})$/") || query.flux.contains("== \"${attempt}\"");
        if ATTEMPTS.iter().any(|series| measurements.contains(*series)) && !is_switched {
            found.push(format!("{}: it shows attempts whether they are valid or not", query.place));
        }
    }
}

/// Links lead to dashboards that are there, fill in variables that these have, from columns that the panel has.
fn links(dashboard: &Dashboard, all: &[Dashboard], found: &mut Problems) {
    let mut urls: Vec<(String, &str, Option<&Value>)> =
        list(&dashboard.json["links"]).map(|link| ("dashboard".to_owned(), words(&link["url"]), None)).collect();
    for panel in dashboard.panels() {
        let place = format!("panel \"{}\"", words(&panel["title"]));
        let properties = list(&panel["fieldConfig"]["overrides"]).flat_map(|changed| list(&changed["properties"]));
        for link in
            properties.filter(|property| property["id"] == "links").flat_map(|property| list(&property["value"]))
        {
            urls.push((place.clone(), words(&link["url"]), Some(panel)));
        }
    }
    for (place, url, panel) in urls {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let target =
            path.strip_prefix(DASHBOARD_LINK).and_then(|uid| all.iter().find(|other| other.json["uid"] == uid));
        let Some(target) = target else {
            found.push(format!("{place}: a link leads to {path}, which is not there"));
            continue;
        };
        for name in query.split('&').filter_map(|part| part.strip_prefix("var-")?.split_once('=')).map(|(name, _)| name)
        {
            if !target.variables().any(|variable| variable["name"] == name) {
                found.push(format!("{place}: a link fills in {name}, which {} does not have", target.name));
            }
        }
        for column in url.split("${__data.fields.").skip(1).filter_map(|rest| rest.split(['.', '}']).next()) {
            let columns: BTreeSet<String> = panel
                .map(|panel| list(&panel["targets"]).flat_map(|target| columns_of(words(&target["query"]))).collect())
                .unwrap_or_default();
            if !columns.contains(column) {
                found.push(format!("{place}: a link reads column {column}, which the panel does not have"));
            }
        }
    }
}

/// The columns that a query leaves: those of its last `keep`.
pub(super) fn columns_of(flux: &str) -> Vec<String> {
    super::flux::lists(flux, "keep").pop().unwrap_or_default()
}
