//! Annotated CSV, as InfluxDB answers a query, into tables of text: a number is compared as it was written.

use anyhow::{Context, Result, bail, ensure};

/// One table of an answer. A cell without a value is empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Its rows: as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A column's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, `_value`.
    pub name: String,
    /// Its type: `double`, `long`, `unsignedLong`, `string`, `boolean`, `dateTime:RFC3339`.
    pub datatype: String,
    /// Whether it is part of the table's group key.
    pub is_key: bool,
}

impl Table {
    /// Where a column is.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The cells of these columns, row by row; a column that is not there gives empty cells.
    pub fn select(&self, names: &[&str]) -> Vec<Vec<&str>> {
        let indices: Vec<Option<usize>> = names.iter().map(|name| self.index(name)).collect();
        self.rows
            .iter()
            .map(|row| indices.iter().map(|index| index.map_or("", |index| row[index].as_str())).collect())
            .collect()
    }
}

/// The tables of an answer.
pub(super) fn tables(text: &str) -> Result<Vec<Table>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut tables: Vec<Table> = Vec::new();
    let mut head = Head::default();
    let mut last_table = None;
    for record in reader.records() {
        let record = record?;
        let first = record.get(0).unwrap_or_default();
        // Every line begins with a cell for annotations, empty in lines of data. The block's own annotations come first.
        // The server's writer makes CR LF of a line feed inside a cell, and nothing of a carriage return.
        let cells: Vec<String> = record.iter().skip(1).map(|cell| cell.replace("\r\n", "\n")).collect();
        if first.starts_with('#') {
            if !head.columns.is_empty() {
                head = Head::default();
                last_table = None;
            }
            match first {
                "#datatype" => head.datatypes = cells,
                "#group" => head.groups = cells,
                "#default" => head.defaults = cells,
                other => bail!("an unknown annotation, {other}"),
            }
        } else if head.columns.is_empty() {
            if cells.first().is_some_and(|name| name == "error") {
                head.is_error = true;
            }
            head.name(&cells)?;
        } else if head.is_error {
            bail!("the query broke off: {}", cells.join(" "));
        } else {
            ensure!(cells.len() == head.columns.len(), "{} cells below {} columns", cells.len(), head.columns.len());
            let cells: Vec<String> = cells
                .into_iter()
                .zip(&head.defaults)
                .map(|(cell, default)| if cell.is_empty() { default.clone() } else { cell })
                .collect();
            // A block holds one table after the other, told apart by their number; numbers begin anew in each result.
            let number = |name| head.columns.iter().position(|column: &Column| column.name == name);
            let key = (number("result").map(|at| cells[at].clone()), number("table").map(|at| cells[at].clone()));
            if last_table.as_ref() != Some(&key) {
                tables.push(Table { columns: head.columns.clone(), rows: Vec::new() });
                last_table = Some(key);
            }
            tables.last_mut().context("just pushed")?.rows.push(cells);
        }
    }
    Ok(tables)
}

#[derive(Default)]
struct Head {
    datatypes: Vec<String>,
    groups: Vec<String>,
    defaults: Vec<String>,
    columns: Vec<Column>,
    is_error: bool,
}

impl Head {
    fn name(&mut self, names: &[String]) -> Result<()> {
        for annotation in [&self.datatypes, &self.groups, &self.defaults] {
            ensure!(annotation.len() == names.len(), "{} annotations of {} columns", annotation.len(), names.len());
        }
        let annotated = names.iter().zip(&self.datatypes).zip(&self.groups);
        self.columns = annotated
            .map(|((name, datatype), group)| Column {
                name: name.clone(),
                datatype: datatype.clone(),
                is_key: group == "true",
            })
            .collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_block_and_of_several_are_told_apart() {
        let text = "#datatype,string,long,string,double\r\n#group,false,false,true,false\r\n#default,_result,,,\r\n\
                    ,result,table,node,_value\r\n,,0,a,1\r\n,,0,a,1e+07\r\n,,1,b,\r\n\r\n\
                    #datatype,string,long,string,string\r\n#group,false,false,true,false\r\n#default,other,,,\r\n\
                    ,result,table,node,_value\r\n,,0,a,\"x\r\n\r\ny, \"\"z\"\"\"\r\n\r\n";
        let tables = tables(text).unwrap();
        let values: Vec<_> = tables.iter().map(|table| table.select(&["result", "node", "_value"])).collect();
        assert_eq!(values[0], [["_result", "a", "1"], ["_result", "a", "1e+07"]]);
        assert_eq!(values[1], [["_result", "b", ""]]);
        assert_eq!(values[2], [["other", "a", "x\n\ny, \"z\""]]);
        assert_eq!(tables.len(), 3);
        assert!(tables[0].columns[2].is_key && !tables[0].columns[3].is_key);
        assert_eq!(tables[2].columns[3].datatype, "string");
    }

    #[test]
    fn an_error_in_the_midst_of_an_answer_is_one() {
        let good = "#datatype,string,long,double\r\n#group,false,false,false\r\n#default,_result,,\r\n\
                    ,result,table,_value\r\n,,0,1\r\n\r\n";
        let error = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,memory,897\r\n";
        assert_eq!(tables(good).unwrap().len(), 1);
        let error = tables(&format!("{good}{error}")).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
        assert_eq!(tables("\r\n").unwrap(), []);
    }
}
