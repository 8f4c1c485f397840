//! The answers of the gateway (M-Pesa contract 7.2) and of acknowledgements that are none.

use std::time::Duration;

use pv_kernel::rail::CodeClass;

use super::results::find;
use crate::limits;

/// Codes that mean "try again" when they come as the `ResponseCode` of an answer (M-Pesa contract 7.3, code 26).
const THROTTLED_SYNCHRONOUSLY: [&str; 1] = ["26"];

/// What an answer of the gateway means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The request did not enter M-Pesa; the same again would be refused again.
    Refused,
    /// The bearer token was refused; the request did not enter M-Pesa.
    Token,
    /// Throttled or under maintenance; the request did not enter M-Pesa. The same id may come again after this.
    Throttled(Duration),
    /// The id was taken before. Says nothing about the outcome.
    Duplicate,
    /// It may have entered M-Pesa.
    Ambiguous,
    /// Callback URLs are registered already: no money call.
    AlreadyRegistered,
}

/// Which endpoints a row is about. One error code carries several meanings (M-Pesa contract 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// B2C, B2B, reversal, status and balance.
    Initiator,
    /// STK push and query.
    Stk,
    /// C2B URL registration.
    RegisterUrl,
}

/// How the text of an answer must look for a row. Case does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Any text, also none.
    Any,
    /// It starts so.
    Starts(&'static str),
    /// It contains this.
    Has(&'static str),
    /// It contains this, or there is no text.
    HasOrNone(&'static str),
}

impl Words {
    fn fit(self, message: &str) -> bool {
        let message = message.trim().to_lowercase();
        match self {
            Self::Any => true,
            Self::Starts(start) => message.starts_with(start),
            Self::Has(part) => message.contains(part),
            Self::HasOrNone(part) => message.is_empty() || message.contains(part),
        }
    }
}

/// One kind of gateway answer (M-Pesa contract 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayRow {
    /// Only for this endpoint; `None`: for all.
    pub endpoint: Option<Endpoint>,
    /// HTTP statuses; empty: any.
    pub statuses: &'static [u16],
    /// Error codes; empty: any, also none.
    pub codes: &'static [&'static str],
    /// The text.
    pub words: Words,
    /// What it means.
    pub meaning: Meaning,
    /// The section of the M-Pesa contract.
    pub source: &'static str,
}

