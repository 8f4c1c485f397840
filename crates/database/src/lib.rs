//! Everything between the product and PostgreSQL.
//!
//! - [`cluster`]: the private PostgreSQL cluster that payvault starts when it is given no `DATABASE_URL`;
//! - [`migrate`]: the three roles of the database and the embedded migrations;
//! - [`db`]: the pools, the one guarded `begin`, transactions with their scope, and the fault points of a commit;
//! - [`temp`]: one throw-away cluster per test run, and databases for tests.
//!
//! What does not live here: any table of the product, and any SQL that knows a business noun.

pub mod cluster;
pub mod db;
mod digest;
pub mod migrate;
pub mod temp;

pub use cluster::{Cluster, ClusterError, ClusterOptions};
pub use db::{CommitHook, ConstraintKind, Crash, Db, DbConfig, DbError, Scope, Target, Tx};
pub use sqlx::PgConnection;
pub use temp::{TempCluster, TempError, Template, TestDatabase};
