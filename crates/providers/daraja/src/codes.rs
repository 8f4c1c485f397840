//! What the codes of M-Pesa mean for the money, as data: one table for the results of payments, one for the answers of
//! the gateway. [`markdown`] writes both for the documents, so that they cannot lie.
//!
//! What is not listed is ambiguous. A row here that says "refused" lets a new payment be made; so a row needs a source.

use std::{fmt::Write as _, time::Duration};

use pv_kernel::rail::{CodeClass, RetryWhen};

use crate::limits;

/// One result code (M-Pesa contract 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCode {
    /// The code as text.
    pub code: &'static str,
    /// Its class for money out, when it comes as a *result*.
    pub class: CodeClass,
    /// What it means.
    pub meaning: &'static str,
}

const fn row(code: &'static str, class: CodeClass, meaning: &'static str) -> ResultCode {
    ResultCode {
        code,
        class,
        meaning,
    }
}

/// M-Pesa contract 7.3, row by row. "Any other" is [`CodeClass::Ambiguous`].
pub const RESULT_CODES: &[ResultCode] = &[
    row("0", CodeClass::Success, "success"),
    row(
        "1",
        CodeClass::Retry(RetryWhen::Funded),
        "too little money in the paying (utility) account",
    ),
    row("2", CodeClass::Final, "below the minimum amount"),
    row(
        "3",
        CodeClass::Final,
        "above the maximum amount of one payment",
    ),
    row(
        "4",
        CodeClass::Retry(RetryWhen::NextDay),
        "would pass the daily limit, normally the customer's",
    ),
    row(
        "5",
        CodeClass::Retry(RetryWhen::Funded),
        "would pass the minimum balance",
    ),
    row("6", CodeClass::Halt, "the paying party is not found"),
    row("7", CodeClass::Final, "the receiver is not found"),
    row(
        "8",
        CodeClass::Retry(RetryWhen::NextDay),
        "would pass the customer's maximum balance",
    ),
    row(
        "10",
        CodeClass::Final,
        "the number is not registered on M-Pesa",
    ),
    row(
        "11",
        CodeClass::Halt,
        "the paying account is in an invalid state",
    ),
    row("12", CodeClass::Final, "the credit account is invalid"),
    row("13", CodeClass::Halt, "the debit account is not found"),
    row("14", CodeClass::Final, "the credit account is not found"),
    row(
        "15",
        CodeClass::Ambiguous,
        "duplicate: the id was seen before; settle the original",
    ),
    row("17", CodeClass::Ambiguous, "internal failure, catch-all"),
    row(
        "18",
        CodeClass::Halt,
        "the initiator's credential was refused",
    ),
    row("19", CodeClass::Ambiguous, "message sequencing failure"),
    row("20", CodeClass::Halt, "the initiator is not found"),
    row("21", CodeClass::Halt, "the initiator lacks the role"),
    row("22", CodeClass::Halt, "the initiator is not active"),
    row(
        "24",
        CodeClass::Final,
        "a mandatory field is missing (our fault)",
    ),
    row(
        "25",
        CodeClass::Final,
        "a parameter has the wrong type (our fault)",
    ),
    // As a synchronous answer it is a throttling, see THROTTLED_SYNCHRONOUSLY; as a result it must be asked about first.
    row(
        "26",
        CodeClass::Ambiguous,
        "traffic blocking, the system is too busy",
    ),
    row(
        "29",
        CodeClass::Final,
        "the command is not defined (our fault)",
    ),
    row(
        "1001",
        CodeClass::Retry(RetryWhen::Minutes),
        "the subscriber is locked by another transaction",
    ),
    row("1019", CodeClass::Ambiguous, "the transaction expired"),
    row(
        "2001",
        CodeClass::Halt,
        "the initiator information is invalid: name, password or certificate",
    ),
    row(
        "2006",
        CodeClass::Halt,
        "the status of the account forbids it",
    ),
    row("2028", CodeClass::Halt, "the shortcode lacks the product"),
    row(
        "2032",
        CodeClass::Ambiguous,
        "the receipt does not exist (an answer to a status question)",
    ),
    row(
        "2040",
        CodeClass::Final,
        "the receiver's type is not supported (not registered)",
    ),
    row("8006", CodeClass::Halt, "the security credential is locked"),
    row(
        "SFC_IC0003",
        CodeClass::Final,
        "the operator does not exist: a bad or unregistered number",
    ),
    row(
        "R002",
        CodeClass::Final,
        "the type of the identity document is not found",
    ),
    row(
        "R003",
        CodeClass::Final,
        "the identity number does not match the line",
    ),
    row("R000001", CodeClass::Final, "reversal: already reversed"),
    row(
        "R000002",
        CodeClass::Final,
        "reversal: the original id is invalid",
    ),
];

