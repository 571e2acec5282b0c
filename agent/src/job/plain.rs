//! Opens what a job left, and only plain files of its own folder: no link that leads elsewhere, no pipe that would be
//! waited on, no device. A further name of a file elsewhere (a hard link) is a plain file: a job runs as the agent's
//! user, who could copy it as well.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Why something is not opened. Goes on after "it" or a name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotPlain {
    #[error("is not there")]
    Missing,
    #[error("is a symbolic link")]
    Link,
    #[error("is no {0}")]
    Other(&'static str),
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

/// Opens a plain file to be read.
pub(super) fn open_file(folder: impl AsFd, name: &Path) -> Result<File, NotPlain> {
    let file = File::from(open(folder, name, OFlags::NONBLOCK | OFlags::NOCTTY, "file")?);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(NotPlain::Other("file")),
        Err(error) => Err(NotPlain::Unreadable(error)),
    }
}

/// Opens a folder.
pub(super) fn open_folder(folder: impl AsFd, name: &Path) -> Result<OwnedFd, NotPlain> {
    open(folder, name, OFlags::DIRECTORY, "folder")
}

fn open(folder: impl AsFd, name: &Path, flags: OFlags, what: &'static str) -> Result<OwnedFd, NotPlain> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => NotPlain::Missing,
        Errno::LOOP => NotPlain::Link,
        // Of a folder's flags; a link to one gives the same. And what is opened of a socket.
        Errno::NOTDIR | Errno::NXIO => NotPlain::Other(what),
        error => NotPlain::Unreadable(error.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_plain_files_and_folders_are_opened_and_nothing_is_waited_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "content").expect("written");
        fs::create_dir(at("folder")).expect("made");
        symlink(at("file"), at("link")).expect("made");
        symlink(at("folder"), at("link-to-folder")).expect("made");
        // Nobody writes into it: whoever opens it without care waits for ever.
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");

        let open = |name: &str| open_file(CWD, &at(name)).map(drop).map_err(|error| error.to_string());
        assert_eq!(open("file"), Ok(()));
        for (name, problem) in [
            ("none", "is not there"),
            ("link", "is a symbolic link"),
            ("folder", "is no file"),
            ("pipe", "is no file"),
            ("socket", "is no file"),
        ] {
            assert_eq!(open(name), Err(problem.to_owned()), "{name}");
        }
        assert!(matches!(open_file(CWD, Path::new("/dev/null")), Err(NotPlain::Other("file"))));
        let open = |name: &str| open_folder(CWD, &at(name)).map(drop).map_err(|error| error.to_string());
        assert_eq!(open("folder"), Ok(()));
        for (name, problem) in [("none", "is not there"), ("file", "is no folder"), ("link-to-folder", "is no folder")]
        {
            assert_eq!(open(name), Err(problem.to_owned()), "{name}");
        }
    }
}
