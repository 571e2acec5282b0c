//! Reads arrays of small whole numbers out of MATLAB files of version 5, plain or compressed. Believes nothing in them.
//!
//! Layout: "MAT-File Format" (The MathWorks), chapter 1: 128 bytes of header, then elements of a tag (type and bytes, both
//! `u32`) and data. An array is an element that holds elements: flags, dimensions, name, values in column order.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use flate2::bufread::ZlibDecoder;

/// An array's values, first dimension innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) dimensions: Vec<u32>,
    pub(super) values: Vec<u8>,
}

/// A file is not a MATLAB file that can be read here.
#[derive(Debug, thiserror::Error)]
pub enum MatlabError {
    /// The header is another one, or there is none.
    #[error("it is not a MATLAB file of version 5 (its header does not end in version 1 and `IM`)")]
    Header,
    /// Files of MATLAB 7.3 have another layout.
    #[error("it is a file of MATLAB 7.3, which is HDF5 and not read here; save it with `-v7`")]
    Hdf5,
    /// A variable breaks the layout.
    #[error("its variable at byte {at} is damaged: {what}")]
    Damaged {
        /// Place in the file.
        at: u64,
        /// What is wrong.
        what: Cow<'static, str>,
    },
    /// A variable cannot be read to its end.
    #[error("its variable at byte {at} cannot be read: {source}")]
    Read {
        /// Place in the file.
        at: u64,
        /// Why; a file that is cut short ends here.
        #[source]
        source: io::Error,
    },
    /// A variable is not there.
    #[error("it has no variable '{0}'")]
    Missing(&'static str),
    /// A variable is another than it should be.
    #[error("its variable '{name}' {problem}")]
    Unsuitable {
        /// Variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

const HEADER_BYTES: usize = 128;
/// Version 1.0 and the letters `MI` as a little-endian machine writes them.
const VERSION: [u8; 4] = [0x00, 0x01, b'I', b'M'];
const VERSION_HDF5: [u8; 4] = [0x00, 0x02, b'I', b'M'];
const TAG_BYTES: u64 = 8;
/// Parts of an array begin at multiples of this.
const ALIGNMENT: u64 = 8;
/// Flags, dimensions and names of the arrays read here take far less.
const SMALL_PART_BYTES_MAX: u64 = 4096;

/// Types of elements.
mod element {
    pub(super) const INT8: u32 = 1;
    pub(super) const UINT8: u32 = 2;
    pub(super) const INT16: u32 = 3;
    pub(super) const UINT16: u32 = 4;
    pub(super) const INT32: u32 = 5;
    pub(super) const UINT32: u32 = 6;
    pub(super) const SINGLE: u32 = 7;
    pub(super) const DOUBLE: u32 = 9;
    pub(super) const MATRIX: u32 = 14;
    pub(super) const COMPRESSED: u32 = 15;
}

/// Classes of arrays that hold numbers, double to 64-bit integers.
const NUMERIC_CLASSES: std::ops::RangeInclusive<u8> = 6..=15;
const COMPLEX: u8 = 0x08;

/// What stands in the way; the place is added where it is known.
enum Problem {
    Read(io::Error),
    Damaged(Cow<'static, str>),
    Unsuitable(&'static str, String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Reads the named arrays, in the order of their names. Other variables are passed over.
///
/// # Errors
/// Any [`MatlabError`]; more than `values_max` values, or bytes of values, in an array are refused.
pub(super) fn arrays<const N: usize>(
    mut reader: impl BufRead,
    names: [&'static str; N],
    values_max: u64,
) -> Result<[Array; N], MatlabError> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).map_err(|_| MatlabError::Header)?;
    match header[HEADER_BYTES - 4..] {
        ref ending if ending == VERSION => {}
        ref ending if ending == VERSION_HDF5 => return Err(MatlabError::Hdf5),
        _ => return Err(MatlabError::Header),
    }
    let mut found = names.map(|_| None);
    let mut at = HEADER_BYTES as u64;
    while !reader.fill_buf().map_err(|source| MatlabError::Read { at, source })?.is_empty() {
        let located = |problem| match problem {
            Problem::Read(source) => MatlabError::Read { at, source },
            Problem::Damaged(what) => MatlabError::Damaged { at, what },
            Problem::Unsuitable(name, problem) => MatlabError::Unsuitable { name, problem },
        };
        let (bytes, array) = variable(&mut reader, &names, values_max).map_err(located)?;
        at += TAG_BYTES + bytes;
        if let Some((index, array)) = array
            && found[index].replace(array).is_some()
        {
            return Err(MatlabError::Unsuitable { name: names[index], problem: "is there twice".to_owned() });
        }
    }
    for (array, name) in found.iter().zip(names) {
        if array.is_none() {
            return Err(MatlabError::Missing(name));
        }
    }
    Ok(found.map(|array| array.expect("the loop above has left when one was missing")))
}

/// Reads one variable: the bytes behind its tag, and the array with its place in `names` when it is asked for.
fn variable(
    reader: &mut impl BufRead,
    names: &[&'static str],
    values_max: u64,
) -> Result<(u64, Option<(usize, Array)>), Problem> {
    let (kind, bytes) = tag(reader)?;
    let mut content = reader.take(bytes);
    let array = match kind {
        element::MATRIX => array(&mut content, names, values_max)?,
        element::COMPRESSED => {
            let mut inflated = ZlibDecoder::new(&mut content);
            let (kind, inflated_bytes) = tag(&mut inflated)?;
            if kind != element::MATRIX {
                return Err(Problem::Damaged(format!("it holds an element of type {kind} instead of an array").into()));
            }
            let array = {
                let mut matrix = (&mut inflated).take(inflated_bytes);
                let array = array(&mut matrix, names, values_max)?;
                ended(&mut matrix)?;
                array
            };
            // Only reading to the end compares the check sum.
            if io::copy(&mut inflated, &mut io::sink())? > 0 {
                return Err(Problem::Damaged("its compressed data hold more than the array".into()));
            }
            array
        }
        other => return Err(Problem::Damaged(format!("an element of type {other} is no variable").into())),
    };
    ended(&mut content)?;
    Ok((bytes, array))
}

/// Reads the content of an array; one that is not asked for is read to its end.
fn array(
    content: &mut io::Take<impl Read>,
    names: &[&'static str],
    values_max: u64,
) -> Result<Option<(usize, Array)>, Problem> {
    let (kind, flags) = part(content, SMALL_PART_BYTES_MAX)?;
    let (element::UINT32, &[class, flags, ..]) = (kind, flags.as_slice()) else {
        return Err(Problem::Damaged("it does not begin with the flags of an array".into()));
    };
    let (kind, dimensions) = part(content, SMALL_PART_BYTES_MAX)?;
    if kind != element::INT32 || dimensions.len() % 4 != 0 {
        return Err(Problem::Damaged("its dimensions are not 32-bit numbers".into()));
    }
    let dimension = |four: &[u8]| u32::try_from(i32::from_le_bytes([four[0], four[1], four[2], four[3]])).ok();
    let dimensions = dimensions.chunks_exact(4).map(dimension).collect::<Option<Vec<u32>>>();
    let dimensions = dimensions.ok_or(Problem::Damaged("a dimension is negative".into()))?;
    let (kind, name) = part(content, SMALL_PART_BYTES_MAX)?;
    if kind != element::INT8 {
        return Err(Problem::Damaged("its name is not text".into()));
    }
    let Some(index) = names.iter().position(|wanted| wanted.as_bytes() == name) else {
        let rest = content.limit();
        if io::copy(content, &mut io::sink())? < rest {
            return Err(Problem::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        return Ok(None);
    };
    let unsuitable = |problem: String| Problem::Unsuitable(names[index], problem);
    if !NUMERIC_CLASSES.contains(&class) || flags & COMPLEX != 0 {
        return Err(unsuitable("holds no real numbers".to_owned()));
    }
    let count = dimensions.iter().try_fold(1u64, |count, &dimension| count.checked_mul(dimension.into()));
    let Some(count) = count.filter(|&count| count <= values_max) else {
        return Err(unsuitable(format!("has more than {values_max} values")));
    };
    let (kind, values) = part(content, count.saturating_mul(8).min(values_max))?;
    let values = bytes(kind, values).ok_or_else(|| unsuitable("holds other values than 0 to 255".to_owned()))?;
    if values.len() as u64 != count {
        return Err(Problem::Damaged(format!("its dimensions ask for {count} values, it has {}", values.len()).into()));
    }
    Ok(Some((index, Array { dimensions, values })))
}

/// Reads a part of an array, and what fills it up to the next multiple of eight.
fn part(reader: &mut impl Read, bytes_max: u64) -> Result<(u32, Vec<u8>), Problem> {
    let (kind, bytes) = tag(reader)?;
    // A part of up to four bytes may stand in the tag itself, its size in the upper half of the type.
    let (small, kind) = (kind >> 16, kind & 0xffff);
    if small > 4 {
        return Err(Problem::Damaged("a part of four bytes at most says that it is larger".into()));
    }
    if small > 0 {
        let four = u32::try_from(bytes).expect("a tag's size has 32 bits").to_le_bytes();
        return Ok((kind, four[..small as usize].to_vec()));
    }
    if bytes > bytes_max {
        return Err(Problem::Damaged(format!("a part has {bytes} bytes, and at most {bytes_max} can be right").into()));
    }
    let mut data = Vec::new();
    reader.take(bytes).read_to_end(&mut data)?;
    let padding = bytes.next_multiple_of(ALIGNMENT) - bytes;
    if data.len() as u64 != bytes || io::copy(&mut reader.take(padding), &mut io::sink())? != padding {
        return Err(Problem::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok((kind, data))
}

fn tag(reader: &mut impl Read) -> Result<(u32, u64), Problem> {
    let mut tag = [0; 8];
    reader.read_exact(&mut tag)?;
    let [a, b, c, d, e, f, g, h] = tag;
    Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]).into()))
}

fn ended(content: &mut io::Take<impl Read>) -> Result<(), Problem> {
    if content.limit() == 0 { Ok(()) } else { Err(Problem::Damaged("bytes are left over behind its values".into())) }
}

/// Values as bytes; `None` when one does not fit or the type holds no numbers. MATLAB stores numbers of any class in the
/// smallest type that takes them.
fn bytes(kind: u32, data: Vec<u8>) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 255")]
    fn whole(value: f64) -> Option<u8> {
        let fits = (0.0..=255.0).contains(&value) && value.fract() == 0.0;
        fits.then_some(value as u8)
    }
    match kind {
        element::UINT8 => Some(data),
        element::INT8 => data.iter().all(|&byte| byte < 0x80).then_some(data),
        element::INT16 => chunks(&data, |two| u8::try_from(i16::from_le_bytes(two)).ok()),
        element::UINT16 => chunks(&data, |two| u8::try_from(u16::from_le_bytes(two)).ok()),
        element::INT32 => chunks(&data, |four| u8::try_from(i32::from_le_bytes(four)).ok()),
        element::UINT32 => chunks(&data, |four| u8::try_from(u32::from_le_bytes(four)).ok()),
        element::SINGLE => chunks(&data, |four| whole(f32::from_le_bytes(four).into())),
        element::DOUBLE => chunks(&data, |eight| whole(f64::from_le_bytes(eight))),
        _ => None,
    }
}

fn chunks<const N: usize>(data: &[u8], byte: impl Fn([u8; N]) -> Option<u8>) -> Option<Vec<u8>> {
    let (chunks, rest) = data.as_chunks();
    if rest.is_empty() { chunks.iter().map(|&chunk| byte(chunk)).collect() } else { None }
}

#[cfg(test)]
pub(in crate::dataset) mod tests;