/// The class of a result code for money out. Only the exact text `0` is success; what is not listed is ambiguous.
pub fn classify(code: &str) -> CodeClass {
    find(code).map_or(CodeClass::Ambiguous, |row| row.class)
}

/// What a result code means, in words; `None` when it is not listed.
pub fn meaning_of(code: &str) -> Option<&'static str> {
    find(code).map(|row| row.meaning)
}

fn find(code: &str) -> Option<&'static ResultCode> {
    RESULT_CODES.iter().find(|row| row.code == code)
}

/// Codes that mean our credential is bad: every further call with it can lock the operator (rule A19; M-Pesa contract 3).
pub const CREDENTIAL_CODES: [&str; 6] = ["2001", "18", "20", "21", "22", "8006"];

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

const fn gateway(
    statuses: &'static [u16],
    codes: &'static [&'static str],
    words: Words,
    meaning: Meaning,
    source: &'static str,
) -> GatewayRow {
    GatewayRow {
        endpoint: None,
        statuses,
        codes,
        words,
        meaning,
        source,
    }
}

const fn only(endpoint: Endpoint, row: GatewayRow) -> GatewayRow {
    GatewayRow {
        endpoint: Some(endpoint),
        ..row
    }
}

/// M-Pesa contract 7.2, row by row; the first row that fits counts.
pub const GATEWAY: &[GatewayRow] = &[
    // First: whatever its text says, on money-out calls this code may hide a payment.
    only(
        Endpoint::Initiator,
        gateway(
            &[500],
            &["500.001.1001"],
            Words::Any,
            Meaning::Ambiguous,
            "7.2",
        ),
    ),
    gateway(
        &[400],
        &["400.002.02"],
        Words::Starts("bad request"),
        Meaning::Refused,
        "7.2",
    ),
    gateway(
        &[400],
        &["400.002.05"],
        Words::Starts("invalid request payload"),
        Meaning::Refused,
        "7.2",
    ),
    gateway(
        &[400],
        &["400.003.02"],
        Words::Starts("bad request"),
        Meaning::Refused,
        "7.2",
    ),
    // The class "invalid access token": the code depends on the API (M-Pesa contract 1).
    gateway(
        &[400, 401, 404],
        &[
            "400.003.01",
            "401.002.01",
            "401.003.01",
            "404.001.03",
            "401.001",
        ],
        Words::HasOrNone("access token"),
        Meaning::Token,
        "1, 7.2",
    ),
    gateway(
        &[400, 401, 403, 404],
        &[],
        Words::Has("no apiproduct match found"),
        Meaning::Token,
        "1",
    ),
    gateway(
        &[400, 401, 404],
        &[],
        Words::Starts("invalid access token"),
        Meaning::Token,
        "1",
    ),
    gateway(
        &[404],
        &["404.001.04"],
        Words::Starts("invalid authentication header"),
        Meaning::Refused,
        "1, 7.2",
    ),
    gateway(
        &[404],
        &["404.001.01", "404.002.01", "404.003.01"],
        Words::Starts("resource not found"),
        Meaning::Refused,
        "7.2",
    ),
    gateway(
        &[405],
        &["405.001"],
        Words::Has("method not allowed"),
        Meaning::Refused,
        "7.2",
    ),
    gateway(
        &[429, 500],
        &[],
        Words::Starts("spike arrest violation"),
        Meaning::Throttled(limits::AFTER_SPIKE),
        "7.1, 7.2, 5.5",
    ),
    gateway(
        &[500],
        &["500.003.02"],
        Words::Has("spike arrest violation"),
        Meaning::Throttled(limits::AFTER_SPIKE),
        "7.2",
    ),
    gateway(
        &[500],
        &["500.003.02"],
        Words::Starts("system is busy"),
        Meaning::Throttled(limits::AFTER_BUSY),
        "7.2",
    ),
    gateway(
        &[500],
        &["500.003.03"],
        Words::Has("quota violation"),
        Meaning::Throttled(limits::AFTER_QUOTA),
        "7.2",
    ),
    gateway(
        &[500],
        &["500.002.1001"],
        Words::Starts("duplicate originatorconversationid"),
        Meaning::Duplicate,
        "2.7, 7.2",
    ),
    gateway(
        &[500],
        &["500.002.1001"],
        Words::Starts("system internal error"),
        Meaning::Ambiguous,
        "7.2",
    ),
    only(
        Endpoint::RegisterUrl,
        gateway(
            &[500],
            &["500.003.1001"],
            Words::Starts("urls are already registered"),
            Meaning::AlreadyRegistered,
            "4.1, 7.2",
        ),
    ),
    only(
        Endpoint::RegisterUrl,
        gateway(
            &[500],
            &["500.003.1001"],
            Words::Starts("duplicate notification info"),
            Meaning::AlreadyRegistered,
            "4.1, 7.2",
        ),
    ),
    gateway(
        &[500],
        &["500.003.1001"],
        Words::Starts("internal server error"),
        Meaning::Ambiguous,
        "7.2",
    ),
    gateway(
        &[500],
        &["500.003.1001"],
        Words::Starts("service is currently unreachable"),
        Meaning::Ambiguous,
        "7.2",
    ),
    only(
        Endpoint::Stk,
        gateway(
            &[500],
            &["500.001.1001"],
            Words::Starts("merchant does not exist"),
            Meaning::Refused,
            "7.2",
        ),
    ),
    only(
        Endpoint::Stk,
        gateway(
            &[500],
            &["500.001.1001"],
            Words::Starts("wrong credentials"),
            Meaning::Refused,
            "7.2",
        ),
    ),
    only(
        Endpoint::Stk,
        gateway(
            &[500],
            &["500.001.1001"],
            Words::Starts("[merchantvalidate] - wrong credentials"),
            Meaning::Refused,
            "7.2",
        ),
    ),
    only(
        Endpoint::Stk,
        gateway(
            &[500],
            &["500.001.1001"],
            Words::Starts("unable to lock subscriber"),
            Meaning::Throttled(limits::AFTER_LOCK),
            "7.2",
        ),
    ),
    gateway(
        &[500],
        &[],
        Words::Starts("service is temporarily unavailable"),
        Meaning::Ambiguous,
        "7.2",
    ),
    gateway(
        &[],
        &["00.002.1001"],
        Words::Any,
        Meaning::Throttled(limits::AFTER_MAINTENANCE),
        "7.2",
    ),
    // Middleware codes that the portal lists without naming an API.
    gateway(
        &[],
        &["100000000", "100000004"],
        Words::Any,
        Meaning::Ambiguous,
        "7.2, middleware",
    ),
    gateway(
        &[],
        &["100000001", "100000002", "100000011"],
        Words::Any,
        Meaning::Throttled(limits::AFTER_SPIKE),
        "7.2, middleware",
    ),
    gateway(
        &[],
        &["100000005", "100000007", "100000009", "100000010"],
        Words::Any,
        Meaning::Refused,
        "7.2, middleware",
    ),
    gateway(&[502, 503, 504], &[], Words::Any, Meaning::Ambiguous, "7.2"),
];

