//! What a model costs by its own file: parameters, and multiply-accumulates of one inference.
//!
//! Counted as the literature counts: convolutions and matrix products, dense (a pruned weight counts), biases and
//! element-wise operations not. What cannot be counted from shapes alone makes the figure unknown, never smaller.

use std::collections::BTreeSet;

use super::flatbuffer::{Malformed, Table};
use super::{field, operator};

/// Parameters and multiply-accumulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cost {
    pub(super) parameter_count: Option<u64>,
    pub(super) mac_count: Option<u64>,
}

/// An operator with the number of its operation; `None` in `inputs` stands for one that is left out.
pub(super) struct Operator<'a> {
    pub(super) code: i32,
    pub(super) table: Table<'a>,
    pub(super) inputs: Vec<Option<usize>>,
    pub(super) outputs: Vec<usize>,
}

/// A tensor's part in the count.
struct Tensor {
    shape: Option<Vec<u64>>,
    is_constant: bool,
}

/// Numbers of operations in `BuiltinOperator` of the format's schema.
mod code {
    pub(super) const ADD: i32 = 0;
    pub(super) const CONV_2D: i32 = 3;
    pub(super) const DEPTHWISE_CONV_2D: i32 = 4;
    pub(super) const DEQUANTIZE: i32 = 6;
    pub(super) const EMBEDDING_LOOKUP: i32 = 7;
    pub(super) const FULLY_CONNECTED: i32 = 9;
    pub(super) const LSH_PROJECTION: i32 = 15;
    pub(super) const LSTM: i32 = 16;
    pub(super) const MUL: i32 = 18;
    pub(super) const RESHAPE: i32 = 22;
    pub(super) const RNN: i32 = 24;
    pub(super) const SVDF: i32 = 27;
    pub(super) const CALL: i32 = 31;
    pub(super) const CUSTOM: i32 = 32;
    pub(super) const EMBEDDING_LOOKUP_SPARSE: i32 = 33;
    pub(super) const UNIDIRECTIONAL_SEQUENCE_RNN: i32 = 35;
    pub(super) const GATHER: i32 = 36;
    pub(super) const SUB: i32 = 41;
    pub(super) const DIV: i32 = 42;
    pub(super) const UNIDIRECTIONAL_SEQUENCE_LSTM: i32 = 44;
    pub(super) const BIDIRECTIONAL_SEQUENCE_RNN: i32 = 46;
    pub(super) const DELEGATE: i32 = 51;
    pub(super) const BIDIRECTIONAL_SEQUENCE_LSTM: i32 = 52;
    pub(super) const PRELU: i32 = 54;
    pub(super) const TRANSPOSE_CONV: i32 = 67;
    pub(super) const IF: i32 = 118;
    pub(super) const WHILE: i32 = 119;
    pub(super) const DENSIFY: i32 = 124;
    pub(super) const BATCH_MATMUL: i32 = 126;
    pub(super) const RFFT2D: i32 = 131;
    pub(super) const CONV_3D: i32 = 132;
    pub(super) const CONV_3D_TRANSPOSE: i32 = 141;
    /// Last of the operations before those of StableHLO, whose arithmetic is not looked into.
    pub(super) const BITWISE_LAST: i32 = 161;
}

/// Field of the table `BatchMatMulOptions`: whether the left matrix is taken transposed.
const ADJOINT_LEFT: usize = 0;

