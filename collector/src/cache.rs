//! Where the user's caches lie: data sets and trainers.

use std::ffi::OsString;
use std::path::PathBuf;

/// The two variables that tell, as arguments: only the parsing of arguments looks at the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CacheArguments {
    #[arg(long, env = "XDG_CACHE_HOME", hide = true, global = true)]
    xdg_cache_home: Option<OsString>,

    #[arg(long, env = "HOME", hide = true, global = true)]
    home: Option<OsString>,
}

impl CacheArguments {
    /// The user's folder for caches, as the XDG base directory specification says (a relative path there is void); `None`
    /// without a home folder.
    pub fn folder(self) -> Option<PathBuf> {
        let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
        absolute(self.xdg_cache_home).or_else(|| absolute(self.home).map(|home| home.join(".cache")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_xdg_rules_say() {
        let folder = |xdg: Option<&str>, home: Option<&str>| {
            let arguments = CacheArguments { xdg_cache_home: xdg.map(OsString::from), home: home.map(OsString::from) };
            arguments.folder()
        };
        assert_eq!(folder(Some("/cache"), Some("/home/me")), Some("/cache".into()));
        assert_eq!(folder(Some("relative"), Some("/home/me")), Some("/home/me/.cache".into()));
        assert_eq!(folder(None, Some("/home/me")), Some("/home/me/.cache".into()));
        assert_eq!(folder(None, Some("relative")), None);
        assert_eq!(folder(None, None), None);
    }
}