/// What an answer with this status, error code and text means. Not listed: ambiguous.
pub fn gateway_meaning(
    endpoint: Endpoint,
    status: u16,
    code: Option<&str>,
    message: &str,
) -> Meaning {
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

/// Both tables as Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "## Result codes of payments\n\n| code | meaning | what it means for the money |\n|---|---|---|\n",
    );
    for row in RESULT_CODES {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            row.code,
            row.meaning,
            class_words(row.class)
        );
    }
    let _ = writeln!(
        out,
        "| any other | | {} |",
        class_words(CodeClass::Ambiguous)
    );
    out.push_str("\n## Answers of the gateway\n\n| endpoint | HTTP | error code | text | what it means | source |\n|---|---|---|---|---|---|\n");
    for row in GATEWAY {
        let statuses: Vec<String> = row.statuses.iter().map(ToString::to_string).collect();
        let codes: Vec<String> = row.codes.iter().map(|c| format!("`{c}`")).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.endpoint.map_or("all", endpoint_words),
            or_any(&statuses.join(", ")),
            or_any(&codes.join(", ")),
            words_words(row.words),
            meaning_words(row.meaning),
            row.source
        );
    }
    let _ = writeln!(
        out,
        "| all | any other | | | {} | 7.2 |",
        meaning_words(Meaning::Ambiguous)
    );
    out
}

fn or_any(text: &str) -> &str {
    if text.is_empty() { "any" } else { text }
}

