//! Finds the PostgreSQL programs of the machine.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::ClusterError;

/// The oldest major version that the schema is tested with.
pub const OLDEST_VERSION: u32 = 15;

/// The folder of the PostgreSQL programs: the named one, or else the first fit one of `PATH`,
/// `/usr/lib/postgresql/*/bin` (newest first) and `/usr/local/pgsql/bin`. A cluster that exists wants the version that made it, also
/// when a newer one has been installed beside it.
pub(super) fn find(named: Option<&Path>, path: Option<&OsStr>, wanted: Option<u32>) -> Result<PathBuf, ClusterError> {
    if let Some(named) = named {
        return match version_in(named) {
            Some(version) if version >= OLDEST_VERSION => Ok(named.to_path_buf()),
            Some(version) => Err(ClusterError::TooOld { found: version, place: named.to_path_buf() }),
            None => Err(ClusterError::NoBinaries { looked: named.display().to_string() }),
        };
    }
    let seen: Vec<(u32, PathBuf)> = candidates(path).into_iter().filter_map(|place| Some((version_in(&place)?, place))).collect();
    choose(seen, wanted)
}

fn choose(seen: Vec<(u32, PathBuf)>, wanted: Option<u32>) -> Result<PathBuf, ClusterError> {
    let same = seen.iter().find(|(version, _)| wanted == Some(*version));
    let fit = same.or_else(|| seen.iter().find(|(version, _)| *version >= OLDEST_VERSION));
    if let Some((_, place)) = fit {
        return Ok(place.clone());
    }
    Err(match seen.into_iter().next() {
        Some((found, place)) => ClusterError::TooOld { found, place },
        None => ClusterError::NoBinaries { looked: "PATH, /usr/lib/postgresql/*/bin and /usr/local/pgsql/bin".to_owned() },
    })
}

fn candidates(path: Option<&OsStr>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    let mut packaged: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    places.extend(packaged.into_iter().map(|(_, place)| place));
    places.push(PathBuf::from("/usr/local/pgsql/bin"));
    places
}

/// The major version of the server in this folder, if the folder has all the programs that we call.
fn version_in(place: &Path) -> Option<u32> {
    if !["initdb", "pg_ctl", "postgres"].iter().all(|program| place.join(program).is_file()) {
        return None;
    }
    let output = Command::new(place.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian ...)`, and `17beta1` as 17.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let major: String = number.chars().take_while(char::is_ascii_digit).collect();
    major.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(parse_version("postgres (PostgreSQL)"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn a_folder_without_postgresql_is_refused_in_one_line_that_says_how_to_install() {
        let error = find(Some(Path::new("/nonexistent")), None, None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent") && error.contains("apt install postgresql"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn an_existing_cluster_gets_the_version_that_made_it_and_a_new_one_the_first_fit() {
        let seen = || vec![(14, PathBuf::from("/14")), (17, PathBuf::from("/17")), (15, PathBuf::from("/15"))];
        assert_eq!(choose(seen(), None).unwrap(), Path::new("/17"));
        assert_eq!(choose(seen(), Some(15)).unwrap(), Path::new("/15"));
        assert_eq!(choose(seen(), Some(16)).unwrap(), Path::new("/17"));
        let old = choose(vec![(14, PathBuf::from("/14"))], None).unwrap_err();
        assert!(matches!(old, ClusterError::TooOld { found: 14, .. }), "{old}");
    }
}
