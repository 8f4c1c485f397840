//! The keys that stand outside the database: the key ring of secrets at rest, and the key of the rail ids (rule A3).
//!
//! They are made at the first start, with mode 0600, and never shown. The file of the key ring has a line per key, `number hexadecimal`; the
//! highest number seals, all open. Rotating is adding a line. The file of the id key has one line.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pv_kernel::Ids;
use pv_vault::{payout::rail_id::IdKey, secret::KeyRing};
use zeroize::Zeroizing;

/// Why there are no keys. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Production does not make keys by itself: a lost key file must not be replaced unnoticed.
    #[error("the key file {} does not exist; bring it back from its backup, or make new keys for a new installation with --init", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error("the key file {} can be read by others (mode {mode:o}): chmod 600 it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not as we write it. The contents are not shown.
    #[error("the key file {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without any of its contents.
        why: String,
    },
    /// The file system refused.
    #[error("{doing} the key file {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Both keys.
pub struct Keys {
    /// Seals and opens secrets at rest.
    pub ring: KeyRing,
    /// Makes rail ids and callback tokens.
    pub id: IdKey,
    /// Files that were just made: they are to be backed up.
    pub made: Vec<PathBuf>,
}

/// Opens the key files; makes those that are missing when `may_make`.
pub fn open(ring_file: &Path, id_file: &Path, may_make: bool, ids: &dyn Ids) -> Result<Keys, KeyError> {
    let mut made = Vec::new();
    for (path, first) in [(ring_file, "1 "), (id_file, "")] {
        if !path.exists() {
            if !may_make {
                return Err(KeyError::Missing { path: path.to_owned() });
            }
            if make(path, first, ids)? {
                made.push(path.to_owned());
            }
        }
    }
    let ring = read_ring(ring_file)?;
    let id = read_one(id_file)?;
    Ok(Keys { ring, id: IdKey::new(*id), made })
}

/// Makes a file with one key. `false`: another process was faster, and its key counts.
fn make(path: &Path, prefix: &str, ids: &dyn Ids) -> Result<bool, KeyError> {
    let io = |doing| move |source| KeyError::Io { doing, path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("making the folder of"))?;
    let mut key = Zeroizing::new([0u8; 32]);
    ids.fill(key.as_mut_slice());
    let line = Zeroizing::new(format!("{prefix}{}\n", hex::encode(key.as_slice())));
    // Written beside and linked into place: the name never stands for half a key, and never for two.
    let mut mark = [0u8; 8];
    ids.fill(&mut mark);
    let fresh = path.with_extension(format!("new-{}", hex::encode(mark)));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(io("making"))?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(io("writing"))?;
    let linked = fs::hard_link(&fresh, path);
    let _ = fs::remove_file(&fresh);
    match linked {
        Ok(()) => {
            // The name too must survive a power cut.
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("keeping"))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io("making")(error)),
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let io = |source| KeyError::Io { doing: "reading", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(Zeroizing::new(fs::read_to_string(path).map_err(io)?))
}

fn read_ring(path: &Path) -> Result<KeyRing, KeyError> {
    let text = read(path)?;
    let damaged = |why: String| KeyError::Damaged { path: path.to_owned(), why };
    let mut keys: Vec<(u32, Zeroizing<[u8; 32]>)> = Vec::new();
    for (number, line) in lines(&text) {
        let (name, key) = line.split_once(char::is_whitespace).ok_or_else(|| damaged(format!("line {number} is not a number and a key")))?;
        let name: u32 = name.parse().map_err(|_| damaged(format!("line {number} does not begin with a number")))?;
        if keys.iter().any(|(known, _)| *known == name) {
            return Err(damaged(format!("key {name} stands there twice")));
        }
        keys.push((name, key_of(key).ok_or_else(|| damaged(format!("the key of line {number} is not 64 hexadecimal digits")))?));
    }
    KeyRing::new(keys).map_err(|error| damaged(error.to_string()))
}

fn read_one(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = read(path)?;
    let damaged = |why: &str| KeyError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let mut lines = lines(&text);
    let (Some((_, line)), None) = (lines.next(), lines.next()) else {
        return Err(damaged("it holds not exactly one key"));
    };
    key_of(line).ok_or_else(|| damaged("the key is not 64 hexadecimal digits"))
}

/// The lines that count, with their numbers. `#` begins a remark.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn key_of(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.trim(), key.as_mut_slice()).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use pv_kernel::SystemIds;

    use super::*;

    /// A folder for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let mut mark = [0u8; 8];
            SystemIds.fill(&mut mark);
            let path = std::env::temp_dir().join(format!("payvault-keys-{}", hex::encode(mark)));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn ring(&self) -> PathBuf {
            self.0.join("keys").join("encryption.keys")
        }

        fn id(&self) -> PathBuf {
            self.0.join("keys").join("id.key")
        }

        fn open(&self, may_make: bool) -> Result<Keys, KeyError> {
            open(&self.ring(), &self.id(), may_make, &SystemIds)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_for_their_owner_alone() {
        let folder = Folder::new();
        let first = folder.open(true).unwrap();
        assert_eq!(first.made, vec![folder.ring(), folder.id()]);
        assert_eq!((mode(&folder.ring()), mode(&folder.id()), mode(&folder.0.join("keys"))), (0o600, 0o600, 0o700));
        let again = folder.open(false).unwrap();
        assert!(again.made.is_empty());
        assert_eq!(first.id.mark(), again.id.mark());
        assert_eq!(fs::read_dir(folder.0.join("keys")).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn a_missing_key_is_not_replaced_where_it_must_not_be() {
        let folder = Folder::new();
        assert!(matches!(folder.open(false), Err(KeyError::Missing { .. })));
        assert!(!folder.ring().exists());
        folder.open(true).unwrap();
        fs::remove_file(folder.id()).unwrap();
        assert!(matches!(folder.open(false), Err(KeyError::Missing { path }) if path == folder.id()));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = Folder::new();
        folder.open(true).unwrap();
        fs::set_permissions(folder.id(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(folder.open(true), Err(KeyError::TooOpen { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_key_file_is_named_and_never_shown() {
        let folder = Folder::new();
        folder.open(true).unwrap();
        let good = fs::read_to_string(folder.ring()).unwrap();
        let second = format!("2 {}", "ab".repeat(32));
        for (text, fits) in [
            (format!("# rotated\n{good}{second}\n"), true),
            (String::new(), false),
            ("1 secretsecret".to_owned(), false),
            (format!("{good}{good}"), false),
            (good.replacen("1 ", "x ", 1), false),
        ] {
            fs::write(folder.ring(), &text).unwrap();
            match folder.open(true) {
                Ok(_) => assert!(fits),
                Err(error) => {
                    assert!(!fits, "{error}");
                    let shown = error.to_string();
                    assert!(!shown.contains("secretsecret") && !shown.contains(good.trim()), "{shown}");
                }
            }
        }
        fs::write(folder.ring(), &good).unwrap();
        fs::write(folder.id(), "ff").unwrap();
        assert!(matches!(folder.open(true), Err(KeyError::Damaged { path, .. }) if path == folder.id()));
    }
}