/// Counts the main subgraph. `inputs` are the model's own: their first dimension is the batch.
pub(super) fn count(
    operators: &[Operator<'_>],
    tensors: &[Table<'_>],
    constant_buffers: &[bool],
    inputs: &[usize],
) -> Result<Cost, Malformed> {
    let tensors = tensors.iter().map(|&table| tensor(table, constant_buffers)).collect::<Result<Vec<_>, _>>()?;
    Ok(Cost { parameter_count: parameters(operators, &tensors), mac_count: macs(operators, &tensors, inputs)? })
}

fn tensor(table: Table<'_>, constant_buffers: &[bool]) -> Result<Tensor, Malformed> {
    let signature = dimensions(table, field::SHAPE_SIGNATURE)?;
    let shape = dimensions(table, field::SHAPE)?;
    // An open batch stands as 1 in the shape. Another open dimension makes the work depend on the input.
    let is_open = signature.iter().skip(1).any(|&dimension| dimension < 0);
    let shape = shape.iter().map(|&dimension| u64::try_from(dimension).ok()).collect::<Option<Vec<_>>>();
    let buffer = table.u32(field::BUFFER)? as usize;
    Ok(Tensor {
        shape: shape.filter(|_| !is_open),
        is_constant: constant_buffers.get(buffer).copied().unwrap_or(false),
    })
}

fn dimensions(table: Table<'_>, field: usize) -> Result<Vec<i32>, Malformed> {
    let vector = table.vector(field, 4)?;
    (0..vector.count()).map(|position| vector.four(position).map(i32::from_le_bytes)).collect()
}

// === parameters ===

/// Elements of all constants that operations take as weights, each tensor once. Weights of operations that are not
/// described here, or that call other subgraphs, cannot be told from other constants.
fn parameters(operators: &[Operator<'_>], tensors: &[Tensor]) -> Option<u64> {
    let is_opaque = |operator: &Operator<'_>| {
        matches!(operator.code, code::CALL | code::CUSTOM | code::DELEGATE | code::IF | code::WHILE)
            || operator.code > code::BITWISE_LAST
    };
    if operators.iter().any(is_opaque) {
        return None;
    }
    let mut weights = BTreeSet::new();
    for operator in operators {
        for (position, input) in operator.inputs.iter().enumerate() {
            let Some(source) = input.and_then(|input| constant(input, operators, tensors)) else { continue };
            if is_weight(operator.code, position, elements(&tensors[source])) {
                weights.insert(source);
            }
        }
    }
    weights.into_iter().try_fold(0u64, |sum, tensor| sum.checked_add(elements(&tensors[tensor])?))
}

/// The constant that a tensor is, or is unpacked from: float16 and pruned weights pass through an operation of their own.
fn constant(tensor: usize, operators: &[Operator<'_>], tensors: &[Tensor]) -> Option<usize> {
    // At most one unpacking after another: sparse float16 weights.
    let mut tensor = tensor;
    for _ in 0..=2 {
        if tensors[tensor].is_constant {
            return Some(tensor);
        }
        let unpacks = |operator: &&Operator<'_>| {
            matches!(operator.code, code::DEQUANTIZE | code::DENSIFY) && operator.outputs.contains(&tensor)
        };
        tensor = operators.iter().find(unpacks)?.inputs.first().copied().flatten()?;
    }
    None
}

/// Whether an operation's constant input was learned. Shapes, axes and paddings were not; a single number that scales
/// everything is preprocessing.
fn is_weight(operation: i32, position: usize, element_count: Option<u64>) -> bool {
    match operation {
        code::CONV_2D
        | code::DEPTHWISE_CONV_2D
        | code::FULLY_CONNECTED
        | code::CONV_3D
        | code::BATCH_MATMUL
        | code::LSTM
        | code::RNN
        | code::SVDF
        | code::UNIDIRECTIONAL_SEQUENCE_RNN
        | code::UNIDIRECTIONAL_SEQUENCE_LSTM
        | code::BIDIRECTIONAL_SEQUENCE_RNN
        | code::BIDIRECTIONAL_SEQUENCE_LSTM => true,
        // The first input is the shape of the output.
        code::TRANSPOSE_CONV | code::CONV_3D_TRANSPOSE => position > 0,
        code::ADD | code::SUB | code::MUL | code::DIV => element_count.is_some_and(|count| count > 1),
        code::PRELU => position == 1,
        code::EMBEDDING_LOOKUP => position == 1,
        code::GATHER => position == 0,
        _ => false,
    }
}

// === multiply-accumulates ===

fn macs(operators: &[Operator<'_>], tensors: &[Tensor], inputs: &[usize]) -> Result<Option<u64>, Malformed> {
    let mut total = 0u64;
    for operator in operators {
        let Some(count) = operation_macs(operator, tensors)? else { return Ok(None) };
        let Some(sum) = total.checked_add(count) else { return Ok(None) };
        total = sum;
    }
    let shape = inputs.first().and_then(|&input| tensors[input].shape.as_ref());
    let batch = shape.map_or(1, |shape| shape.first().copied().unwrap_or(1));
    Ok(total.checked_div(batch).filter(|count| count * batch == total))
}

fn operation_macs(operator: &Operator<'_>, tensors: &[Tensor]) -> Result<Option<u64>, Malformed> {
    let shape = |position: usize| -> Option<&[u64]> {
        tensors[operator.inputs.get(position).copied().flatten()?].shape.as_deref()
    };
    let output = || elements(&tensors[*operator.outputs.first()?]);
    let times = |one: Option<u64>, other: Option<u64>| one?.checked_mul(other?);
    Ok(match operator.code {
        // Weights are [output channel][row][column][input channel of the group].
        code::CONV_2D => times(output(), shape(1).and_then(|weights| product(weights.get(1..4)?))),
        // [1][row][column][output channel]
        code::DEPTHWISE_CONV_2D => times(output(), shape(1).and_then(|weights| product(weights.get(1..3)?))),
        // [output][input]; every input element meets every output. The output's own shape is no help where the batch is
        // open: it may hide rows in its first dimension.
        code::FULLY_CONNECTED => {
            times(shape(0).and_then(product), shape(1).and_then(|weights| weights.first().copied()))
        }
        // An open first dimension stands as 1. A tensor that loses elements by it holds more than the batch in there, and
        // whatever follows would be counted too small.
        code::RESHAPE => shape(0).and_then(product).zip(output()).filter(|(before, after)| after >= before).map(|_| 0),
        // [depth][row][column][input channel][output channel]
        code::CONV_3D => times(output(), shape(1).and_then(|weights| product(weights.get(0..4)?))),
        // Every input element meets a window of every output channel; weights as in a convolution, data third.
        code::TRANSPOSE_CONV => {
            times(shape(2).and_then(product), shape(1).and_then(|weights| product(weights.get(0..3)?)))
        }
        code::BATCH_MATMUL => {
            let options = operator.table.table(operator::OPTIONS)?;
            let is_adjoint = options.map_or(Ok(0), |options| options.u8(ADJOINT_LEFT))? != 0;
            let from_end = if is_adjoint { 2 } else { 1 };
            let inner = shape(0).and_then(|left| left.get(left.len().checked_sub(from_end)?).copied());
            times(output(), inner)
        }
        code::LSH_PROJECTION
        | code::LSTM
        | code::RNN
        | code::SVDF
        | code::CALL
        | code::CUSTOM
        | code::EMBEDDING_LOOKUP_SPARSE
        | code::UNIDIRECTIONAL_SEQUENCE_RNN
        | code::UNIDIRECTIONAL_SEQUENCE_LSTM
        | code::BIDIRECTIONAL_SEQUENCE_RNN
        | code::DELEGATE
        | code::BIDIRECTIONAL_SEQUENCE_LSTM
        | code::IF
        | code::WHILE
        | code::RFFT2D
        | code::CONV_3D_TRANSPOSE => None,
        0..=code::BITWISE_LAST => Some(0),
        _ => None,
    })
}

fn elements(tensor: &Tensor) -> Option<u64> {
    product(tensor.shape.as_deref()?)
}

fn product(dimensions: &[u64]) -> Option<u64> {
    dimensions.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension))
}
