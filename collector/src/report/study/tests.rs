//! The three questions and the five faults, on a study of two frameworks.

use tinywatt_proto::v1::ReportFormat;

use super::super::render;
use super::super::study_fixture::study;

#[test]
fn print_it() {
    println!("{}", render(&study(), ReportFormat::Terminal));
    println!("{}", render(&study(), ReportFormat::Markdown));
}
