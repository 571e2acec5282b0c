//! A table for people as text cells, before a terminal or Markdown draws it.

use super::scale::Prefix;

/// What stands in a cell without a figure.
pub(super) const ABSENT: &str = "–";

/// Most digits after the point; what is smaller shows as 0 beside figures that need no more.
const DECIMALS_MAX: usize = 4;

/// A table for people.
pub(super) struct TextTable {
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    /// One cell for each column.
    pub(super) rows: Vec<Vec<String>>,
    /// What a reader must know of the cells, a sentence or two each.
    pub(super) notes: Vec<String>,
}

/// Head of a column; a line break in it is where a narrow table may break it.
pub(super) struct Column {
    pub(super) head: String,
    pub(super) align: Align,
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words; may be wrapped.
    Left,
    /// Figures; never wrapped.
    Right,
}

/// Prefix and decimals of one column.
pub(super) struct Scale {
    prefix: Prefix,
    decimals: usize,
}

impl Scale {
    /// Shows the smallest of these figures with `digits` significant digits.
    pub(super) fn new(prefix: Prefix, figures: impl Iterator<Item = f64>, digits: i32) -> Self {
        Self { prefix, decimals: prefix.decimals(figures, digits, DECIMALS_MAX) }
    }

    /// Head of the column, with its unit.
    pub(super) fn head(&self, name: &str, unit: &str) -> String {
        match format!("{}{unit}", self.prefix.symbol) {
            unit if unit.is_empty() => name.to_owned(),
            unit => format!("{name}\n({unit})"),
        }
    }

    /// Cell of the column.
    pub(super) fn cell(&self, figure: Option<f64>) -> String {
        match figure.filter(|figure| figure.is_finite()) {
            Some(figure) => self.prefix.text(figure, self.decimals),
            None => ABSENT.to_owned(),
        }
    }
}

/// A table as it grows, column by column.
pub(super) struct Table {
    title: String,
    columns: Vec<Column>,
    // [column][row]
    cells: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), columns: Vec::new(), cells: Vec::new(), notes: Vec::new() }
    }

    /// Adds a column of words.
    pub(super) fn words(&mut self, head: &str, cells: impl Iterator<Item = String>) {
        self.push(head.to_owned(), Align::Left, cells);
    }

    /// Adds a column of figures.
    pub(super) fn figures(&mut self, head: String, cells: impl Iterator<Item = String>) {
        self.push(head, Align::Right, cells);
    }

    /// Adds a note that stands under the table.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn push(&mut self, head: String, align: Align, cells: impl Iterator<Item = String>) {
        self.columns.push(Column { head, align });
        self.cells.push(cells.collect());
    }

    /// The table, row by row.
    pub(super) fn finish(self) -> TextTable {
        let row_count = self.cells.first().map_or(0, Vec::len);
        let row = |index: usize| self.cells.iter().map(|column| column[index].clone()).collect();
        TextTable {
            rows: (0..row_count).map(row).collect(),
            title: self.title,
            columns: self.columns,
            notes: self.notes,
        }
    }
}
