//! Folders and schemas that the tests use.

use std::path::{Path, PathBuf};

use pv_database::{Cluster, ClusterOptions, Template, migrate::Migrator};

/// A folder of its own for one test, deleted at the end together with the cluster in it.
pub struct Folder {
    pub path: PathBuf,
    clusters: Vec<Cluster>,
}

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pv-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self { path, clusters: Vec::new() }
    }

    pub fn start(&mut self, dir: &Path) -> Cluster {
        self.start_with(dir, throw_away())
    }

    pub fn start_with(&mut self, dir: &Path, options: ClusterOptions) -> Cluster {
        let cluster = Cluster::find_or_start_with(dir, options).unwrap();
        self.clusters.push(cluster.clone());
        cluster
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for cluster in &self.clusters {
            let _ = cluster.stop();
            let _ = std::fs::remove_dir_all(cluster.dir());
            let _ = std::fs::remove_dir_all(cluster.socket_dir());
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

pub fn throw_away() -> ClusterOptions {
    ClusterOptions { durable: false, ..ClusterOptions::default() }
}

/// The tiny schema of `tests/migrations`.
pub fn notes() -> Migrator {
    sqlx::migrate!("tests/migrations")
}

pub fn template() -> Template {
    Template::new(notes())
}
