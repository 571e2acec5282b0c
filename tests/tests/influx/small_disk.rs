//! A disk of a few megabytes, that can be filled and freed: a tmpfs in a mount namespace of its own, which needs no root
//! where the kernel lets users have namespaces.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tinywatt_tests::wait_for;

/// Size of the disk, MB: a server's empty database takes 1 MB, a test's samples 20.
const DISK_MEGABYTES: u64 = 96;

/// What fills it, MB, so that a test's samples do not fit any more.
const BALLAST_MEGABYTES: usize = 90;

/// The disk. It is gone when dropped.
pub(crate) struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    program: PathBuf,
}

impl SmallDisk {
    /// Makes a disk at `folder`; `None`, said aloud, where this user may have no namespaces.
    pub(crate) fn new(folder: &Path, server: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        let ready = folder.with_extension("ready");
        let script = format!(
            "mount -t tmpfs -o size={DISK_MEGABYTES}m tmpfs '{}' && touch '{}' && exec sleep 600",
            folder.display(),
            ready.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("unshare, of util-linux, does not start")?;
        let is_made = wait_for("a disk", Duration::from_secs(10), || {
            let has_ended = holder.try_wait().ok().flatten().is_some();
            (ready.exists() || has_ended).then_some(!has_ended)
        })?;
        if !is_made {
            // Not `eprintln!`, which the test runner swallows when the test passes.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("skipped: a full disk needs user namespaces, which this user may not have\n"),
            );
            return Ok(None);
        }
        let program = folder.with_extension("server");
        let enter = format!("nsenter --target {} --user --mount --preserve-credentials", holder.id());
        std::fs::write(&program, format!("#!/bin/sh\nexec {enter} '{}' \"$@\"\n", server.display()))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(Some(Self { holder, folder: folder.to_owned(), program }))
    }

    /// A program that becomes the server, and sees the disk.
    pub(crate) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    fn ballast(&self) -> PathBuf {
        let folder = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(folder).join("ballast")
    }

    /// Leaves a few megabytes.
    pub(crate) fn fill(&self) -> Result<()> {
        Ok(std::fs::write(self.ballast(), vec![0; BALLAST_MEGABYTES << 20])?)
    }

    /// Frees it again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
