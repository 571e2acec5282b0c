//! The report in Markdown, with tables as GitHub understands them.

use super::details::detail_tables;
use super::table::Report;
use super::tables::{header_facts, score, tables};
use super::text::{Align, TextTable};
use super::words::DEFINITIONS;

/// Prints a report.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!("# Run {}\n\n", escaped(&report.header.run));
    for (name, fact) in header_facts(report) {
        text += &format!("- {name}: {}\n", escaped(&fact));
    }
    for banner in &report.banners {
        text += &format!("\n> **{}**\n", escaped(banner));
    }
    if !report.warnings.is_empty() {
        text += "\n## Warnings\n\n";
        for warning in &report.warnings {
            text += &format!("- {}\n", escaped(&warning.message));
        }
    }
    if report.study.is_some() {
        text += "\n## Answers\n";
    }
    for answer in report.study.iter().flat_map(|study| &study.answers) {
        text += &format!("\n### {} {}\n\n", answer.question, escaped(answer.text));
        for sentence in &answer.sentences {
            text += &format!("- {}\n", escaped(sentence));
        }
    }
    for table in tables(report).iter().chain(&detail_tables(report)) {
        text += &format!("\n## {}\n\n{}", escaped(&table.title), drawn(table));
        for note in &table.notes {
            text += &format!("\n{}\n", escaped(note));
        }
    }
    if !report.recordings.is_empty() {
        text += "\n## Scores of the recordings\n\n";
        for recording in &report.recordings {
            let of = escaped(&format!("{} on {}", recording.treatment, recording.node));
            text += &format!("- {of}: {}\n", score(recording));
        }
    }
    if !report.notes.is_empty() {
        text += "\n## Notes\n\n";
        for note in &report.notes {
            text += &format!("- {}\n", escaped(note));
        }
    }
    text += "\n## What the columns mean\n\n";
    for (name, meaning) in DEFINITIONS {
        text += &format!("- **{}**: {}\n", escaped(name), escaped(meaning));
    }
    text
}

fn drawn(table: &TextTable) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.columns.iter().map(|column| escaped(&column.head)).collect());
    let rule = |align| if align == Align::Right { "---:".to_owned() } else { "---".to_owned() };
    text += &line(table.columns.iter().map(|column| rule(column.align)).collect());
    for row in &table.rows {
        text += &line(row.iter().map(|cell| escaped(cell)).collect());
    }
    text
}

/// The text as plain Markdown words: nothing in it opens a cell, a tag, a link or an emphasis, or breaks the line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '&' | '~' => escaped.extend(['\\', character]),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_cell() {
        assert_eq!(escaped("a|b\n<img>*x*"), "a\\|b \\<img\\>\\*x\\*");
    }
}
