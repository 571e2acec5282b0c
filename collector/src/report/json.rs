//! The report for programs: all of its values, in SI base units, full precision.

use serde::Serialize;

use super::table::Report;
use super::words::DEFINITIONS;

/// Changes when a program that reads the JSON would have to.
const SCHEMA: &str = "tinywatt.report.v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a Report,
    definitions: Vec<Definition>,
}

#[derive(Serialize)]
struct Definition {
    term: &'static str,
    meaning: &'static str,
}

/// Prints a report.
pub(super) fn render(report: &Report) -> String {
    let definitions = DEFINITIONS.into_iter().map(|(term, meaning)| Definition { term, meaning }).collect();
    let document = Document { schema: SCHEMA, report, definitions };
    serde_json::to_string_pretty(&document).expect("a report has text keys only") + "\n"
}
