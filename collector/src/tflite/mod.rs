//! What a `.tflite` file says about its model: inputs, outputs, precision and cost. Never runs it.
//!
//! Field numbers are those of TensorFlow Lite's `schema.fbs`, version 3.

mod cost;
mod flatbuffer;
mod precision;
mod tensor;

use std::collections::BTreeSet;

pub use flatbuffer::Malformed;
pub use precision::Precision;
pub use tensor::{Element, Quantisation, Tensor};

use cost::Operator;
use flatbuffer::Table;
use precision::Census;

/// What a model file declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Inputs of the main subgraph, in order.
    pub inputs: Vec<Tensor>,
    /// Outputs of the main subgraph, in order.
    pub outputs: Vec<Tensor>,
    /// In which numbers it computes.
    pub precision: Precision,
    /// Elements of the constants that operations take as weights, biases included. Pruned weights count, quantisation
    /// changes nothing, and what the converter has folded away is not there any more (normalisation, biases of zeros).
    /// `None` where custom or control flow operations hide them.
    pub parameter_count: Option<u64>,
    /// Multiply-accumulates of one inference at batch 1, of convolutions and matrix products. `None` where the file
    /// holds operations whose work its shapes do not tell (recurrent, custom or control flow ones).
    pub mac_count: Option<u64>,
}

/// Bytes are not a model that we can read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    /// The identifier is another one.
    #[error("byte 4: not a .tflite model (the identifier TFL3 is missing)")]
    NotTflite,
    /// The schema's version is another one.
    #[error("schema version {0}, only 3 is known")]
    Version(u32),
    /// The layout is broken.
    #[error("the model is damaged at {0}")]
    Malformed(#[from] Malformed),
}

const IDENTIFIER: &[u8] = b"TFL3";
const SCHEMA_VERSION: u32 = 3;
/// LiteRT's own limit of a tensor's dimensions.
const RANK_MAX: usize = 8;

/// Fields of the table `Model`.
mod model {
    pub(super) const VERSION: usize = 0;
    pub(super) const OPERATOR_CODES: usize = 1;
    pub(super) const SUBGRAPHS: usize = 2;
    pub(super) const DESCRIPTION: usize = 3;
    pub(super) const BUFFERS: usize = 4;
}

/// Fields of the table `SubGraph`.
mod subgraph {
    pub(super) const TENSORS: usize = 0;
    pub(super) const INPUTS: usize = 1;
    pub(super) const OUTPUTS: usize = 2;
    pub(super) const OPERATORS: usize = 3;
}

/// Fields of the table `OperatorCode`.
mod operator_code {
    pub(super) const CODE_BEFORE_128: usize = 0;
    pub(super) const CODE: usize = 3;
}

/// Fields of the table `Operator`.
mod operator {
    pub(super) const CODE_INDEX: usize = 0;
    pub(super) const INPUTS: usize = 1;
    pub(super) const OUTPUTS: usize = 2;
    pub(super) const OPTIONS: usize = 4;
}

/// Fields of the table `Tensor`.
mod field {
    pub(super) const SHAPE: usize = 0;
    pub(super) const ELEMENT: usize = 1;
    pub(super) const BUFFER: usize = 2;
    pub(super) const NAME: usize = 3;
    pub(super) const QUANTISATION: usize = 4;
    pub(super) const SHAPE_SIGNATURE: usize = 7;
}

/// Fields of the table `QuantizationParameters`.
mod quantisation {
    pub(super) const SCALE: usize = 2;
    pub(super) const ZERO_POINT: usize = 3;
}

/// Fields of the table `Buffer`.
mod buffer {
    pub(super) const DATA: usize = 0;
    pub(super) const OFFSET: usize = 1;
    pub(super) const SIZE: usize = 2;
}

impl Model {
    /// Reads what the file declares; the weights themselves are only checked to lie inside it.
    ///
    /// # Errors
    /// When the bytes are no `.tflite` model, or a damaged one.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.get(4..8) != Some(IDENTIFIER) {
            return Err(ModelError::NotTflite);
        }
        let root = Table::root(bytes)?;
        let version = root.u32(model::VERSION)?;
        if version != SCHEMA_VERSION {
            return Err(ModelError::Version(version));
        }
        let constant = root
            .tables(model::BUFFERS)?
            .into_iter()
            .map(|buffer| buffer_is_filled(bytes, buffer))
            .collect::<Result<Vec<_>, _>>()?;
        let codes = root.tables(model::OPERATOR_CODES)?.into_iter().map(code).collect::<Result<Vec<_>, _>>()?;
        root.vector(model::DESCRIPTION, 1)?;
        let subgraphs = root.tables(model::SUBGRAPHS)?;
        let Some(&main) = subgraphs.first() else {
            return Err(Malformed { at: root.place(), what: "the model has no subgraph".into() }.into());
        };
        let tensors = main.tables(subgraph::TENSORS)?;
        let operators = operators(main, &codes, tensors.len())?;
        let inputs = indices(main, subgraph::INPUTS, tensors.len())?;
        let outputs = indices(main, subgraph::OUTPUTS, tensors.len())?;
        let describe = |indices: &[usize]| -> Result<Vec<Tensor>, Malformed> {
            indices.iter().map(|&index| tensor(tensors[index])).collect()
        };
        let cost = cost::count(&operators, &tensors, &constant, &inputs)?;
        let described = Self {
            inputs: describe(&inputs)?,
            outputs: describe(&outputs)?,
            precision: census(&tensors, &constant, &inputs, &outputs)?.precision(),
            parameter_count: cost.parameter_count,
            mac_count: cost.mac_count,
        };
        Ok(described)
    }
}

