//! Tensors as a model file declares them.

use std::fmt;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// 32-bit float.
    Float32,
    /// 16-bit float.
    Float16,
    /// Signed byte.
    Int8,
    /// Unsigned byte.
    Uint8,
    /// 16-bit integer.
    Int16,
    /// 32-bit integer.
    Int32,
    /// Any other, by its number in the format's schema.
    Other(u8),
}

impl Element {
    /// Takes the number that `TensorType` of the format's schema gives it.
    pub(super) fn from_schema(number: u8) -> Self {
        match number {
            0 => Self::Float32,
            1 => Self::Float16,
            2 => Self::Int32,
            3 => Self::Uint8,
            7 => Self::Int16,
            9 => Self::Int8,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float32 => f.pad("float32"),
            Self::Float16 => f.pad("float16"),
            Self::Int8 => f.pad("int8"),
            Self::Uint8 => f.pad("uint8"),
            Self::Int16 => f.pad("int16"),
            Self::Int32 => f.pad("int32"),
            Self::Other(number) => write!(f, "element type {number}"),
        }
    }
}

/// Real value = (byte − zero point) × scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantisation {
    /// Step of the real value.
    pub scale: f32,
    /// Number that stands for 0.
    pub zero_point: i64,
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name in the file; may be empty.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Dimensions with the batch first; `None` where the file leaves one open.
    pub shape: Vec<Option<u32>>,
    /// For the whole tensor; absent for floats and for tensors quantised per channel.
    pub quantisation: Option<Quantisation>,
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.element)?;
        for (position, dimension) in self.shape.iter().enumerate() {
            let cross = if position == 0 { "" } else { "×" };
            match dimension {
                Some(dimension) => write!(f, "{cross}{dimension}")?,
                None => write!(f, "{cross}?")?,
            }
        }
        Ok(())
    }
}
