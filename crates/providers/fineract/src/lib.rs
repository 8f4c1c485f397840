//! Apache Fineract, which the Mifos X distribution runs on, as a [`Core`].
//!
//! [`Fineract`] turns each question of the port into one or a few HTTP calls through [`Transport`]; the modules are named by
//! what they ask. Here live the facts of the wire (Mifos X contract); what follows from an answer is decided in `vault`.
//! Notices that a host sends us are read by [`hooks`]; they are hints only, the read-back is the truth.
//!
//! Three rules hold everywhere: no answer is read as success unless it says so completely; an amount is read from its raw
//! token and never through a float; a 403 is looked into, because most business refusals come as one.

mod approved;
mod booking;
mod businessdate;
mod clients;
mod connection;
mod detect;
mod errors;
pub mod hooks;
mod loans;
mod payment_types;
mod products;
mod test;
#[cfg(test)]
mod testing;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use pv_kernel::{
    core_banking::{
        BookingAnswer, BookingOrder, ConnectionReport, Core, CoreClient, CoreError, CoreLink, CoreLoan, CorePaymentType, CoreProduct, CoreProfile,
    },
    transport::Transport,
};

pub use approved::ApprovedRead;

/// The client of Mifos X hosts. It has no state of its own: which host, tenant and user is in each [`CoreLink`].
#[derive(Clone)]
pub struct Fineract {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Fineract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fineract").finish_non_exhaustive()
    }
}

impl Fineract {
    /// A client that sends through `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }
}

#[async_trait]
impl Core for Fineract {
    async fn detect(&self, link: &CoreLink) -> Result<CoreProfile, CoreError> {
        self.detect_line(link).await
    }

    async fn test(&self, link: &CoreLink, now: DateTime<Utc>) -> ConnectionReport {
        self.test_connection(link, now).await
    }

    async fn loan(&self, link: &CoreLink, loan_id: &str, with_transactions: bool) -> Result<CoreLoan, CoreError> {
        self.read_loan(link, loan_id, with_transactions).await
    }

    async fn client(&self, link: &CoreLink, client_id: &str) -> Result<CoreClient, CoreError> {
        self.read_client(link, client_id).await
    }

    async fn product(&self, link: &CoreLink, product_id: &str) -> Result<CoreProduct, CoreError> {
        self.read_product(link, product_id).await
    }

    async fn products(&self, link: &CoreLink) -> Result<Vec<CoreProduct>, CoreError> {
        self.read_products(link).await
    }

    async fn payment_types(&self, link: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError> {
        self.read_payment_types(link).await
    }

    async fn approved_loans(&self, link: &CoreLink) -> Result<Vec<CoreLoan>, CoreError> {
        self.read_approved(link).await?.into_loans(link)
    }

    async fn business_date(&self, link: &CoreLink) -> Result<Option<NaiveDate>, CoreError> {
        self.read_business_date(link).await
    }

    async fn disburse(&self, link: &CoreLink, order: &BookingOrder) -> BookingAnswer {
        self.book_disbursement(link, order).await
    }
}
