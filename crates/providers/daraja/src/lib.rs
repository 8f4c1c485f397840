//! Safaricom's Daraja: the M-Pesa rail for payouts.
//!
//! A client without a database and without decisions: it puts one request on the wire, says what the answer means for the
//! money by the tables in [`codes`], and reads what M-Pesa posts to us. When to send, when to repeat and what follows from
//! a verdict is decided in `vault`. All facts come from the M-Pesa contract; its sections are named where they are used.

mod b2c;
mod callbacks;
pub mod codes;
pub mod credential;
pub mod limits;
mod loose;
pub mod moments;
mod question;
pub mod redact;
pub mod token;
pub mod urls;
mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pv_kernel::{
    crypto::sha256,
    rail::{
        BalanceNotice, CodeClass, PayoutOrder, PayoutRail, QueryAnswer, QueryMeaning, RailAccount, RailLimits, ResultNotice, StatusNotice,
        StatusQuestion, SubmissionAnswer, SubmissionMeaning, TimeoutNotice, Unreadable, WireTrace,
    },
    transport::{TokenStore, Transport},
};

use crate::wire::Post;
pub use crate::{
    credential::{CertificateFacts, CredentialError, certificate_facts, encrypt_initiator_password},
    urls::{UrlProblem, check_public_url},
};

/// The M-Pesa rail.
pub struct Daraja {
    transport: Arc<dyn Transport>,
    tokens: Arc<dyn TokenStore>,
}

impl Daraja {
    /// A client that sends through `transport` and shares its tokens through `tokens`.
    pub fn new(transport: Arc<dyn Transport>, tokens: Arc<dyn TokenStore>) -> Self {
        Self { transport, tokens }
    }

    async fn ask(&self, account: &RailAccount, purpose: &'static str, path: &'static str, body: Vec<u8>) -> QueryAnswer {
        let post = Post { purpose, path, body, timeout: limits::QUERY_TIMEOUT, write_before: None, account };
        let (reply, trace) = wire::post(&self.transport, &self.tokens, &post).await;
        QueryAnswer { meaning: question::meaning(reply, trace.code.as_deref()), trace }
    }
}

#[async_trait]
impl PayoutRail for Daraja {
    fn name(&self) -> &'static str {
        "mpesa"
    }

    fn limits(&self) -> RailLimits {
        RailLimits { min: limits::MIN_AMOUNT, max: limits::MAX_AMOUNT, id_length: limits::ID_LENGTH, token_life: limits::TOKEN_LIFE }
    }

    async fn submit(&self, account: &RailAccount, order: &PayoutOrder, write_before: Duration) -> SubmissionAnswer {
        let body = match b2c::body(account, order, true) {
            Ok(body) => body,
            Err(error) => {
                let trace = WireTrace { message: format!("not sent: {error}"), ..WireTrace::default() };
                return SubmissionAnswer { meaning: SubmissionMeaning::Refused, trace };
            }
        };
        let post = Post { purpose: "mpesa.b2c", path: b2c::PATH, body, timeout: limits::SUBMIT_TIMEOUT, write_before: Some(write_before), account };
        let (reply, trace) = wire::post(&self.transport, &self.tokens, &post).await;
        SubmissionAnswer { meaning: b2c::meaning(reply, order), trace }
    }

    fn body_hash(&self, account: &RailAccount, order: &PayoutOrder) -> [u8; 32] {
        sha256(&b2c::body_for_hash(account, order))
    }

    async fn ask_status(&self, account: &RailAccount, question: &StatusQuestion) -> QueryAnswer {
        match question::status_body(account, question) {
            Some(body) => self.ask(account, "mpesa.status", question::STATUS_PATH, body).await,
            None => QueryAnswer {
                meaning: QueryMeaning::NotTaken { halts: false },
                trace: WireTrace { message: "not sent: a question about neither an id nor a receipt".to_owned(), ..WireTrace::default() },
            },
        }
    }

    async fn ask_balance(&self, account: &RailAccount, result_url: &str, timeout_url: &str) -> QueryAnswer {
        self.ask(account, "mpesa.balance", question::BALANCE_PATH, question::balance_body(account, result_url, timeout_url)).await
    }

    fn read_result(&self, body: &[u8]) -> Result<ResultNotice, Unreadable> {
        callbacks::result(body)
    }

    fn read_status(&self, body: &[u8]) -> Result<StatusNotice, Unreadable> {
        callbacks::status(body)
    }

    fn read_balance(&self, body: &[u8]) -> Result<BalanceNotice, Unreadable> {
        callbacks::balance(body)
    }

    fn read_timeout(&self, body: &[u8]) -> Result<TimeoutNotice, Unreadable> {
        callbacks::timeout(body)
    }

    fn classify(&self, code: &str) -> CodeClass {
        codes::classify(code)
    }

    fn redact(&self, body: &[u8]) -> Vec<u8> {
        redact::redact(body)
    }
}