const fn gateway(statuses: &'static [u16], codes: &'static [&'static str], words: Words, meaning: Meaning, source: &'static str) -> GatewayRow {
    GatewayRow { endpoint: None, statuses, codes, words, meaning, source }
}

const fn only(endpoint: Endpoint, row: GatewayRow) -> GatewayRow {
    GatewayRow { endpoint: Some(endpoint), ..row }
}

/// M-Pesa contract 7.2, row by row; the first row that fits counts.
pub const GATEWAY: &[GatewayRow] = &[
    // First: whatever its text says, on money-out calls this code may hide a payment.
    only(Endpoint::Initiator, gateway(&[500], &["500.001.1001"], Words::Any, Meaning::Ambiguous, "7.2")),
    gateway(&[400], &["400.002.02"], Words::Starts("bad request"), Meaning::Refused, "7.2"),
    gateway(&[400], &["400.002.05"], Words::Starts("invalid request payload"), Meaning::Refused, "7.2"),
    gateway(&[400], &["400.003.02"], Words::Starts("bad request"), Meaning::Refused, "7.2"),
    // The class "invalid access token": the code depends on the API (M-Pesa contract 1).
    gateway(
        &[400, 401, 404],
        &["400.003.01", "401.002.01", "401.003.01", "404.001.03", "401.001"],
        Words::HasOrNone("access token"),
        Meaning::Token,
        "1, 7.2",
    ),
    gateway(&[400, 401, 403, 404], &[], Words::Has("no apiproduct match found"), Meaning::Token, "1"),
    gateway(&[400, 401, 404], &[], Words::Starts("invalid access token"), Meaning::Token, "1"),
    gateway(&[404], &["404.001.04"], Words::Starts("invalid authentication header"), Meaning::Refused, "1, 7.2"),
    gateway(&[404], &["404.001.01", "404.002.01", "404.003.01"], Words::Starts("resource not found"), Meaning::Refused, "7.2"),
    gateway(&[405], &["405.001"], Words::Has("method not allowed"), Meaning::Refused, "7.2"),
    gateway(&[429, 500], &[], Words::Starts("spike arrest violation"), Meaning::Throttled(limits::AFTER_SPIKE), "7.1, 7.2, 5.5"),
    gateway(&[500], &["500.003.02"], Words::Has("spike arrest violation"), Meaning::Throttled(limits::AFTER_SPIKE), "7.2"),
    gateway(&[500], &["500.003.02"], Words::Starts("system is busy"), Meaning::Throttled(limits::AFTER_BUSY), "7.2"),
    gateway(&[500], &["500.003.03"], Words::Has("quota violation"), Meaning::Throttled(limits::AFTER_QUOTA), "7.2"),
    gateway(&[500], &["500.002.1001"], Words::Starts("duplicate originatorconversationid"), Meaning::Duplicate, "2.7, 7.2"),
    gateway(&[500], &["500.002.1001"], Words::Starts("system internal error"), Meaning::Ambiguous, "7.2"),
    only(
        Endpoint::RegisterUrl,
        gateway(&[500], &["500.003.1001"], Words::Starts("urls are already registered"), Meaning::AlreadyRegistered, "4.1, 7.2"),
    ),
    only(
        Endpoint::RegisterUrl,
        gateway(&[500], &["500.003.1001"], Words::Starts("duplicate notification info"), Meaning::AlreadyRegistered, "4.1, 7.2"),
    ),
    gateway(&[500], &["500.003.1001"], Words::Starts("internal server error"), Meaning::Ambiguous, "7.2"),
    gateway(&[500], &["500.003.1001"], Words::Starts("service is currently unreachable"), Meaning::Ambiguous, "7.2"),
    only(Endpoint::Stk, gateway(&[500], &["500.001.1001"], Words::Starts("merchant does not exist"), Meaning::Refused, "7.2")),
    only(Endpoint::Stk, gateway(&[500], &["500.001.1001"], Words::Starts("wrong credentials"), Meaning::Refused, "7.2")),
    only(Endpoint::Stk, gateway(&[500], &["500.001.1001"], Words::Starts("[merchantvalidate] - wrong credentials"), Meaning::Refused, "7.2")),
    only(
        Endpoint::Stk,
        gateway(&[500], &["500.001.1001"], Words::Starts("unable to lock subscriber"), Meaning::Throttled(limits::AFTER_LOCK), "7.2"),
    ),
    gateway(&[500], &[], Words::Starts("service is temporarily unavailable"), Meaning::Ambiguous, "7.2"),
    gateway(&[], &["00.002.1001"], Words::Any, Meaning::Throttled(limits::AFTER_MAINTENANCE), "7.2"),
    // Middleware codes that the portal lists without naming an API.
    gateway(&[], &["100000000", "100000004"], Words::Any, Meaning::Ambiguous, "7.2, middleware"),
    gateway(&[], &["100000001", "100000002", "100000011"], Words::Any, Meaning::Throttled(limits::AFTER_SPIKE), "7.2, middleware"),
    gateway(&[], &["100000005", "100000007", "100000009", "100000010"], Words::Any, Meaning::Refused, "7.2, middleware"),
    gateway(&[502, 503, 504], &[], Words::Any, Meaning::Ambiguous, "7.2"),
];

/// What an answer with this status, error code and text means. Not listed: ambiguous.
pub fn gateway_meaning(endpoint: Endpoint, status: u16, code: Option<&str>, message: &str) -> Meaning {
    GATEWAY
        .iter()
        .find(|row| {
            row.endpoint.is_none_or(|e| e == endpoint)
                && (row.statuses.is_empty() || row.statuses.contains(&status))
                && (row.codes.is_empty() || code.is_some_and(|c| row.codes.contains(&c)))
                && row.words.fit(message)
        })
        .map_or(Meaning::Ambiguous, |row| row.meaning)
}

/// What an HTTP 200 with a `ResponseCode` other than `0` means: refused, unless it says otherwise (M-Pesa contract 2.3,
/// 2.7, 7.2).
pub fn response_meaning(code: &str, text: &str) -> Meaning {
    if text.to_lowercase().contains("duplicate") || code == "15" {
        return Meaning::Duplicate;
    }
    if THROTTLED_SYNCHRONOUSLY.contains(&code) {
        return Meaning::Throttled(limits::AFTER_BUSY);
    }
    match find(code).map(|row| row.class) {
        // Listed as "query before anything else": true here as well. And a 0 is not for this function.
        Some(CodeClass::Ambiguous | CodeClass::Success) => Meaning::Ambiguous,
        _ => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_7_2_means_what_the_contract_says() {
        use Meaning::{Ambiguous, Duplicate, Refused, Token};
        let throttled = Meaning::Throttled;
        for (status, code, message, meaning) in [
            (400, "400.002.02", "Bad Request - Invalid Amount", Refused),
            (400, "400.002.05", "Invalid Request Payload", Refused),
            (400, "400.003.02", "Bad Request", Refused),
            (400, "400.003.01", "Invalid Access Token", Token),
            (401, "401.002.01", "Error Occurred - Invalid Access Token - abc", Token),
            (401, "401.003.01", "Invalid access token", Token),
            (404, "404.001.03", "Invalid Access Token", Token),
            (401, "401.001", "Invalid Access Token", Token),
            (401, "", "Invalid API call as no apiproduct match found", Token),
            (404, "404.001.04", "Invalid Authentication Header", Refused),
            (404, "404.001.01", "Resource not found", Refused),
            (404, "404.002.01", "Resource not found", Refused),
            (404, "404.003.01", "Resource not found", Refused),
            (405, "405.001", "GET Method Not Allowed", Refused),
            (429, "policies.ratelimit.SpikeArrestViolation", "Spike arrest violation. Allowed rate : 5ps", throttled(limits::AFTER_SPIKE)),
            (500, "500.003.02", "Error Occurred: Spike Arrest Violation", throttled(limits::AFTER_SPIKE)),
            (500, "500.003.02", "System is busy. Please try again in few minutes.", throttled(limits::AFTER_BUSY)),
            (500, "500.003.03", "Error Occurred: Quota Violation", throttled(limits::AFTER_QUOTA)),
            (500, "500.002.1001", "Duplicate OriginatorConversationID.", Duplicate),
            (500, "500.002.1001", "Duplicate OriginatorConversationID", Duplicate),
            (500, "500.002.1001", "System internal error.", Ambiguous),
            (500, "500.003.1001", "Internal Server Error", Ambiguous),
            (500, "500.003.1001", "Service is currently unreachable. Please try again later.", Ambiguous),
            (500, "500.003.1001", "Urls are already registered.", Ambiguous),
            (500, "500.001.1001", "Wrong credentials", Ambiguous),
            (500, "500.001.1001", "", Ambiguous),
            (500, "", "Service is temporarily unavailable. Please try again later", Ambiguous),
            (200, "00.002.1001", "maintenance", throttled(limits::AFTER_MAINTENANCE)),
            (503, "00.002.1001", "", throttled(limits::AFTER_MAINTENANCE)),
            (502, "", "", Ambiguous),
            (503, "", "Bad gateway", Ambiguous),
            (504, "", "", Ambiguous),
            (500, "100000000", "", Ambiguous),
            (500, "100000001", "", throttled(limits::AFTER_SPIKE)),
            (500, "100000002", "", throttled(limits::AFTER_SPIKE)),
            (500, "100000011", "", throttled(limits::AFTER_SPIKE)),
            (500, "100000004", "", Ambiguous),
            (500, "100000005", "", Refused),
            (500, "100000007", "", Refused),
            (500, "100000009", "", Refused),
            (500, "100000010", "", Refused),
            // Not listed in this combination.
            (500, "400.002.02", "Bad Request - Invalid Amount", Ambiguous),
            (400, "400.002.02", "something else", Ambiguous),
            (500, "401.002.01", "Invalid Access Token", Ambiguous),
            (400, "400.003.01", "some other text", Ambiguous),
            (403, "", "", Ambiguous),
            (429, "", "", Ambiguous),
            (418, "418.000", "teapot", Ambiguous),
        ] {
            let code = Some(code).filter(|c| !c.is_empty());
            assert_eq!(gateway_meaning(Endpoint::Initiator, status, code, message), meaning, "{status} {code:?} {message}");
        }
    }

    #[test]
    fn one_code_means_other_things_at_other_endpoints() {
        let stk = |message| gateway_meaning(Endpoint::Stk, 500, Some("500.001.1001"), message);
        assert_eq!(stk("Merchant does not exist"), Meaning::Refused);
        assert_eq!(stk("[MerchantValidate] - Wrong credentials"), Meaning::Refused);
        assert_eq!(
            stk("Unable to lock subscriber, a transaction is already in process for the current subscriber"),
            Meaning::Throttled(limits::AFTER_LOCK)
        );
        assert_eq!(stk("The transaction is being processed"), Meaning::Ambiguous);
        let register = |message| gateway_meaning(Endpoint::RegisterUrl, 500, Some("500.003.1001"), message);
        assert_eq!(register("Urls are already registered."), Meaning::AlreadyRegistered);
        assert_eq!(register("Service is currently unreachable. Please try again later."), Meaning::Ambiguous);
    }

    #[test]
    fn a_200_that_is_not_0_is_refused_unless_it_says_otherwise() {
        assert_eq!(response_meaning("1", "Rejected"), Meaning::Refused);
        assert_eq!(response_meaning("1", "Duplicate OriginatorConversationID."), Meaning::Duplicate);
        assert_eq!(response_meaning("15", ""), Meaning::Duplicate);
        assert_eq!(response_meaning("26", ""), Meaning::Throttled(limits::AFTER_BUSY));
        assert_eq!(response_meaning("17", ""), Meaning::Ambiguous);
        assert_eq!(response_meaning("2001", "The initiator information is invalid."), Meaning::Refused);
        assert_eq!(response_meaning("0", ""), Meaning::Ambiguous);
    }
}
