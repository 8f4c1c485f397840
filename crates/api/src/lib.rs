//! The JSON API: what partners' systems and the platform's own tools call.
//!
//! - [`frame`]: what every request passes: request id, client address, limits, key, permission, problem documents;
//! - [`routes`]: the endpoints, a folder per noun and a file per endpoint, each with its types, its text and its handler;
//! - [`endpoint`]: how an endpoint names what it needs, and the table of them all;
//! - [`once`]: one effect per `Idempotency-Key` (rule D3);
//! - [`document`]: the OpenAPI document, put together from the endpoints.
//!
//! What does not live here: SQL, decisions about money (both in `pv-vault`), callbacks of providers (the hooks crate, which also
//! serves the reserved alias `POST /api/mpesa/callback`), and pages for people.

pub mod document;
pub mod endpoint;
pub mod extract;
pub mod frame;
pub mod once;
pub mod problem;
pub mod routes;
pub mod schema;
pub mod state;

pub use document::openapi;
pub use endpoint::{Access, RouteInfo, route_table};
pub use frame::router;
pub use state::{ApiLimits, ApiState, ReadyCheck, daraja_encrypt};
