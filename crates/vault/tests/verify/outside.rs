//! A core whose loans a test can change, and a rail and a gateway that are never called.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use pv_kernel::{
    Money,
    core_banking::{
        BookingAnswer, BookingMeaning, BookingOrder, ConnectionReport, Core, CoreClient, CoreError, CoreLink, CoreLoan, CorePaymentType, CoreProduct,
        CoreProfile, CoreTransaction, LoanStatus,
    },
    rail::{
        BalanceNotice, CodeClass, PayoutOrder, PayoutRail, QueryAnswer, RailAccount, RailLimits, ResultNotice, StatusNotice, StatusQuestion,
        SubmissionAnswer, TimeoutNotice, Unreadable,
    },
    sms::{DeliveryReport, OutboundSms, SendError, SendReceipt, SmsAccount, SmsGateway},
};

/// Loans by id. `down`: nothing can be read.
#[derive(Default)]
pub struct Loans {
    pub loans: Mutex<BTreeMap<String, CoreLoan>>,
    pub down: Mutex<bool>,
}

impl Loans {
    pub fn change(&self, id: &str, change: impl FnOnce(&mut CoreLoan)) {
        change(self.loans.lock().unwrap().get_mut(id).unwrap());
    }
}

#[async_trait]
impl Core for Loans {
    async fn detect(&self, _: &CoreLink) -> Result<CoreProfile, CoreError> {
        Err(CoreError::NotFound)
    }
    async fn test(&self, _: &CoreLink, _: DateTime<Utc>) -> ConnectionReport {
        ConnectionReport { checks: Vec::new(), profile: None, products: Vec::new(), payment_types: Vec::new() }
    }
    async fn loan(&self, _: &CoreLink, id: &str, _: bool) -> Result<CoreLoan, CoreError> {
        if *self.down.lock().unwrap() {
            return Err(CoreError::Down("no answer".into()));
        }
        self.loans.lock().unwrap().get(id).cloned().ok_or(CoreError::NotFound)
    }
    async fn client(&self, _: &CoreLink, _: &str) -> Result<CoreClient, CoreError> {
        Err(CoreError::NotFound)
    }
    async fn product(&self, _: &CoreLink, _: &str) -> Result<CoreProduct, CoreError> {
        Err(CoreError::NotFound)
    }
    async fn products(&self, _: &CoreLink) -> Result<Vec<CoreProduct>, CoreError> {
        Ok(Vec::new())
    }
    async fn payment_types(&self, _: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError> {
        Ok(Vec::new())
    }
    async fn approved_loans(&self, _: &CoreLink) -> Result<Vec<CoreLoan>, CoreError> {
        Ok(Vec::new())
    }
    async fn business_date(&self, _: &CoreLink) -> Result<Option<NaiveDate>, CoreError> {
        Ok(None)
    }
    async fn disburse(&self, _: &CoreLink, order: &BookingOrder) -> BookingAnswer {
        let id = format!("9{}", order.loan_id);
        self.change(&order.loan_id, |loan| {
            loan.status = LoanStatus::Disbursed(300);
            loan.disbursements.push(CoreTransaction {
                id: id.clone(),
                external_id: Some(order.external_id.clone()),
                receipt: Some(order.receipt.clone()),
                amount: order.gross,
                date: Some(order.date),
                reversed: false,
            });
        });
        BookingAnswer {
            meaning: BookingMeaning::Done { transaction_id: Some(id) },
            http_status: Some(200),
            request: String::new(),
            response: String::new(),
        }
    }
}

/// Has limits, and is never asked for anything else.
pub struct Quiet;

#[async_trait]
impl PayoutRail for Quiet {
    fn name(&self) -> &'static str {
        "mpesa"
    }
    fn limits(&self) -> RailLimits {
        RailLimits { min: Money::from_minor(1_000), max: Money::from_minor(25_000_000), id_length: 36, token_life: Duration::from_hours(1) }
    }
    async fn submit(&self, _: &RailAccount, _: &PayoutOrder, _: Duration) -> SubmissionAnswer {
        unreachable!("never called")
    }
    fn body_hash(&self, _: &RailAccount, _: &PayoutOrder) -> [u8; 32] {
        unreachable!("never called")
    }
    async fn ask_status(&self, _: &RailAccount, _: &StatusQuestion) -> QueryAnswer {
        unreachable!("never called")
    }
    async fn ask_balance(&self, _: &RailAccount, _: &str, _: &str) -> QueryAnswer {
        unreachable!("never called")
    }
    fn read_result(&self, _: &[u8]) -> Result<ResultNotice, Unreadable> {
        unreachable!("never called")
    }
    fn read_status(&self, _: &[u8]) -> Result<StatusNotice, Unreadable> {
        unreachable!("never called")
    }
    fn read_balance(&self, _: &[u8]) -> Result<BalanceNotice, Unreadable> {
        unreachable!("never called")
    }
    fn read_timeout(&self, _: &[u8]) -> Result<TimeoutNotice, Unreadable> {
        unreachable!("never called")
    }
    fn classify(&self, _: &str) -> CodeClass {
        unreachable!("never called")
    }
    fn redact(&self, _: &[u8]) -> Vec<u8> {
        unreachable!("never called")
    }
}

#[async_trait]
impl SmsGateway for Quiet {
    fn name(&self) -> &'static str {
        "damza"
    }
    async fn send(&self, _: &SmsAccount, _: &OutboundSms) -> Result<SendReceipt, SendError> {
        unreachable!("never called")
    }
    fn read_report(&self, _: &[u8]) -> Result<Vec<DeliveryReport>, Unreadable> {
        unreachable!("never called")
    }
    fn report_is_genuine(&self, _: &SmsAccount, _: Option<&str>, _: &[u8]) -> bool {
        unreachable!("never called")
    }
}