/// Whether a buffer has content, which makes its tensors constants. All of it must lie inside the file.
fn buffer_is_filled(bytes: &[u8], buffer: Table<'_>) -> Result<bool, Malformed> {
    let data = buffer.vector(buffer::DATA, 1)?;
    // Files beyond 2 GB keep their weights behind the FlatBuffer: place and size are then given as numbers.
    let (offset, size) = (buffer.u64(buffer::OFFSET)?, buffer.u64(buffer::SIZE)?);
    if offset > 1 && offset.checked_add(size).is_none_or(|end| end > bytes.len() as u64) {
        return Err(Malformed { at: buffer.place(), what: "weights reach beyond the end of the file".into() });
    }
    Ok(data.count() > 0 || offset > 1)
}

/// Number of an operation in the schema. Files from before it had more than a byte carry it in another field.
fn code(table: Table<'_>) -> Result<i32, Malformed> {
    let code = i32::from_le_bytes(table.u32(operator_code::CODE)?.to_le_bytes());
    Ok(code.max(table.u8(operator_code::CODE_BEFORE_128)?.into()))
}

/// The operators in order. Each must lie inside the file and name operations and tensors that exist.
fn operators<'a>(main: Table<'a>, codes: &[i32], tensor_count: usize) -> Result<Vec<Operator<'a>>, Malformed> {
    let operator = |table: Table<'a>| {
        let Some(&code) = codes.get(table.u32(operator::CODE_INDEX)? as usize) else {
            return Err(Malformed { at: table.place(), what: "an operation is named that does not exist".into() });
        };
        table.table(operator::OPTIONS)?;
        let inputs = optional_indices(table, operator::INPUTS, tensor_count)?;
        Ok(Operator { code, table, inputs, outputs: indices(table, operator::OUTPUTS, tensor_count)? })
    };
    main.tables(subgraph::OPERATORS)?.into_iter().map(operator).collect()
}

/// Indices of tensors, those that are there.
fn indices(table: Table<'_>, field: usize, tensor_count: usize) -> Result<Vec<usize>, Malformed> {
    Ok(optional_indices(table, field, tensor_count)?.into_iter().flatten().collect())
}

/// Indices of tensors; −1 stands for an optional one that is left out.
fn optional_indices(table: Table<'_>, field: usize, tensor_count: usize) -> Result<Vec<Option<usize>>, Malformed> {
    let vector = table.vector(field, 4)?;
    let index = |position| match i32::from_le_bytes(vector.four(position)?) {
        -1 => Ok(None),
        index => match usize::try_from(index) {
            Ok(index) if index < tensor_count => Ok(Some(index)),
            _ => Err(Malformed { at: vector.place(), what: "a tensor is named that does not exist".into() }),
        },
    };
    (0..vector.count()).map(index).collect()
}

fn tensor(table: Table<'_>) -> Result<Tensor, Malformed> {
    let signature = table.vector(field::SHAPE_SIGNATURE, 4)?;
    let shape = if signature.count() > 0 { signature } else { table.vector(field::SHAPE, 4)? };
    if shape.count() > RANK_MAX {
        return Err(Malformed { at: shape.place(), what: "a tensor has more than 8 dimensions".into() });
    }
    let shape = (0..shape.count())
        .map(|position| match i32::from_le_bytes(shape.four(position)?) {
            -1 => Ok(None),
            dimension => u32::try_from(dimension)
                .map(Some)
                .map_err(|_| Malformed { at: shape.place(), what: "a dimension is negative".into() }),
        })
        .collect::<Result<_, Malformed>>()?;
    let mut quantisation = None;
    if let Some(parameters) = table.table(field::QUANTISATION)? {
        let scale = parameters.vector(quantisation::SCALE, 4)?;
        let zero_point = parameters.vector(quantisation::ZERO_POINT, 8)?;
        if scale.count() == 1 && zero_point.count() == 1 {
            quantisation = Some(Quantisation {
                scale: f32::from_le_bytes(scale.four(0)?),
                zero_point: i64::from_le_bytes(zero_point.eight(0)?),
            });
        }
    }
    Ok(Tensor { name: text(table)?, element: Element::from_schema(table.u8(field::ELEMENT)?), shape, quantisation })
}

fn text(table: Table<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(table.vector(field::NAME, 1)?.as_bytes()).into_owned())
}

fn census(tensors: &[Table<'_>], constant: &[bool], inputs: &[usize], outputs: &[usize]) -> Result<Census, Malformed> {
    let ends: BTreeSet<usize> = inputs.iter().chain(outputs).copied().collect();
    let mut census = Census::default();
    for (index, table) in tensors.iter().enumerate() {
        let element = Element::from_schema(table.u8(field::ELEMENT)?);
        let buffer = table.u32(field::BUFFER)? as usize;
        let Some(&is_constant) = constant.get(buffer) else {
            return Err(Malformed { at: table.place(), what: "a tensor's buffer does not exist".into() });
        };
        let part = match (ends.contains(&index), is_constant) {
            (true, _) => &mut census.ends,
            (false, true) => &mut census.weights,
            (false, false) => &mut census.activations,
        };
        part.insert(element);
    }
    Ok(census)
}

#[cfg(test)]
mod tests;
