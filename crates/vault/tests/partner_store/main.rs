//! Partners, their connections and keys, stops and idempotency on a real PostgreSQL.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod connections;
mod idempotency;
mod keys;
mod life;
mod products;
mod quotes;
mod stops;
mod support;
mod tenancy;
mod webhooks;
