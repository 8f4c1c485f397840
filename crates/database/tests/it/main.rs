//! The crate against a real PostgreSQL. One binary, because linking takes longer than running.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod temp;
#[cfg(test)]
mod transactions;
