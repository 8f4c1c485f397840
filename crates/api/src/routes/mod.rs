//! The endpoints: a folder per noun, a file per endpoint with its types, its text and its handler. `POST /api/mpesa/callback` is
//! reserved for the crate of the callbacks.

pub mod credentials;
pub mod disbursements;
pub mod health;
pub mod items;
pub mod keys;
pub mod loans;
pub mod mifos;
pub mod mpesa;
pub mod partners;
pub mod products;
pub mod reports;
pub mod requests;
pub mod shortcodes;
pub mod sms;
pub mod stops;
pub mod wallet;

use crate::endpoint::Endpoint;

/// All endpoints, in the order of the document.
pub fn all() -> Vec<Endpoint> {
    [
        mpesa::endpoints(),
        disbursements::endpoints(),
        loans::endpoints(),
        requests::endpoints(),
        items::endpoints(),
        stops::endpoints(),
        wallet::endpoints(),
        partners::endpoints(),
        keys::endpoints(),
        shortcodes::endpoints(),
        credentials::endpoints(),
        mifos::endpoints(),
        products::endpoints(),
        sms::endpoints(),
        reports::endpoints(),
        health::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
