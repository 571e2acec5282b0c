//! The input set: what a model is asked, and the right answers, as one artifact.
//!
//! Layout, little-endian: the magic `TWIN`, version 1 as `u32`, then `u32` each: encoding (0 plain, 1 quantised),
//! class count, input count, rank, and the dimensions of one input without the batch; then one `u32` label per input;
//! then the inputs, one byte per element, innermost dimension last (channels last for images).

/// How the bytes of an input become the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Unsigned bytes, real value = byte × scale + offset; the runtime quantises them with the tensor's own scale.
    Plain,
    /// Signed bytes that already carry the model's own quantisation, handed on as they are.
    Quantised,
}

/// A data set's test inputs with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSet {
    encoding: Encoding,
    class_count: u32,
    shape: Vec<u32>,
    labels: Vec<u32>,
    data: Vec<u8>,
}

/// Bytes are not an input set.
#[derive(Debug, thiserror::Error)]
pub enum InputSetError {
    /// The magic or the version is another one.
    #[error("not an input set of version 1")]
    Magic,
    /// The file ends too early, or has bytes left over.
    #[error("an input set of {expected} bytes was announced, {found} are there")]
    Length {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The header cannot be true.
    #[error("the header is not plausible: {0}")]
    Header(&'static str),
    /// A label names no class.
    #[error("input {index} has label {label}, and there are {class_count} classes")]
    Label {
        /// Position of the input.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        class_count: u32,
    },
}

const MAGIC: &[u8; 4] = b"TWIN";
const VERSION: u32 = 1;
const RANK_MAX: usize = 8;

impl InputSet {
    /// Puts a set together. `data` holds the inputs one after another.
    ///
    /// # Errors
    /// When the parts do not fit each other, or there is no input.
    pub fn new(
        encoding: Encoding,
        class_count: u32,
        shape: Vec<u32>,
        labels: Vec<u32>,
        data: Vec<u8>,
    ) -> Result<Self, InputSetError> {
        if labels.is_empty() {
            return Err(InputSetError::Header("no inputs"));
        }
        if class_count == 0 {
            return Err(InputSetError::Header("no classes"));
        }
        if shape.is_empty() || shape.len() > RANK_MAX || shape.contains(&0) {
            return Err(InputSetError::Header("an input must have 1 to 8 dimensions, none of them 0"));
        }
        let input_bytes = shape.iter().try_fold(1u64, |bytes, &dimension| bytes.checked_mul(dimension.into()));
        let expected = input_bytes
            .and_then(|bytes| bytes.checked_mul(labels.len() as u64))
            .ok_or(InputSetError::Header("dimensions beyond 64 bits"))?;
        if expected != data.len() as u64 {
            return Err(InputSetError::Length { expected, found: data.len() as u64 });
        }
        check_labels(class_count, &labels)?;
        Ok(Self { encoding, class_count, shape, labels, data })
    }

    /// Reads the artifact's bytes.
    ///
    /// # Errors
    /// Any [`InputSetError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InputSetError> {
        let mut reader = Reader { bytes, position: 0 };
        let Head { encoding, class_count, shape, labels } = reader.head()?;
        Self::new(encoding, class_count, shape, labels, reader.rest().to_vec())
    }

    /// Reads the number of classes and the labels alone, for which the beginning of an artifact's bytes is enough.
    ///
    /// # Errors
    /// Any [`InputSetError`] of what stands before the inputs.
    pub fn labels_from_bytes(bytes: &[u8]) -> Result<(u32, Vec<u32>), InputSetError> {
        let Head { class_count, labels, .. } = Reader { bytes, position: 0 }.head()?;
        check_labels(class_count, &labels)?;
        Ok((class_count, labels))
    }

    /// The artifact's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoding = match self.encoding {
            Encoding::Plain => 0u32,
            Encoding::Quantised => 1,
        };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut bytes = MAGIC.to_vec();
        let header = [VERSION, encoding, self.class_count, count(self.labels.len()), count(self.shape.len())];
        for number in header.iter().chain(&self.shape).chain(&self.labels) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// How the bytes become the model's input.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Number of classes; labels are below it.
    pub fn class_count(&self) -> u32 {
        self.class_count
    }

