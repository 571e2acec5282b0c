//! Bytes of an input into the model's input, and the model's output into real values.
//!
//! Plain bytes go through a table of 256 entries, built once with the tensor's own scale and zero point, so that the
//! timed loop neither divides nor rounds.

use tinywatt_proto::inputs::Encoding;

use super::tensor::{Element, Quantisation, TensorInfo};

/// Inputs cannot become this model's input, or its output real values.
#[derive(Debug, thiserror::Error)]
pub enum QuantiseError {
    /// Inputs that are quantised for one int8 model were given to a model of another type.
    #[error("the inputs are quantised already, which only int8 models take; the model takes {0}")]
    NotInt8(&'static str),
    /// The tensor's integers have no meaning.
    #[error("the model's {0} tensor has no scale, so real values cannot be turned into its integers")]
    NoScale(&'static str),
    /// Scale or offset of the inputs is not a number to count with.
    #[error("input scale {scale} and input offset {offset} must be finite numbers")]
    NotFinite {
        /// Scale of the inputs.
        scale: f64,
        /// Offset of the inputs.
        offset: f64,
    },
}

/// Turns one input's bytes into the bytes of the input tensor.
#[derive(Debug)]
pub enum Quantiser {
    /// Hands bytes on.
    Same,
    /// Adds a number to each byte, wrapping: what the table comes to when input and tensor have the same step, as images
    /// mostly do (pixel - 128). Unlike a table it is done for many bytes at once.
    Shift(u8),
    /// One byte out for each byte in.
    Bytes(Box<[u8; 256]>),
    /// One float32 out for each byte in, in the machine's order.
    Floats(Box<[[u8; 4]; 256]>),
}

impl Quantiser {
    /// Makes the quantiser for inputs whose real value is byte × `scale` + `offset`.
    ///
    /// # Errors
    /// Any [`QuantiseError`].
    pub fn new(encoding: Encoding, scale: f64, offset: f64, tensor: &TensorInfo) -> Result<Self, QuantiseError> {
        if encoding == Encoding::Quantised {
            let is_int8 = tensor.element == Element::Int8;
            return if is_int8 { Ok(Self::Same) } else { Err(QuantiseError::NotInt8(tensor.element.name())) };
        }
        if !(scale.is_finite() && offset.is_finite()) {
            return Err(QuantiseError::NotFinite { scale, offset });
        }
        let real = |byte: u8| single(f64::from(byte) * scale + offset);
        if tensor.element == Element::Float32 {
            return Ok(Self::Floats(Box::new(table(|byte| real(byte).to_ne_bytes()))));
        }
        let quantisation = tensor.quantisation.ok_or(QuantiseError::NoScale("input"))?;
        let table: [u8; 256] = table(|byte| quantise(real(byte), quantisation, tensor.element));
        let is_shift = (0..=u8::MAX).zip(table).all(|(byte, entry)| entry == byte.wrapping_add(table[0]));
        Ok(if is_shift { Self::Shift(table[0]) } else { Self::Bytes(Box::new(table)) })
    }

    /// Writes one input; `target` has as many elements as `input` has bytes.
    pub fn apply(&self, input: &[u8], target: &mut [u8]) {
        match self {
            Self::Same => target.copy_from_slice(input),
            Self::Shift(shift) => {
                for (target, &byte) in target.iter_mut().zip(input) {
                    *target = byte.wrapping_add(*shift);
                }
            }
            Self::Bytes(table) => {
                for (target, &byte) in target.iter_mut().zip(input) {
                    *target = table[usize::from(byte)];
                }
            }
            Self::Floats(table) => {
                for (target, &byte) in target.as_chunks_mut::<4>().0.iter_mut().zip(input) {
                    *target = table[usize::from(byte)];
                }
            }
        }
    }
}

fn table<T: Copy + Default>(entry: impl Fn(u8) -> T) -> [T; 256] {
    let mut table = [T::default(); 256];
    for (slot, byte) in table.iter_mut().zip(0..=u8::MAX) {
        *slot = entry(byte);
    }
    table
}

/// The nearest integer step, half away from zero, within the type's range; single precision throughout, as TensorFlow
/// Lite's own quantisation does it.
fn quantise(real: f32, quantisation: Quantisation, element: Element) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates")]
    let steps = (real / quantisation.scale).round() as i64;
    let integer = steps.saturating_add(quantisation.zero_point);
    if element == Element::Int8 {
        let clamped = integer.clamp(i8::MIN.into(), i8::MAX.into());
        i8::try_from(clamped).expect("clamped to its range").to_ne_bytes()[0]
    } else {
        u8::try_from(integer.clamp(0, u8::MAX.into())).expect("clamped to its range")
    }
}

/// Single precision, as the runtime computes.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest, and beyond the range to infinity")]
fn single(real: f64) -> f32 {
    real as f32
}

/// Turns the bytes of the output tensor into real values.
#[derive(Debug)]
pub enum Dequantiser {
    /// Float32 in the machine's order.
    Floats,
    /// One real value for each of the 256 bytes.
    Bytes(Box<[f32; 256]>),
}

impl Dequantiser {
    /// Makes the dequantiser for an output tensor.
    ///
    /// # Errors
    /// When the tensor has integers without a scale.
    pub fn new(tensor: &TensorInfo) -> Result<Self, QuantiseError> {
        if tensor.element == Element::Float32 {
            return Ok(Self::Floats);
        }
        let Quantisation { scale, zero_point } = tensor.quantisation.ok_or(QuantiseError::NoScale("output"))?;
        Ok(Self::Bytes(Box::new(table(|byte| {
            let integer = match tensor.element {
                Element::Int8 => i64::from(i8::from_ne_bytes([byte])),
                Element::Float32 | Element::Uint8 => i64::from(byte),
            };
            single((integer - zero_point) as f64) * scale
        }))))
    }

