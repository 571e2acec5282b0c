//! What a model says about its input and its output.

use std::fmt;

use serde::{Deserialize, Serialize};
use tinywatt_proto::v1;

/// Type of a tensor's elements, of those that a model's input or output may have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// 32-bit floating point.
    Float32,
    /// Signed byte.
    Int8,
    /// Unsigned byte.
    Uint8,
}

impl Element {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Int8 | Self::Uint8 => 1,
        }
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
        }
    }
}

/// How an integer stands for a real value: real = (integer - zero point) × scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantisation {
    /// Real value of one step; finite and above 0.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i64,
}

/// A model's input or output tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Type of the elements.
    pub element: Element,
    /// Dimensions, the batch first, none of them 0.
    pub shape: Vec<u32>,
    /// Absent for tensors that are not quantised.
    pub quantisation: Option<Quantisation>,
}

impl TensorInfo {
    /// Number of elements; `None` beyond the address space.
    pub fn element_count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &dimension| count.checked_mul(usize::try_from(dimension).ok()?))
    }

    /// Bytes of all elements; `None` beyond the address space.
    pub fn size_bytes(&self) -> Option<usize> {
        self.element_count()?.checked_mul(self.element.size_bytes())
    }

    /// Whether an input of `shape` (without the batch) is what this tensor takes: a batch of one, and the same
    /// dimensions, or all elements in one. Dimensions of 1 do not count. Another order of the dimensions is another
    /// shape: channels first would be answered, and wrongly.
    pub fn takes(&self, shape: &[u32]) -> bool {
        let Some((&1, own)) = self.shape.split_first() else { return false };
        let own: Vec<u64> =
            own.iter().filter(|&&dimension| dimension != 1).map(|&dimension| dimension.into()).collect();
        let other: Vec<u64> =
            shape.iter().filter(|&&dimension| dimension != 1).map(|&dimension| dimension.into()).collect();
        let flat: u64 = other.iter().product();
        own == other || own == [flat]
    }
}

/// Prints `int8 [1, 49, 10, 1]`.
impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element.name(), self.shape)
    }
}

impl From<&TensorInfo> for v1::TensorInfo {
    fn from(tensor: &TensorInfo) -> Self {
        Self {
            element: tensor.element.name().to_owned(),
            shape: tensor.shape.clone(),
            scale: tensor.quantisation.map(|quantisation| quantisation.scale),
            zero_point: tensor.quantisation.map(|quantisation| quantisation.zero_point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &[u32], input: &[u32], expect: bool) {
        let tensor = TensorInfo { element: Element::Int8, shape: model.to_vec(), quantisation: None };
        assert_eq!(tensor.takes(input), expect, "{model:?} for {input:?}");
    }

    #[test]
    fn a_batch_of_one_of_the_same_shape_fits() {
        check(&[1, 32, 32, 3], &[32, 32, 3], true);
    }

    #[test]
    fn all_elements_in_one_dimension_fit() {
        check(&[1, 64], &[8, 8, 1], true);
    }

    #[test]
    fn dimensions_of_one_do_not_count() {
        check(&[1, 8, 8, 1], &[8, 8], true);
        check(&[1], &[1, 1], true);
    }

    #[test]
    fn channels_first_does_not_fit_channels_last() {
        check(&[1, 3, 32, 32], &[32, 32, 3], false);
    }

    #[test]
    fn another_batch_or_size_does_not_fit() {
        check(&[2, 8, 8, 1], &[8, 8, 1], false);
        check(&[1, 8, 8, 3], &[8, 8, 1], false);
        check(&[], &[1], false);
    }
}