    /// Dimensions of one input, without the batch.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// Right answers, one per input.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Bytes of input `index`, one per element.
    ///
    /// # Panics
    /// When there is no such input.
    pub fn input(&self, index: usize) -> &[u8] {
        let bytes = self.data.len() / self.labels.len();
        &self.data[index * bytes..][..bytes]
    }
}

fn check_labels(class_count: u32, labels: &[u32]) -> Result<(), InputSetError> {
    match labels.iter().enumerate().find(|&(_, &label)| label >= class_count) {
        Some((index, &label)) => Err(InputSetError::Label { index, label, class_count }),
        None => Ok(()),
    }
}

/// What stands before the inputs.
struct Head {
    encoding: Encoding,
    class_count: u32,
    shape: Vec<u32>,
    labels: Vec<u32>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], InputSetError> {
        let end = self.position.saturating_add(count);
        let taken = self
            .bytes
            .get(self.position..end)
            .ok_or(InputSetError::Length { expected: end as u64, found: self.bytes.len() as u64 })?;
        self.position = end;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, InputSetError> {
        if self.take(4)? != MAGIC || self.number()? != VERSION {
            return Err(InputSetError::Magic);
        }
        let encoding = match self.number()? {
            0 => Encoding::Plain,
            1 => Encoding::Quantised,
            _ => return Err(InputSetError::Header("unknown encoding")),
        };
        let class_count = self.number()?;
        let input_count = self.number()? as usize;
        let rank = self.number()? as usize;
        if rank > RANK_MAX {
            return Err(InputSetError::Header("an input must have 1 to 8 dimensions, none of them 0"));
        }
        let shape = (0..rank).map(|_| self.number()).collect::<Result<Vec<_>, _>>()?;
        let label_bytes = self.take(input_count.saturating_mul(4))?;
        let labels = label_bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        Ok(Head { encoding, class_count, shape, labels: labels.collect() })
    }

    fn number(&mut self) -> Result<u32, InputSetError> {
        let four = self.take(4)?;
        Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> InputSet {
        InputSet::new(Encoding::Plain, 3, vec![2, 2, 1], vec![0, 2], (0..8).collect()).expect("fits")
    }

    #[test]
    fn an_input_set_survives_its_bytes() {
        let set = small();
        assert_eq!(InputSet::from_bytes(&set.to_bytes()).expect("own bytes"), set);
        assert_eq!(set.input(1), [4, 5, 6, 7]);
    }

    #[test]
    fn cut_anywhere_it_is_refused() {
        let bytes = small().to_bytes();
        for end in 0..bytes.len() {
            assert!(InputSet::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(matches!(InputSet::from_bytes(&longer), Err(InputSetError::Length { expected: 8, found: 9 })));
    }

    #[test]
    fn labels_stand_before_the_inputs() {
        let bytes = small().to_bytes();
        let head = bytes.len() - 8;
        assert_eq!(InputSet::labels_from_bytes(&bytes[..head]).expect("all labels"), (3, vec![0, 2]));
        for end in 0..head {
            assert!(InputSet::labels_from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut wrong = bytes;
        wrong[head - 4] = 3;
        assert!(matches!(InputSet::labels_from_bytes(&wrong), Err(InputSetError::Label { index: 1, label: 3, .. })));
    }

    #[test]
    fn a_label_without_class_is_refused() {
        let error = InputSet::new(Encoding::Plain, 2, vec![1], vec![0, 2], vec![0, 0]).expect_err("label 2 of 2");
        assert_eq!(error.to_string(), "input 1 has label 2, and there are 2 classes");
    }
}
