//! The B2C payment, version 3 only: version 1 has no id of ours, so a lost answer could never be asked about (M-Pesa
//! contract 2.2).

use std::time::Duration;

use pv_kernel::rail::{NotAccepted, PayoutOrder, RailAccount, SubmissionMeaning};
use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};

use crate::{codes::Meaning, limits, wire::Reply};

/// The path of the current version.
pub(crate) const PATH: &str = "/mpesa/b2c/v3/paymentrequest";

/// The request body. The order of the fields is the order on the wire, and part of the promise that a repeat is byte for
/// byte the same (rule A5): do not sort it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "OriginatorConversationID")]
    rail_id: &'a str,
    #[serde(rename = "InitiatorName")]
    initiator: &'a str,
    #[serde(rename = "SecurityCredential", skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(rename = "CommandID")]
    command: &'static str,
    #[serde(rename = "Amount")]
    amount: i64,
    #[serde(rename = "PartyA", serialize_with = "shortcode")]
    payer: &'a str,
    #[serde(rename = "PartyB")]
    receiver: u64,
    #[serde(rename = "Remarks")]
    remarks: String,
    #[serde(rename = "QueueTimeOutURL")]
    timeout_url: &'a str,
    #[serde(rename = "ResultURL")]
    result_url: &'a str,
    /// Spelt so on the wire (M-Pesa contract 0.6).
    #[serde(rename = "Occassion")]
    occasion: &'static str,
}

/// A shortcode as a number, as in the contract's sample; as text when that would lose a digit.
fn shortcode<S: Serializer>(text: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    match text.parse::<u64>() {
        Ok(number) if !text.starts_with(['0', '+']) => serializer.serialize_u64(number),
        _ => serializer.serialize_str(text),
    }
}

/// Why an order cannot be put on the wire. Nothing was sent, and the same order never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOrder {
    #[error("M-Pesa pays whole shillings only")]
    Cents,
    #[error("the amount is outside the limits of one payment")]
    Amount,
    #[error("the id of this payout does not fit the rail")]
    Id,
}

/// The body of an order; `with_secret` false for its hash.
pub(crate) fn body(account: &RailAccount, order: &PayoutOrder, with_secret: bool) -> Result<Vec<u8>, BadOrder> {
    let shillings = order.amount.whole_shillings().ok_or(BadOrder::Cents)?;
    if order.amount < limits::MIN_AMOUNT || order.amount > limits::MAX_AMOUNT {
        return Err(BadOrder::Amount);
    }
    let id_fits = !order.rail_id.is_empty()
        && order.rail_id.len() <= limits::ID_LENGTH
        && order.rail_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !id_fits {
        return Err(BadOrder::Id);
    }
    Ok(serialise(account, order, shillings, with_secret))
}

fn serialise(account: &RailAccount, order: &PayoutOrder, shillings: i64, with_secret: bool) -> Vec<u8> {
    let body = Body {
        rail_id: &order.rail_id,
        initiator: &account.initiator,
        credential: with_secret.then(|| account.security_credential.expose_secret()),
        command: "BusinessPayment",
        amount: shillings,
        payer: &account.shortcode,
        receiver: order.msisdn.as_number(),
        remarks: clean_remarks(&order.remarks),
        timeout_url: &order.timeout_url,
        result_url: &order.result_url,
        occasion: "disbursement",
    };
    // A struct of strings and integers always serialises.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The secret-free body, also of an order that cannot be sent (whole shillings are cut off then).
pub(crate) fn body_for_hash(account: &RailAccount, order: &PayoutOrder) -> Vec<u8> {
    body(account, order, false).unwrap_or_else(|_| serialise(account, order, order.amount.minor(), false))
}

/// `Remarks` as the gateway takes them: letters, digits, spaces and plain punctuation, 2 to 100 characters. Other
/// characters become spaces; a text with nothing left becomes "Payment".
pub(crate) fn clean_remarks(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | ',' | '-' | '_' | '/' | ':') { c } else { ' ' }).collect();
    let joined = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = joined.chars().take(*limits::REMARKS.end()).collect();
    let cut = cut.trim_end().to_owned();
    if cut.len() < *limits::REMARKS.start() { "Payment".to_owned() } else { cut }
}

/// What a reply to a submission means for the money (rule A5).
pub(crate) fn meaning(reply: Reply, order: &PayoutOrder) -> SubmissionMeaning {
    let not_accepted = |after: Duration, why| SubmissionMeaning::NotAccepted { after, why };
    match reply {
        // An acknowledgement of somebody else's id is none of ours.
        Reply::Accepted { rail_id: Some(echo), .. } if echo != order.rail_id => SubmissionMeaning::Ambiguous,
        Reply::Accepted { conversation_id, .. } => SubmissionMeaning::Accepted { conversation_id },
        Reply::Answer(Meaning::Refused) => SubmissionMeaning::Refused,
        Reply::Answer(Meaning::Duplicate) => SubmissionMeaning::Duplicate,
        Reply::Answer(Meaning::Throttled(after)) => not_accepted(after, NotAccepted::Throttled),
        Reply::TokenRefused | Reply::Answer(Meaning::Token) => not_accepted(limits::AFTER_TOKEN, NotAccepted::Token),
        Reply::Renewed => not_accepted(std::time::Duration::ZERO, NotAccepted::Renewed),
        Reply::NotSent(after) => not_accepted(after, NotAccepted::NotSent),
        Reply::Answer(Meaning::Ambiguous | Meaning::AlreadyRegistered) | Reply::Lost => SubmissionMeaning::Ambiguous,
        Reply::Crashed => SubmissionMeaning::Crashed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn remarks_are_made_to_fit() {
        assert_eq!(clean_remarks("Loan 88121"), "Loan 88121");
        assert_eq!(clean_remarks("  Loan\t\"8\"\n<b>  "), "Loan 8 b");
        for nothing in ["", "x", "  ", "é", "<>"] {
            assert_eq!(clean_remarks(nothing), "Payment", "{nothing}");
        }
        assert_eq!(clean_remarks(&"x".repeat(300)).len(), 100);
        assert_eq!(clean_remarks(&"abc ".repeat(60)).len(), 99, "a space at the cut is dropped");
    }

    proptest! {
        #[test]
        fn any_remarks_fit_and_cleaning_twice_changes_nothing(text in ".{0,300}") {
            let clean = clean_remarks(&text);
            prop_assert!(limits::REMARKS.contains(&clean.chars().count()));
            prop_assert_eq!(clean_remarks(&clean), clean);
        }
    }
}