    /// Writes the real values; `target` has as many elements as the tensor.
    pub fn apply(&self, output: &[u8], target: &mut [f32]) {
        match self {
            Self::Floats => {
                for (target, bytes) in target.iter_mut().zip(output.as_chunks::<4>().0) {
                    *target = f32::from_ne_bytes(*bytes);
                }
            }
            Self::Bytes(table) => {
                for (target, &byte) in target.iter_mut().zip(output) {
                    *target = table[usize::from(byte)];
                }
            }
        }
    }
}

/// Position of the largest value, the lowest of several. `None` when a value is not a number, or there is none.
pub fn largest(values: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if *value > values[best] {
            best = index;
        }
    }
    (!values.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(element: Element, scale: f32, zero_point: i64) -> TensorInfo {
        let quantisation = (element != Element::Float32).then_some(Quantisation { scale, zero_point });
        TensorInfo { element, shape: vec![1, 4], quantisation }
    }

    fn plain(tensor: &TensorInfo, scale: f64, offset: f64, input: &[u8]) -> Vec<u8> {
        let mut target = vec![0; input.len() * tensor.element.size_bytes()];
        Quantiser::new(Encoding::Plain, scale, offset, tensor).expect("fits").apply(input, &mut target);
        target
    }

    #[test]
    fn pixels_of_an_int8_image_model_are_pixel_minus_128() {
        let model = tensor(Element::Int8, 1.0, -128);
        assert_eq!(plain(&model, 1.0, 0.0, &[0, 1, 127, 255]), [0x80, 0x81, 0xff, 0x7f]);
        let quantiser = Quantiser::new(Encoding::Plain, 1.0, 0.0, &model).expect("fits");
        assert!(matches!(quantiser, Quantiser::Shift(0x80)), "{quantiser:?}");
    }

    #[test]
    fn a_shift_that_would_wrap_where_values_are_clamped_is_a_table() {
        let quantiser = Quantiser::new(Encoding::Plain, 1.0, 0.0, &tensor(Element::Int8, 1.0, 0)).expect("fits");
        assert!(matches!(quantiser, Quantiser::Bytes(_)), "{quantiser:?}");
        assert_eq!(plain(&tensor(Element::Int8, 1.0, 0), 1.0, 0.0, &[0, 127, 128, 255]), [0, 127, 127, 127]);
    }

    #[test]
    fn halves_round_away_from_zero() {
        // Real values -1.5, -0.5, 0.5, 1.5 in steps of 1.
        let model = tensor(Element::Int8, 1.0, 0);
        assert_eq!(plain(&model, 1.0, -1.5, &[0, 1, 2, 3]), [(-2i8).to_ne_bytes()[0], (-1i8).to_ne_bytes()[0], 1, 2]);
    }

    #[test]
    fn values_beyond_the_range_are_clamped() {
        assert_eq!(plain(&tensor(Element::Int8, 0.1, 0), 1.0, -100.0, &[0, 255]), [0x80, 0x7f]);
        assert_eq!(plain(&tensor(Element::Uint8, 0.1, 3), 1.0, -100.0, &[0, 255]), [0, 255]);
        assert_eq!(plain(&tensor(Element::Uint8, 1e-30, 3), 1e30, 0.0, &[1]), [255]);
    }

    #[test]
    fn float_models_get_the_real_value() {
        let bytes = plain(&tensor(Element::Float32, 0.0, 0), 1.0 / 16.0, -0.5, &[0, 16]);
        assert_eq!(bytes, [(-0.5f32).to_ne_bytes(), 0.5f32.to_ne_bytes()].concat());
    }

    #[test]
    fn quantised_inputs_are_handed_on_to_int8_models_and_refused_by_others() {
        let quantiser = Quantiser::new(Encoding::Quantised, 1.0, 0.0, &tensor(Element::Int8, 0.5, 9)).expect("int8");
        let mut target = [0; 3];
        quantiser.apply(&[0x80, 0, 0x7f], &mut target);
        assert_eq!(target, [0x80, 0, 0x7f]);
        for element in [Element::Float32, Element::Uint8] {
            let error = Quantiser::new(Encoding::Quantised, 1.0, 0.0, &tensor(element, 0.5, 9)).expect_err("not int8");
            assert!(error.to_string().contains(element.name()), "{error}");
        }
    }

    #[test]
    fn integers_without_scale_and_scales_without_number_are_refused() {
        let bare = TensorInfo { quantisation: None, ..tensor(Element::Int8, 1.0, 0) };
        assert!(matches!(Quantiser::new(Encoding::Plain, 1.0, 0.0, &bare), Err(QuantiseError::NoScale("input"))));
        assert!(matches!(Dequantiser::new(&bare), Err(QuantiseError::NoScale("output"))));
        let float = tensor(Element::Float32, 0.0, 0);
        for (scale, offset) in [(f64::NAN, 0.0), (1.0, f64::INFINITY)] {
            assert!(Quantiser::new(Encoding::Plain, scale, offset, &float).is_err());
        }
    }

    #[test]
    fn outputs_become_real_values() {
        let mut values = [0.0; 3];
        Dequantiser::new(&tensor(Element::Int8, 1.0 / 256.0, -128))
            .expect("scale")
            .apply(&[0x80, 0, 0x7f], &mut values);
        assert_eq!(values, [0.0, 0.5, 255.0 / 256.0]);
        Dequantiser::new(&tensor(Element::Uint8, 0.5, 10)).expect("scale").apply(&[0, 10, 255], &mut values);
        assert_eq!(values, [-5.0, 0.0, 122.5]);
        let bytes = [1.0f32, -2.0, 3.5].map(f32::to_ne_bytes).concat();
        Dequantiser::new(&tensor(Element::Float32, 0.0, 0)).expect("float").apply(&bytes, &mut values);
        assert_eq!(values, [1.0, -2.0, 3.5]);
    }

    #[test]
    fn the_first_of_equal_values_wins_and_nan_has_no_answer() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(largest(&[-1.0]), Some(0));
        assert_eq!(largest(&[1.0, f32::NAN]), None);
        assert_eq!(largest(&[f32::NAN]), None);
        assert_eq!(largest(&[]), None);
    }
}
