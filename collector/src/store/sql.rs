//! The small seam between the wire's unsigned integers and SQLite's signed ones.

use rusqlite::types::Type;
use rusqlite::{Error, Row};
use tinywatt_proto::ids::{BootId, NodeId};

/// Largest integer a column holds.
pub(super) const INTEGER_MAX: u64 = i64::MAX.unsigned_abs();

/// A value for a column. Records are refused beyond [`INTEGER_MAX`] before they get here; a wall clock gets there in
/// the year 2262.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A column that a `CHECK` keeps from being negative.
pub(super) fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(index, value))
}

/// A column with a boot id.
pub(super) fn boot_id(row: &Row<'_>, index: usize) -> rusqlite::Result<BootId> {
    let bytes: [u8; 16] = row.get(index)?;
    Ok(BootId::from_bytes(&bytes).expect("16 bytes are a boot id"))
}

/// A column with a node's name.
pub(super) fn node(row: &Row<'_>, index: usize) -> rusqlite::Result<NodeId> {
    let name: String = row.get(index)?;
    name.parse().map_err(|source| unreadable(index, source))
}

/// A column with an encoded message.
pub(super) fn message<M: prost::Message + Default>(row: &Row<'_>, index: usize) -> rusqlite::Result<M> {
    let bytes = row.get_ref(index)?.as_blob()?;
    M::decode(bytes).map_err(|source| unreadable(index, source))
}

/// The error for a column whose content is not what the writer writes.
pub(super) fn unreadable(index: usize, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(index, Type::Blob, Box::new(source))
}
