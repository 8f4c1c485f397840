//! Where the cluster's folder and its socket folder are.
//!
//! Two facts of the machine shape this. A server that stepped down from root must be able to walk to its folder, which
//! it cannot below `/root`. And the path of a unix socket is bounded at 107 bytes, which a deep data folder breaks.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{ClusterError, ClusterOptions, doing, identity::Identity};
use crate::digest::fnv1a;

/// The longest path of a unix socket: `sun_path` has 108 bytes, one of them the closing zero.
const LONGEST_SOCKET_PATH: usize = 107;
/// What PostgreSQL appends to the socket folder; the lock file beside it has five more bytes, but is an ordinary file.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// The folder of a cluster, and what the operator should know about it.
#[derive(Debug)]
pub(super) struct Place {
    pub dir: PathBuf,
    pub note: Option<String>,
}

/// Makes the cluster's folder: owned by the server's user, closed to all others.
pub(super) fn prepare(data_dir: &Path, identity: Identity, options: &ClusterOptions) -> Result<Place, ClusterError> {
    let wanted = std::path::absolute(data_dir).map_err(doing("reading the name of the data folder", data_dir))?;
    check_name(&wanted)?;
    if !identity.steps_down || reachable(&wanted, identity)? {
        own(&wanted, identity)?;
        return Ok(Place { dir: wanted, note: None });
    }
    // Durable data never goes to a temporary folder: those are cleaned by age.
    let base = if options.durable { PathBuf::from("/var/lib") } else { std::env::temp_dir() };
    let name = format!("payvault-{:016x}", fnv1a(&[wanted.as_os_str().as_encoded_bytes()]));
    let dir = base.join(name);
    check_name(&dir)?;
    own(&dir, identity)?;
    remember_origin(&dir, &wanted)?;
    let note = format!(
        "the database is in {} because its user cannot reach {} (run payvault as an ordinary user, or choose a folder such as /var/lib/payvault)",
        dir.display(),
        wanted.display()
    );
    Ok(Place { dir, note: Some(note) })
}

/// The socket folder: inside the cluster's folder, or, when that is too long, a short one under the temporary folder.
pub(super) fn socket_dir(dir: &Path, identity: Identity) -> Result<PathBuf, ClusterError> {
    let inside = dir.join("socket");
    let socket = if inside.as_os_str().len() + SOCKET_NAME.len() <= LONGEST_SOCKET_PATH {
        inside
    } else {
        let name = format!("pv-{:016x}", fnv1a(&[dir.as_os_str().as_encoded_bytes()]));
        let temp = std::env::temp_dir().join(&name);
        // An exotic TMPDIR may itself be long, or closed to the server's user.
        let fits = temp.as_os_str().len() + SOCKET_NAME.len() <= LONGEST_SOCKET_PATH;
        if fits && (!identity.steps_down || reachable(&temp, identity)?) { temp } else { Path::new("/tmp").join(name) }
    };
    check_name(&socket)?;
    own(&socket, identity)?;
    Ok(socket)
}

/// The names go into configuration files and, inside `pg_ctl`, through a shell.
fn check_name(path: &Path) -> Result<(), ClusterError> {
    let fit = path.to_str().is_some_and(|text| !text.chars().any(|c| c.is_control() || matches!(c, '\'' | '"' | '`' | '$' | '\\')));
    if fit { Ok(()) } else { Err(ClusterError::BadName { dir: path.to_path_buf() }) }
}

/// Can the server's user walk to this folder? Missing ancestors are made first, so that the answer stays true.
fn reachable(dir: &Path, identity: Identity) -> Result<bool, ClusterError> {
    let Some(parent) = dir.parent() else {
        return Ok(true);
    };
    // Do not litter folders that turn out to be closed: look at what exists before making anything.
    let existing = parent.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(parent);
    if !walkable(existing, identity)? {
        return Ok(false);
    }
    fs::create_dir_all(parent).map_err(doing("making the parent of the data folder", parent))?;
    walkable(parent, identity)
}

fn walkable(dir: &Path, identity: Identity) -> Result<bool, ClusterError> {
    let real = fs::canonicalize(dir).map_err(doing("looking at", dir))?;
    for ancestor in real.ancestors() {
        let meta = fs::metadata(ancestor).map_err(doing("looking at", ancestor))?;
        let bit = if meta.uid() == identity.uid {
            0o100
        } else if meta.gid() == identity.gid {
            0o010
        } else {
            0o001
        };
        if meta.mode() & bit == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the folder if need be and gives it to the server's user, mode 0700. A folder that holds other things, or that
/// somebody else owns, is refused and not touched.
fn own(dir: &Path, identity: Identity) -> Result<(), ClusterError> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(doing("making the parent of", dir))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(doing("making the folder", dir)(error)),
    }
    // Not followed when it is a link: in a temporary folder anybody can have put one.
    let meta = fs::symlink_metadata(dir).map_err(doing("looking at", dir))?;
    if !meta.is_dir() {
        return Err(ClusterError::NotOurs { dir: dir.to_path_buf() });
    }
    if meta.uid() == identity.uid {
        if !is_empty(dir)? && !looks_ours(dir) {
            return Err(ClusterError::NotOurs { dir: dir.to_path_buf() });
        }
    } else if identity.steps_down && meta.uid() == 0 {
        if !is_empty(dir)? && !looks_ours(dir) {
            return Err(ClusterError::NotOurs { dir: dir.to_path_buf() });
        }
        chown(dir, Some(identity.uid), Some(identity.gid)).map_err(doing("giving away the folder", dir))?;
    } else {
        return Err(ClusterError::NotOurs { dir: dir.to_path_buf() });
    }
    if meta.mode() & 0o777 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(doing("closing the folder", dir))?;
    }
    Ok(())
}

fn is_empty(dir: &Path) -> Result<bool, ClusterError> {
    Ok(fs::read_dir(dir).map_err(doing("looking into", dir))?.next().is_none())
}

/// True for a cluster's folder, also a half-made one, and for a socket folder.
fn looks_ours(dir: &Path) -> bool {
    ["pgdata", super::LOCK_FILE, ORIGIN_FILE, ".s.PGSQL.5432", ".s.PGSQL.5432.lock"].iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
}

const ORIGIN_FILE: &str = "origin";

/// A folder that is named by a digest says for which folder it stands, and is refused when it stands for another.
fn remember_origin(dir: &Path, wanted: &Path) -> Result<(), ClusterError> {
    let file = dir.join(ORIGIN_FILE);
    match fs::read(&file) {
        Ok(known) if known == wanted.as_os_str().as_encoded_bytes() => Ok(()),
        Ok(_) => Err(ClusterError::NotOurs { dir: dir.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(&file, wanted.as_os_str().as_encoded_bytes()).map_err(doing("writing", &file))
        }
        Err(error) => Err(doing("reading", &file)(error)),
    }
}
