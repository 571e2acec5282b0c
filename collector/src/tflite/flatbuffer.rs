//! Just enough of FlatBuffers to walk tables and vectors without trusting a byte of the file.
//!
//! Every offset is checked before it is followed; no input makes this code panic or loop. Numbers are little-endian.
//! Layout: <https://flatbuffers.dev/internals>.

use std::borrow::Cow;

/// The file breaks the FlatBuffer layout.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("byte {at}: {what}")]
pub struct Malformed {
    /// Place in the file.
    pub at: usize,
    /// What is wrong there.
    pub what: Cow<'static, str>,
}

/// A table: fields are found through its vtable and may be absent.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    vtable_at: usize,
    vtable_bytes: usize,
}

/// A vector of elements of one size, or of offsets to tables.
#[derive(Clone, Copy)]
pub(super) struct Vector<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
}

/// Bytes before the fields of a vtable: its own size and the table's size.
const VTABLE_HEADER_BYTES: usize = 4;

impl<'a> Table<'a> {
    /// The table that a file begins with.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Result<Self, Malformed> {
        let back = i32::from_le_bytes(array(bytes, at)?);
        let outside = Malformed { at, what: "a table's layout lies outside the file".into() };
        let position = i64::try_from(at).ok().and_then(|at| at.checked_sub(back.into()));
        let Some(vtable_at) = position.and_then(|position| usize::try_from(position).ok()) else {
            return Err(outside);
        };
        let vtable_bytes = usize::from(u16::from_le_bytes(array(bytes, vtable_at)?));
        let table_bytes = usize::from(u16::from_le_bytes(array(bytes, vtable_at.saturating_add(2))?));
        if vtable_bytes < VTABLE_HEADER_BYTES || !vtable_bytes.is_multiple_of(2) {
            return Err(Malformed { at: vtable_at, what: "a table's layout has an impossible size".into() });
        }
        slice(bytes, vtable_at, vtable_bytes)?;
        slice(bytes, at, table_bytes)?;
        Ok(Self { bytes, at, vtable_at, vtable_bytes })
    }

    /// Place of a field; `None` when the table does not carry it.
    fn field(self, index: usize) -> Result<Option<usize>, Malformed> {
        let entry = VTABLE_HEADER_BYTES + 2 * index;
        if entry >= self.vtable_bytes {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(array(self.bytes, self.vtable_at + entry)?);
        Ok(if offset == 0 { None } else { Some(self.at.saturating_add(offset.into())) })
    }

    /// A byte, 0 when absent.
    pub(super) fn u8(self, index: usize) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.scalar(index)?))
    }

    /// A 32-bit number, 0 when absent.
    pub(super) fn u32(self, index: usize) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.scalar(index)?))
    }

    /// A 64-bit number, 0 when absent.
    pub(super) fn u64(self, index: usize) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.scalar(index)?))
    }

    fn scalar<const N: usize>(self, index: usize) -> Result<[u8; N], Malformed> {
        self.field(index)?.map_or(Ok([0; N]), |at| array(self.bytes, at))
    }

    /// A table behind a field.
    pub(super) fn table(self, index: usize) -> Result<Option<Table<'a>>, Malformed> {
        let Some(at) = self.field(index)? else { return Ok(None) };
        Table::at(self.bytes, follow(self.bytes, at)?).map(Some)
    }

    /// A vector of elements of `element_bytes`, empty when absent. All of it lies inside the file.
    pub(super) fn vector(self, index: usize, element_bytes: usize) -> Result<Vector<'a>, Malformed> {
        let Some(field_at) = self.field(index)? else {
            return Ok(Vector { bytes: self.bytes, at: 0, count: 0 });
        };
        let at = follow(self.bytes, field_at)?;
        let count = u32::from_le_bytes(array(self.bytes, at)?) as usize;
        let first = at.saturating_add(4);
        slice(self.bytes, first, count.saturating_mul(element_bytes))?;
        Ok(Vector { bytes: self.bytes, at: first, count })
    }

    /// A vector of tables, empty when absent.
    pub(super) fn tables(self, index: usize) -> Result<Vec<Table<'a>>, Malformed> {
        let vector = self.vector(index, 4)?;
        (0..vector.count).map(|entry| Table::at(self.bytes, follow(self.bytes, vector.at + 4 * entry)?)).collect()
    }

    /// Place of the table in the file.
    pub(super) fn place(self) -> usize {
        self.at
    }
}

impl<'a> Vector<'a> {
    /// The elements of a vector of bytes.
    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.bytes.get(self.at..self.at.saturating_add(self.count)).unwrap_or_default()
    }

    /// Number of elements.
    pub(super) fn count(self) -> usize {
        self.count
    }

    /// Element `index` of a vector of 4-byte elements.
    pub(super) fn four(self, index: usize) -> Result<[u8; 4], Malformed> {
        array(self.bytes, self.at.saturating_add(index.saturating_mul(4)))
    }

    /// Element `index` of a vector of 8-byte elements.
    pub(super) fn eight(self, index: usize) -> Result<[u8; 8], Malformed> {
        array(self.bytes, self.at.saturating_add(index.saturating_mul(8)))
    }

    /// Place of the first element.
    pub(super) fn place(self) -> usize {
        self.at
    }
}

/// Follows the offset at `at`, which counts from its own place.
fn follow(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let offset = u32::from_le_bytes(array(bytes, at)?) as usize;
    if offset == 0 {
        return Err(Malformed { at, what: "an offset points at itself".into() });
    }
    let target = at.saturating_add(offset);
    if target >= bytes.len() {
        return Err(Malformed {
            at,
            what: format!("points beyond the end of the file ({} bytes)", bytes.len()).into(),
        });
    }
    Ok(target)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let mut found = [0; N];
    found.copy_from_slice(slice(bytes, at, N)?);
    Ok(found)
}

fn slice(bytes: &[u8], at: usize, count: usize) -> Result<&[u8], Malformed> {
    bytes.get(at..at.saturating_add(count)).ok_or_else(|| Malformed {
        at,
        what: format!("this part reaches beyond the end of the file ({} bytes)", bytes.len()).into(),
    })
}