fn endpoint_words(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Initiator => "B2C, status, balance",
        Endpoint::Stk => "STK",
        Endpoint::RegisterUrl => "URL registration",
    }
}

fn words_words(words: Words) -> String {
    match words {
        Words::Any => "any".to_owned(),
        Words::Starts(text) => format!("starts with \"{text}\""),
        Words::Has(text) => format!("has \"{text}\""),
        Words::HasOrNone(text) => format!("has \"{text}\", or none"),
    }
}

fn meaning_words(meaning: Meaning) -> String {
    match meaning {
        Meaning::Refused => "did not enter M-Pesa; not to be repeated".to_owned(),
        Meaning::Token => "did not enter M-Pesa; a new token, once".to_owned(),
        Meaning::Throttled(after) => format!(
            "did not enter M-Pesa; the same id again after {} s",
            after.as_secs()
        ),
        Meaning::Duplicate => {
            "an earlier submission of this id was taken; its outcome is asked".to_owned()
        }
        Meaning::Ambiguous => "not yet known; it is asked".to_owned(),
        Meaning::AlreadyRegistered => "registered already; no money call".to_owned(),
    }
}

fn class_words(class: CodeClass) -> &'static str {
    match class {
        CodeClass::Success => "paid",
        CodeClass::Final => "not paid; the same payment would fail again",
        CodeClass::Retry(RetryWhen::Funded) => {
            "not paid; a new attempt after the account was funded"
        }
        CodeClass::Retry(RetryWhen::NextDay) => "not paid; a new attempt the next day",
        CodeClass::Retry(RetryWhen::Minutes) => "not paid; a new attempt after some minutes",
        CodeClass::Halt => "not paid; everything on this shortcode or credential stops",
        CodeClass::Ambiguous => "not yet known; it is asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_row_of_7_3_has_the_class_of_the_contract() {
        use CodeClass::{Ambiguous, Final, Halt, Retry, Success};
        let table: &[(&[&str], CodeClass)] = &[
            (&["0"], Success),
            (&["1", "5"], Retry(RetryWhen::Funded)),
            (&["4", "8"], Retry(RetryWhen::NextDay)),
            (&["1001"], Retry(RetryWhen::Minutes)),
            (
                &[
                    "2",
                    "3",
                    "7",
                    "10",
                    "12",
                    "14",
                    "24",
                    "25",
                    "29",
                    "2040",
                    "SFC_IC0003",
                    "R002",
                    "R003",
                    "R000001",
                    "R000002",
                ],
                Final,
            ),
            (
                &[
                    "6", "11", "13", "18", "20", "21", "22", "2001", "2006", "2028", "8006",
                ],
                Halt,
            ),
            (&["15", "17", "19", "26", "1019", "2032"], Ambiguous),
            // "Treat as any other".
            (
                &[
                    "2007", "2020", "2029", "2033", "2043", "2051", "2202", "1005", "", "00",
                    "0.0", " 0", "success", "9",
                ],
                Ambiguous,
            ),
        ];
        for (codes, class) in table {
            for code in *codes {
                assert_eq!(classify(code), *class, "{code}");
            }
        }
        let listed: usize = table.iter().take(7).map(|(codes, _)| codes.len()).sum();
        assert_eq!(
            listed,
            RESULT_CODES.len(),
            "a row was added without its test"
        );
    }

    #[test]
    fn the_credential_codes_are_all_halts() {
        assert!(
            CREDENTIAL_CODES
                .iter()
                .all(|c| classify(c) == CodeClass::Halt)
        );
    }

    #[test]
    fn every_row_of_7_2_means_what_the_contract_says() {
        use Meaning::{Ambiguous, Duplicate, Refused, Token};
        let throttled = Meaning::Throttled;
        for (status, code, message, meaning) in [
            (400, "400.002.02", "Bad Request - Invalid Amount", Refused),
            (400, "400.002.05", "Invalid Request Payload", Refused),
            (400, "400.003.02", "Bad Request", Refused),
            (400, "400.003.01", "Invalid Access Token", Token),
            (
                401,
                "401.002.01",
                "Error Occurred - Invalid Access Token - abc",
                Token,
            ),
            (401, "401.003.01", "Invalid access token", Token),
            (404, "404.001.03", "Invalid Access Token", Token),
            (401, "401.001", "Invalid Access Token", Token),
            (
                401,
                "",
                "Invalid API call as no apiproduct match found",
                Token,
            ),
            (404, "404.001.04", "Invalid Authentication Header", Refused),
            (404, "404.001.01", "Resource not found", Refused),
            (404, "404.002.01", "Resource not found", Refused),
            (404, "404.003.01", "Resource not found", Refused),
            (405, "405.001", "GET Method Not Allowed", Refused),
            (
                429,
                "policies.ratelimit.SpikeArrestViolation",
                "Spike arrest violation. Allowed rate : 5ps",
                throttled(limits::AFTER_SPIKE),
            ),
            (
                500,
                "500.003.02",
                "Error Occurred: Spike Arrest Violation",
                throttled(limits::AFTER_SPIKE),
            ),
            (
                500,
                "500.003.02",
                "System is busy. Please try again in few minutes.",
                throttled(limits::AFTER_BUSY),
            ),
            (
                500,
                "500.003.03",
                "Error Occurred: Quota Violation",
                throttled(limits::AFTER_QUOTA),
            ),
            (
                500,
                "500.002.1001",
                "Duplicate OriginatorConversationID.",
                Duplicate,
            ),
            (
                500,
                "500.002.1001",
                "Duplicate OriginatorConversationID",
                Duplicate,
            ),
            (500, "500.002.1001", "System internal error.", Ambiguous),
            (500, "500.003.1001", "Internal Server Error", Ambiguous),
            (
                500,
                "500.003.1001",
                "Service is currently unreachable. Please try again later.",
                Ambiguous,
            ),
            (
                500,
                "500.003.1001",
                "Urls are already registered.",
                Ambiguous,
            ),
            (500, "500.001.1001", "Wrong credentials", Ambiguous),
            (500, "500.001.1001", "", Ambiguous),
            (
                500,
                "",
                "Service is temporarily unavailable. Please try again later",
                Ambiguous,
            ),
            (
                200,
                "00.002.1001",
                "maintenance",
                throttled(limits::AFTER_MAINTENANCE),
            ),
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
            assert_eq!(
                gateway_meaning(Endpoint::Initiator, status, code, message),
                meaning,
                "{status} {code:?} {message}"
            );
        }
    }

    #[test]
    fn one_code_means_other_things_at_other_endpoints() {
        let stk = |message| gateway_meaning(Endpoint::Stk, 500, Some("500.001.1001"), message);
        assert_eq!(stk("Merchant does not exist"), Meaning::Refused);
        assert_eq!(
            stk("[MerchantValidate] - Wrong credentials"),
            Meaning::Refused
        );
        assert_eq!(
            stk(
                "Unable to lock subscriber, a transaction is already in process for the current subscriber"
            ),
            Meaning::Throttled(limits::AFTER_LOCK)
        );
        assert_eq!(
            stk("The transaction is being processed"),
            Meaning::Ambiguous
        );
        let register =
            |message| gateway_meaning(Endpoint::RegisterUrl, 500, Some("500.003.1001"), message);
        assert_eq!(
            register("Urls are already registered."),
            Meaning::AlreadyRegistered
        );
        assert_eq!(
            register("Service is currently unreachable. Please try again later."),
            Meaning::Ambiguous
        );
    }

    #[test]
    fn a_200_that_is_not_0_is_refused_unless_it_says_otherwise() {
        assert_eq!(response_meaning("1", "Rejected"), Meaning::Refused);
        assert_eq!(
            response_meaning("1", "Duplicate OriginatorConversationID."),
            Meaning::Duplicate
        );
        assert_eq!(response_meaning("15", ""), Meaning::Duplicate);
        assert_eq!(
            response_meaning("26", ""),
            Meaning::Throttled(limits::AFTER_BUSY)
        );
        assert_eq!(response_meaning("17", ""), Meaning::Ambiguous);
        assert_eq!(
            response_meaning("2001", "The initiator information is invalid."),
            Meaning::Refused
        );
        assert_eq!(response_meaning("0", ""), Meaning::Ambiguous);
    }

    #[test]
    fn the_document_names_every_code() {
        let text = markdown();
        assert!(
            RESULT_CODES
                .iter()
                .all(|row| text.contains(&format!("| `{}` |", row.code)))
        );
        assert_eq!(
            text.lines().filter(|l| l.starts_with("| ")).count(),
            RESULT_CODES.len() + GATEWAY.len() + 4
        );
    }

    proptest! {
        #[test]
        fn only_the_text_0_is_success(code in ".{0,8}") {
            prop_assert_eq!(classify(&code) == CodeClass::Success, code == "0");
        }
    }
}
