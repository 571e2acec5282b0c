//! Who may touch what: any number of jobs run from an environment, or one installation changes it.
//!
//! A lock is held by the file's being open. Handed to a program as its standard input (the file is empty), it lasts until
//! that program ends, however we end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Between two looks at a lock that somebody holds.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// A lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it all the time.
    #[error(
        "{} was held for {} s: a job runs from the trainer, or another installation does not end; wait for it and try \
         again (`lslocks` names the process)",
        path.display(), waited.as_secs()
    )]
    Busy {
        /// The lock's file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Its file cannot be used.
    #[error("failed to lock {}: is it writable?", path.display())]
    File {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Takes a lock that others may share. The file must be there, and need not be writable.
pub(super) fn shared(path: &Path, limit: Duration, wait: &mut dyn FnMut()) -> Result<File, LockError> {
    let file = File::open(path).map_err(|source| LockError::File { path: path.to_owned(), source })?;
    take(&file, path, File::try_lock_shared, limit, wait)?;
    Ok(file)
}

/// Takes a lock alone; makes its file. `wait` is called once when somebody else holds it.
pub(super) fn alone(path: &Path, limit: Duration, wait: &mut dyn FnMut()) -> Result<File, LockError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|source| LockError::File { path: path.to_owned(), source })?;
    take(&file, path, File::try_lock, limit, wait)?;
    Ok(file)
}

fn take(
    file: &File,
    path: &Path,
    try_lock: fn(&File) -> Result<(), TryLockError>,
    limit: Duration,
    wait: &mut dyn FnMut(),
) -> Result<(), LockError> {
    let (mut left, mut is_told) = (limit, false);
    loop {
        match try_lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(LockError::File { path: path.to_owned(), source }),
            Err(TryLockError::WouldBlock) => {}
        }
        if left.is_zero() {
            return Err(LockError::Busy { path: path.to_owned(), waited: limit });
        }
        if !std::mem::replace(&mut is_told, true) {
            wait();
        }
        let pause = LOOK_PERIOD.min(left);
        sleep(pause);
        left -= pause;
    }
}
