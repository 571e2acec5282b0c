//! Keyword spotting of MLPerf Tiny: a folder of `.bin` files, each 49×10 signed bytes of MFCC features that already carry
//! the reference model's quantisation, and `y_labels.csv` with one row `file,classes,label` per input and no header.

use std::path::Path;

use tinywatt_proto::inputs::Encoding;

use super::{Dataset, DatasetError, Kind, assemble, limited, names, read_exactly};

const LABELS: &str = "y_labels.csv";
const SHAPE: [u32; 3] = [49, 10, 1];
const INPUT_BYTES: u64 = 49 * 10;
const CLASS_NAMES: [&str; 12] =
    ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"];
const CLASS_COUNT: u32 = 12;
const ADVICE: &str = "path must name a folder of MLPerf Tiny's kws01 inputs with its y_labels.csv \
    (rows `file,classes,label`)";

struct Row {
    line: u64,
    file: String,
    label: u32,
}

pub(super) fn load(path: &Path, limit: Option<u32>) -> Result<Dataset, DatasetError> {
    let table = path.join(LABELS);
    let rows = rows(&table)?;
    let count = limited(limit, rows.len() as u64, table.display())?;
    let mut labels = Vec::with_capacity(count);
    let mut data = Vec::new();
    for row in rows.into_iter().take(count) {
        if row.label >= CLASS_COUNT {
            let problem =
                format!("label {} of {} names no class; there are {CLASS_COUNT}, from 0", row.label, row.file);
            return Err(DatasetError::Row { path: table, line: row.line, problem });
        }
        labels.push(row.label);
        data.extend(read_exactly(&path.join(row.file), INPUT_BYTES, ADVICE)?);
    }
    let inputs = assemble(&table, Encoding::Quantised, CLASS_COUNT, &SHAPE, labels, data)?;
    Ok(Dataset { kind: Kind::Kws, inputs, class_names: names(&CLASS_NAMES), input_scale: 1.0, input_offset: 0.0 })
}

fn rows(table: &Path) -> Result<Vec<Row>, DatasetError> {
    let text =
        std::fs::read(table).map_err(|source| DatasetError::Read { path: table.to_owned(), advice: ADVICE, source })?;
    let refuse = |line, problem| DatasetError::Row { path: table.to_owned(), line, problem };
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).flexible(true).from_reader(text.as_slice());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            refuse(line, "this is not text in UTF-8; a row is `file,classes,label`".to_owned())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let shape = || {
            refuse(line, format!("'{}' is not a row `file,classes,label`", record.iter().collect::<Vec<_>>().join(",")))
        };
        let (Some(file), Some(classes), Some(label), None) =
            (record.get(0), record.get(1), record.get(2), record.get(3))
        else {
            return Err(shape());
        };
        let (classes, label): (u32, u32) = (classes.parse().map_err(|_| shape())?, label.parse().map_err(|_| shape())?);
        if classes != CLASS_COUNT {
            return Err(refuse(line, format!("{classes} classes, and keyword spotting has {CLASS_COUNT}")));
        }
        rows.push(Row { line, file: file.to_owned(), label });
    }
    if rows.is_empty() {
        return Err(refuse(1, "no inputs are listed; a row is `file,classes,label`".to_owned()));
    }
    Ok(rows)
}
