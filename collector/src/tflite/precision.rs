//! In which numbers a model computes: told from its tensors, never from its name.

use std::collections::BTreeSet;
use std::fmt;

use super::tensor::Element;

/// In which numbers a model stores its weights and computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Everything in 32-bit floats.
    Float32,
    /// Some weights stored as 16-bit floats, activations in floats.
    Float16,
    /// Some weights stored as 8-bit integers, activations in floats, quantised on the fly by the kernels that can.
    /// Converters leave small or depthwise weights in floats, so this does not mean *all* weights.
    DynamicRange,
    /// Weights and activations in 8-bit integers, inputs and outputs too.
    FullInteger,
    /// Weights and activations in 8-bit integers between floating-point inputs and outputs.
    FullIntegerFloatIo,
    /// Weights in 8-bit, activations in 16-bit integers.
    Int16x8,
    /// Anything else: parts of the model compute in different numbers.
    Mixed,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::DynamicRange => "dynamic-range",
            Self::FullInteger => "full-integer",
            Self::FullIntegerFloatIo => "full-integer-float-io",
            Self::Int16x8 => "int16x8",
            Self::Mixed => "mixed",
        })
    }
}

/// Element types in use, by the part that a tensor plays. 32-bit integers are biases, shapes and axes, and tell nothing.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Constants.
    pub(super) weights: BTreeSet<Element>,
    /// Everything computed on the way.
    pub(super) activations: BTreeSet<Element>,
    /// Inputs and outputs.
    pub(super) ends: BTreeSet<Element>,
}

impl Census {
    pub(super) fn precision(&self) -> Precision {
        use Element::{Float16, Float32, Int8, Int16, Int32, Uint8};
        let within = |set: &BTreeSet<Element>, allowed: &[Element]| {
            set.iter().all(|element| *element == Int32 || allowed.contains(element))
        };
        let float_ends = within(&self.ends, &[Float32]);
        let byte_ends = within(&self.ends, &[Int8, Uint8]);
        let byte_weights = within(&self.weights, &[Int8, Uint8]);
        // A model of one operation has no activations between its ends; its ends then tell alone.
        if float_ends && within(&self.activations, &[Float32, Float16]) {
            if within(&self.weights, &[Float32]) {
                return Precision::Float32;
            }
            if within(&self.weights, &[Float32, Float16]) {
                return Precision::Float16;
            }
            if within(&self.weights, &[Float32, Int8, Uint8]) {
                return Precision::DynamicRange;
            }
            return Precision::Mixed;
        }
        let wide = self.activations.contains(&Int16) || self.ends.contains(&Int16);
        if wide && within(&self.activations, &[Int16]) && within(&self.ends, &[Int16, Float32]) {
            // 16-bit constants are lookup tables and the operands of additions.
            if within(&self.weights, &[Int8, Int16, Element::Other(INT64)]) {
                return Precision::Int16x8;
            }
            return Precision::Mixed;
        }
        if within(&self.activations, &[Int8, Uint8]) && byte_weights {
            if byte_ends {
                return Precision::FullInteger;
            }
            if float_ends {
                return Precision::FullIntegerFloatIo;
            }
        }
        Precision::Mixed
    }
}

/// Number of 64-bit integers in the schema: the biases of int16x8 models.
const INT64: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use Element::{Float16, Float32, Int8, Int16, Int32, Other};

    fn check(weights: &[Element], activations: &[Element], ends: &[Element], expected: Precision) {
        let set = |elements: &[Element]| elements.iter().copied().collect();
        let census = Census { weights: set(weights), activations: set(activations), ends: set(ends) };
        assert_eq!(census.precision(), expected, "{census:?}");
    }

    #[test]
    fn precision_is_told_from_weights_activations_and_ends() {
        check(&[Float32, Int32], &[Float32], &[Float32], Precision::Float32);
        check(&[Float32, Float16], &[Float32], &[Float32], Precision::Float16);
        check(&[Float32, Int8], &[Float32], &[Float32], Precision::DynamicRange);
        check(&[Int8, Int32], &[Int8], &[Int8], Precision::FullInteger);
        check(&[Int8, Int32], &[Int8], &[Float32], Precision::FullIntegerFloatIo);
        check(&[Int8, Other(INT64)], &[Int16], &[Float32], Precision::Int16x8);
        check(&[Int8, Other(INT64)], &[Int16], &[Int16], Precision::Int16x8);
    }

    #[test]
    fn a_model_that_is_not_one_thing_is_mixed() {
        check(&[Int8, Float32], &[Int8, Float32], &[Float32], Precision::Mixed);
        check(&[Int8, Float16], &[Float32], &[Float32], Precision::Mixed);
        check(&[Int8], &[Int8, Float32], &[Int8], Precision::Mixed);
        check(&[Other(17)], &[Float32], &[Float32], Precision::Mixed);
    }

    #[test]
    fn a_model_of_one_operation_is_told_by_its_ends() {
        check(&[Int8], &[], &[Int8], Precision::FullInteger);
        check(&[Float32], &[], &[Float32], Precision::Float32);
    }
}
