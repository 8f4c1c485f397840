//! The questions about a payment and about balances: request bodies, and what their acknowledgement says (M-Pesa contract
//! 6.1, 6.2). The answers themselves come to a URL: see `callbacks`.

use pv_kernel::rail::{QueryMeaning, RailAccount, StatusQuestion};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{
    codes::{CREDENTIAL_CODES, Meaning},
    wire::Reply,
};

pub(crate) const STATUS_PATH: &str = "/mpesa/transactionstatus/v1/query";
pub(crate) const BALANCE_PATH: &str = "/mpesa/accountbalance/v1/query";

#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "Initiator")]
    initiator: &'a str,
    #[serde(rename = "SecurityCredential")]
    credential: &'a str,
    #[serde(rename = "CommandID")]
    command: &'static str,
    #[serde(rename = "TransactionID", skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
    /// The original request's `OriginatorConversationID`: mind the other name (M-Pesa contract 6.1).
    #[serde(rename = "OriginalConversationID", skip_serializing_if = "Option::is_none")]
    rail_id: Option<&'a str>,
    #[serde(rename = "PartyA")]
    shortcode: &'a str,
    #[serde(rename = "IdentifierType")]
    identifier: &'static str,
    #[serde(rename = "ResultURL")]
    result_url: &'a str,
    #[serde(rename = "QueueTimeOutURL")]
    timeout_url: &'a str,
    #[serde(rename = "Remarks")]
    remarks: &'static str,
    #[serde(rename = "Occasion")]
    occasion: &'static str,
}

#[derive(Serialize)]
struct Balance<'a> {
    #[serde(rename = "Initiator")]
    initiator: &'a str,
    #[serde(rename = "SecurityCredential")]
    credential: &'a str,
    #[serde(rename = "CommandID")]
    command: &'static str,
    #[serde(rename = "PartyA")]
    shortcode: &'a str,
    #[serde(rename = "IdentifierType")]
    identifier: &'static str,
    #[serde(rename = "Remarks")]
    remarks: &'static str,
    #[serde(rename = "QueueTimeOutURL")]
    timeout_url: &'a str,
    #[serde(rename = "ResultURL")]
    result_url: &'a str,
}

/// `None` when there is nothing to ask about.
pub(crate) fn status_body(account: &RailAccount, question: &StatusQuestion) -> Option<Vec<u8>> {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
    if !filled(&question.rail_id) && !filled(&question.receipt) {
        return None;
    }
    serde_json::to_vec(&Status {
        initiator: &account.initiator,
        credential: account.security_credential.expose_secret(),
        command: "TransactionStatusQuery",
        receipt: question.receipt.as_deref().filter(|t| !t.trim().is_empty()),
        rail_id: question.rail_id.as_deref().filter(|t| !t.trim().is_empty()),
        shortcode: &account.shortcode,
        identifier: "4",
        result_url: &question.result_url,
        timeout_url: &question.timeout_url,
        remarks: "status",
        occasion: "",
    })
    .ok()
}

pub(crate) fn balance_body(account: &RailAccount, result_url: &str, timeout_url: &str) -> Vec<u8> {
    let body = Balance {
        initiator: &account.initiator,
        credential: account.security_credential.expose_secret(),
        command: "AccountBalance",
        shortcode: &account.shortcode,
        identifier: "4",
        remarks: "balance",
        timeout_url,
        result_url,
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// What the acknowledgement of a question means. `code` is the code that stood in it.
pub(crate) fn meaning(reply: Reply, code: Option<&str>) -> QueryMeaning {
    match reply {
        Reply::Accepted { conversation_id, .. } => QueryMeaning::Accepted { conversation_id },
        Reply::Answer(Meaning::Refused) => QueryMeaning::NotTaken { halts: code.is_some_and(|c| CREDENTIAL_CODES.contains(&c)) },
        // A refused token is no refused initiator: it cannot lock the operator (rule A19 names the codes that can).
        Reply::Answer(Meaning::Throttled(_) | Meaning::Token) | Reply::TokenRefused | Reply::Renewed | Reply::NotSent(_) => {
            QueryMeaning::NotTaken { halts: false }
        }
        Reply::Answer(Meaning::Duplicate | Meaning::Ambiguous | Meaning::AlreadyRegistered) | Reply::Lost => QueryMeaning::Lost,
        Reply::Crashed => QueryMeaning::Crashed,
    }
}
