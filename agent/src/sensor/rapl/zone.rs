//! The zones of RAPL by their names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tinywatt_proto::rail;

use super::RaplError;

/// Folders of the zones that are read through the processor's registers. (Those of `intel-rapl-mmio` show the same
/// packages again.)
const PREFIX: &str = "intel-rapl:";

/// How the kernel names packages: `package-0`, `package-0-die-1`.
const PACKAGE: &str = "package-";

/// How it names their memory.
const DRAM: &str = "dram";

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name, after its parent's where it has one: `package-0`, `package-0/dram`.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
}

impl Zone {
    /// What the zone measures, as in `Channel.rail`. By the names that the kernel gives, not by folders, of which one zone
    /// may have several.
    ///
    /// A package holds what its cores and its uncore take; DRAM is counted beside it (Intel SDM volume 3, "RAPL
    /// Interfaces"). What is no part of a package is psys, or nothing that we know: either may hold everything.
    pub fn rail(&self) -> String {
        if !self.name.starts_with(PACKAGE) {
            return rail::MACHINE.to_owned();
        }
        match self.name.split_once('/') {
            Some((package, DRAM)) => format!("{}/{package}", rail::MEMORY),
            _ => format!("{}/{}", rail::PROCESSORS, self.name),
        }
    }
}

/// All zones below a root, packages before what they contain.
pub fn zones(root: &Path) -> Vec<Zone> {
    let mut folders = BTreeMap::new();
    for (id, path) in folders_in(root) {
        // Below /sys/class/powercap all zones lie side by side; below /sys/devices each in its package.
        folders.extend(folders_in(&path));
        folders.insert(id, path);
    }
    let names: BTreeMap<&String, String> =
        folders.iter().filter_map(|(id, path)| Some((id, fs::read_to_string(path.join("name")).ok()?))).collect();
    let zone = |(id, name): (&&String, &String)| {
        let parent = id.rsplit_once(':').and_then(|(parent, _)| names.get(&parent.to_owned()));
        let name = name.trim();
        let name = parent.map_or_else(|| name.to_owned(), |parent| format!("{}/{name}", parent.trim()));
        Some(Zone { name, path: folders.get(*id)?.clone() })
    };
    names.iter().filter_map(zone).collect()
}

fn folders_in(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let folder = |entry: fs::DirEntry| {
        let id = entry.file_name().into_string().ok()?;
        id.starts_with(PREFIX).then(|| (id, entry.path()))
    };
    entries.filter_map(Result::ok).filter_map(folder).collect()
}

/// The zone of a name; `dram` alone will do where only one package has one.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(root: &Path, wanted: &str) -> Result<Zone, RaplError> {
    let zones = zones(root);
    if zones.is_empty() {
        return Err(RaplError::NoZones { root: root.to_owned() });
    }
    let names = |zones: &[Zone]| zones.iter().map(|zone| zone.name.clone()).collect();
    let is_wanted = |zone: &&Zone| zone.name == wanted || zone.name.rsplit('/').next() == Some(wanted);
    let found: Vec<Zone> = zones.iter().filter(is_wanted).cloned().collect();
    match found.as_slice() {
        [zone] => Ok(zone.clone()),
        [] => Err(RaplError::UnknownZone { zone: wanted.to_owned(), known: names(&zones) }),
        several => Err(RaplError::Ambiguous { zone: wanted.to_owned(), known: names(several) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::rapl::tests::lay_out;

    #[test]
    fn zones_are_found_by_name_side_by_side_or_in_their_package() {
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), 1);
        let names: Vec<_> = zones(root.path()).into_iter().map(|zone| zone.name).collect();
        assert_eq!(names, ["package-0", "package-0/core", "package-0/dram", "package-1", "package-1/dram"]);
        let found = |wanted: &str| find(root.path(), wanted).map(|zone| zone.path).map_err(|error| error.to_string());
        assert_eq!(found("package-0"), Ok(root.path().join("intel-rapl:0")));
        assert_eq!(found("core"), Ok(root.path().join("intel-rapl:0:0")));
        assert_eq!(found("package-1/dram"), Ok(root.path().join("intel-rapl:1/intel-rapl:1:0")));
        let error = found("dram").expect_err("two packages have one");
        assert!(error.ends_with("set `zone` to one of package-0/dram, package-1/dram"), "{error}");
        let error = found("psys").expect_err("none");
        assert!(error.contains("'psys'") && error.contains("package-0, package-0/core"), "{error}");
    }

    #[test]
    fn rails_tell_what_lies_in_what() {
        let root = tempfile::tempdir().expect("a folder");
        lay_out(root.path(), 1);
        for (id, name) in [("0:2", "uncore"), ("2", "psys"), ("3", "psys-1"), ("4", "package-2-die-1"), ("4:0", "dram")]
        {
            let zone = root.path().join(format!("{PREFIX}{id}"));
            fs::create_dir_all(&zone).expect("a folder");
            fs::write(zone.join("name"), format!("{name}\n")).expect("written");
        }
        // Its package is not readable: nobody knows what it lies in.
        fs::create_dir_all(root.path().join("intel-rapl:9:0")).expect("a folder");
        fs::write(root.path().join("intel-rapl:9:0/name"), "core\n").expect("written");
        let rails: BTreeMap<_, _> = zones(root.path()).iter().map(|zone| (zone.name.clone(), zone.rail())).collect();
        let expected = [
            ("core", "machine"),
            ("package-0", "machine/processors/package-0"),
            ("package-0/core", "machine/processors/package-0/core"),
            ("package-0/dram", "machine/memory/package-0"),
            ("package-0/uncore", "machine/processors/package-0/uncore"),
            ("package-1", "machine/processors/package-1"),
            ("package-1/dram", "machine/memory/package-1"),
            ("package-2-die-1", "machine/processors/package-2-die-1"),
            ("package-2-die-1/dram", "machine/memory/package-2-die-1"),
            ("psys", "machine"),
            ("psys-1", "machine"),
        ];
        let rails: Vec<_> = rails.iter().map(|(name, rail)| (name.as_str(), rail.as_str())).collect();
        assert_eq!(rails, expected);
    }
}
