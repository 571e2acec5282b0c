//! Takes the files that are read out of a checked archive, and nothing else: known names, known sizes, plain files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::FetchError;

/// What an archive holds beside the files that are wanted, at most: headers, padding and a page of explanation.
const OTHER_BYTES_MAX: u64 = 1 << 20;

/// Whether a folder has all files in their sizes.
pub(super) fn is_whole(folder: &Path, files: &[(&str, u64)]) -> bool {
    files.iter().all(|(name, bytes)| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() == *bytes))
}

/// Unpacks `inner/NAME` for each file into the folder `inner` of `folder`, which appears when it is whole.
pub(super) fn unpack(archive: &Path, folder: &Path, inner: &str, files: &[(&str, u64)]) -> Result<(), FetchError> {
    let bytes = files.iter().map(|(_, bytes)| bytes).sum::<u64>();
    let part = folder.join(format!("{inner}.part"));
    let target = folder.join(inner);
    let write = |path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::Write { path, bytes, source }
    };
    remove_folder(&part).map_err(write(&part))?;
    fs::create_dir(&part).map_err(write(&part))?;
    let damaged = |source| FetchError::Unpack { path: archive.to_owned(), source };
    let file = File::open(archive).map_err(damaged)?;
    // A decoder that is asked for more than this gives no more: an archive that is larger is cut, and so found out.
    let content = GzDecoder::new(file).take(bytes + OTHER_BYTES_MAX);
    let mut tar = tar::Archive::new(content);
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let Some((name, bytes)) = files.iter().find(|(name, _)| path == Path::new(inner).join(name)) else { continue };
        if !entry.header().entry_type().is_file() || entry.size() != *bytes {
            let problem = format!("{} is not a file of {bytes} bytes", path.display());
            return Err(damaged(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let unpacked = part.join(name);
        let mut file = File::create(&unpacked).map_err(write(&unpacked))?;
        copy(&mut entry, &mut file).map_err(|failed| match failed {
            Copy::Read(source) => damaged(source),
            Copy::Write(source) => write(&unpacked)(source),
        })?;
    }
    if let Some((name, bytes)) = files.iter().find(|file| !is_whole(&part, &[**file])) {
        let problem = format!("{inner}/{name} is not in it with all its {bytes} bytes");
        return Err(damaged(io::Error::new(io::ErrorKind::InvalidData, problem)));
    }
    remove_folder(&target).map_err(write(&target))?;
    fs::rename(&part, &target).map_err(write(&target))
}

enum Copy {
    Read(io::Error),
    Write(io::Error),
}

/// Like `io::copy`, and tells which side failed.
fn copy(source: &mut impl Read, target: &mut File) -> Result<(), Copy> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = source.read(&mut piece).map_err(Copy::Read)?;
        if count == 0 {
            return target.sync_all().map_err(Copy::Write);
        }
        io::Write::write_all(target, &piece[..count]).map_err(Copy::Write)?;
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
