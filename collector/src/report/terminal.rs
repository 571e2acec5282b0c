//! The report for a terminal of 100 columns.

use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, TableStyle, Width};

use super::table::Report;
use super::tables::{header_facts, score, tables};
use super::text::{Align, Column, TextTable};

/// Columns of a terminal that every line fits in.
const WIDTH: u16 = 100;

/// What a column of words may be narrowed to.
const WORD_WIDTH_MIN: u16 = 10;

/// What the first column may be wider than another one before it gives way.
const NAME_AHEAD: u16 = 8;

/// Columns between two columns of a table.
const GAP: u16 = 2;

/// What to do about a run whose trials had no attempts left.
const INCOMPLETE: &str = "This run is incomplete: some trials were invalid at every attempt. Mend what \
                          \"Invalid attempts\" names, then start it again with `collector schedule EXPERIMENT.toml`; \
                          'attempts_max' there allows more attempts at a trial.";

/// Prints a report.
pub(super) fn render(report: &Report) -> String {
    let mut text = format!("Run {}\n\n", plain(&report.header.run));
    for (name, fact) in header_facts(report) {
        text += &format!("{name:<12}{}\n", plain(&fact));
    }
    for banner in &report.banners {
        text += &format!("\n{}\n", wrapped(&format!("!! {banner}"), "   "));
    }
    for warning in &report.warnings {
        text += &format!("\n{}\n", wrapped(&format!("! Warning: {}", plain(&warning.message)), "  "));
    }
    for answer in report.study.iter().flat_map(|study| &study.answers) {
        text += &format!("\n{} {}\n", answer.question, answer.text);
        for sentence in &answer.sentences {
            text += &format!("{}\n", wrapped(&format!("* {}", plain(sentence)), "  "));
        }
    }
    for table in tables(report) {
        text += &format!("\n{}\n{}\n", plain(&table.title), drawn(&table));
        for note in &table.notes {
            text += &format!("{}\n", wrapped(&plain(note), ""));
        }
    }
    if !report.recordings.is_empty() {
        text += "\nScores of the recordings\n";
        for recording in &report.recordings {
            let of = plain(&format!("{} on {}", recording.treatment, recording.node));
            text += &format!("{of}: {}\n", score(recording));
        }
    }
    if !report.notes.is_empty() {
        text += "\nNotes\n";
        for note in &report.notes {
            text += &format!("{}\n", wrapped(&format!("* {}", plain(note)), "  "));
        }
    }
    text += &format!("\nWhat the columns mean: see `collector report {} --format md`.\n", plain(&report.header.run));
    if report.header.is_incomplete() {
        text += &format!("\n{}\n", wrapped(INCOMPLETE, ""));
    }
    text
}

fn drawn(table: &TextTable) -> String {
    let mut drawing = Table::new();
    drawing.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH + GAP);
    // Figures under the end of their head, words under its beginning; heads stand on the line above the figures.
    let lines = table.columns.iter().map(|column| column.head.lines().count()).max().unwrap_or(1);
    drawing.set_header(table.columns.iter().map(|column| {
        let blank_lines = "\n".repeat(lines - column.head.lines().count());
        Cell::new(format!("{blank_lines}{}", column.head)).set_alignment(alignment(column))
    }));
    for row in &table.rows {
        let cells = row.iter().zip(&table.columns);
        drawing.add_row(cells.map(|(cell, column)| Cell::new(plain(cell)).set_alignment(alignment(column))));
    }
    for (drawn, width) in drawing.column_iter_mut().zip(widths(table)) {
        drawn.set_padding((0, GAP));
        drawn.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
    let text: Vec<_> = drawing.lines().map(|line| line.trim_end().to_owned()).collect();
    let width = text.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (head, body) = text.split_at(lines.min(text.len()));
    format!("{}\n{}\n{}", head.join("\n"), "─".repeat(width), body.join("\n"))
}

/// Width of each column, its gap included: as wide as its content, but that the widest words give way until all fit.
fn widths(table: &TextTable) -> Vec<u16> {
    let content = |index: usize| {
        let cells = table.rows.iter().flat_map(|row| row[index].lines());
        let lines = cells.chain(table.columns[index].head.lines());
        u16::try_from(lines.map(|line| line.chars().count()).max().unwrap_or(0)).unwrap_or(WIDTH).min(WIDTH) + GAP
    };
    let mut widths: Vec<u16> = (0..table.columns.len()).map(content).collect();
    while widths.iter().map(|width| u32::from(*width)).sum::<u32>() > u32::from(WIDTH + GAP) {
        let words = (0..widths.len()).filter(|index| table.columns[*index].align == Align::Left);
        // The first one names the row, and gives way after the others.
        let ease = |index: &usize| if *index == 0 { widths[0].saturating_sub(NAME_AHEAD) } else { widths[*index] };
        let Some(widest) = words.max_by_key(ease).filter(|index| widths[*index] > WORD_WIDTH_MIN) else {
            break;
        };
        widths[widest] -= 1;
    }
    widths
}

fn alignment(column: &Column) -> CellAlignment {
    match column.align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    }
}

/// Breaks a text at spaces so that each line fits; all lines but the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let word_width = word.chars().count();
        if width > 0 && width + 1 + word_width > usize::from(WIDTH) {
            write!(lines, "\n{indent}{word}").expect("a string takes every text");
            width = indent.chars().count() + word_width;
        } else {
            let space = if width == 0 { "" } else { " " };
            write!(lines, "{space}{word}").expect("a string takes every text");
            width += space.len() + word_width;
        }
    }
    lines
}

/// The text without control characters: a name from elsewhere shall not steer somebody's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces() {
        let text = wrapped(&"joule ".repeat(50), "  ");
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
        assert_eq!(text.split_whitespace().count(), 50);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
