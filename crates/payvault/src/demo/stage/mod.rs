//! What a demo and a benchmark stand on: the simulated outside world on real sockets, the product beside it in the same process, and
//! partners that were set up through the public API as they would set themselves up.

pub mod api;
pub mod product;
pub mod settle;
pub mod world;

pub use api::Api;
pub use product::Product;
pub use settle::{PartnerPlan, Settled};
pub use world::World;
