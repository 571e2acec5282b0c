//! Tables for a page, too long for a terminal: training curves, and the scores of each class.

use super::table::{Report, Row};
use super::text::{ABSENT, Table, TextTable};
use crate::result::Epoch;
use crate::statistics::ClassScores;

/// All tables of details that have a row.
pub(super) fn detail_tables(report: &Report) -> Vec<TextTable> {
    let mut tables: Vec<TextTable> = report.rows.iter().filter_map(curve).collect();
    tables.extend(classes(report, "precision of each class", |scores| scores.precision));
    tables.extend(classes(report, "recall of each class, which is its accuracy", |scores| scores.recall));
    tables.extend(classes(report, "F1 of each class", |scores| scores.f1));
    tables
}

fn curve(row: &Row) -> Option<TextTable> {
    let epochs = row.job.as_ref().map(|job| &job.epochs).filter(|epochs| !epochs.is_empty())?;
    let mut table = Table::new(&format!("Training curve of {} on {}", row.treatment, row.node));
    table.figures("epoch".to_owned(), epochs.iter().map(|epoch| epoch.epoch.to_string()));
    let mut column = |head: &str, figure: fn(&Epoch) -> Option<f64>| {
        table.figures(head.to_owned(), epochs.iter().map(|epoch| cell(figure(epoch))));
    };
    column("train loss", |epoch| epoch.train_loss);
    column("train accuracy", |epoch| epoch.train_accuracy);
    column("validation loss", |epoch| epoch.validation_loss);
    column("validation accuracy", |epoch| epoch.validation_accuracy);
    table.note("Each figure is the mean over the replicates.".to_owned());
    Some(table.finish())
}

/// A row for each row of the report, a column for each class.
fn classes(report: &Report, what: &str, figure: fn(&ClassScores) -> f64) -> Option<TextTable> {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.quality.is_some()).collect();
    let class_count = rows.iter().filter_map(|row| Some(row.quality.as_ref()?.by_class.len())).max()?;
    let mut table = Table::new(&format!("Quality: {what}"));
    table.words("treatment", rows.iter().map(|row| row.treatment.clone()));
    table.words("node", rows.iter().map(|row| row.node.clone()));
    for class in 0..class_count {
        let name = report.header.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
        let score = |row: &&Row| cell(row.quality.as_ref().and_then(|quality| quality.by_class.get(class)).map(figure));
        table.figures(name, rows.iter().map(score));
    }
    Some(table.finish())
}

fn cell(figure: Option<f64>) -> String {
    figure.filter(|figure| figure.is_finite()).map_or_else(|| ABSENT.to_owned(), |figure| format!("{figure:.4}"))
}
