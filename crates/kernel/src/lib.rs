//! The words of Payment Vault as types, and the ports through which the house meets the outside world.
//!
//! Nothing here does I/O. Providers implement the ports, `vault` uses them, and both speak these types.
//! Money is in [`money`], phone numbers in [`msisdn`], what is known about a payment in [`verdict`],
//! what we tell a person when something goes wrong in [`problem`].

pub mod clock;
pub mod core_banking;
pub mod crypto;
pub mod ids;
pub mod money;
pub mod msisdn;
pub mod problem;
pub mod rail;
pub mod sms;
pub mod transport;
pub mod verdict;

pub use clock::{Clock, Ids, SystemClock, SystemIds};
pub use money::{Currency, Money};
pub use msisdn::Msisdn;
pub use verdict::{ProvenNotPaid, Verdict};
