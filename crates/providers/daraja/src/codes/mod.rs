//! What the codes of M-Pesa mean for the money, as data: one table for the results of payments ([`RESULT_CODES`]), one for
//! the answers of the gateway ([`GATEWAY`]). [`markdown`] writes both for the documents, so that they cannot lie.
//!
//! What is not listed is ambiguous. A row here that says "refused" lets a new payment be made; so a row needs a source.

mod gateway;
mod results;

use std::fmt::Write as _;

use pv_kernel::rail::{CodeClass, RetryWhen};

pub use self::{
    gateway::{Endpoint, GATEWAY, GatewayRow, Meaning, Words, gateway_meaning, response_meaning},
    results::{CREDENTIAL_CODES, RESULT_CODES, ResultCode, classify, meaning_of},
};

/// Both tables as Markdown.
pub fn markdown() -> String {
    let mut out = String::from("## Result codes of payments\n\n| code | meaning | what it means for the money |\n|---|---|---|\n");
    for row in RESULT_CODES {
        let _ = writeln!(out, "| `{}` | {} | {} |", row.code, row.meaning, class_words(row.class));
    }
    let _ = writeln!(out, "| any other | | {} |", class_words(CodeClass::Ambiguous));
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
    let _ = writeln!(out, "| all | any other | | | {} | 7.2 |", meaning_words(Meaning::Ambiguous));
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
        Meaning::Throttled(after) => format!("did not enter M-Pesa; the same id again after {} s", after.as_secs()),
        Meaning::Duplicate => "an earlier submission of this id was taken; its outcome is asked".to_owned(),
        Meaning::Ambiguous => "not yet known; it is asked".to_owned(),
        Meaning::AlreadyRegistered => "registered already; no money call".to_owned(),
    }
}

fn class_words(class: CodeClass) -> &'static str {
    match class {
        CodeClass::Success => "paid",
        CodeClass::Final => "not paid; the same payment would fail again",
        CodeClass::Retry(RetryWhen::Funded) => "not paid; a new attempt after the account was funded",
        CodeClass::Retry(RetryWhen::NextDay) => "not paid; a new attempt the next day",
        CodeClass::Retry(RetryWhen::Minutes) => "not paid; a new attempt after some minutes",
        CodeClass::Halt => "not paid; everything on this shortcode or credential stops",
        CodeClass::Ambiguous => "not yet known; it is asked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_code() {
        let text = markdown();
        assert!(RESULT_CODES.iter().all(|row| text.contains(&format!("| `{}` |", row.code))));
        assert_eq!(text.lines().filter(|l| l.starts_with("| ")).count(), RESULT_CODES.len() + GATEWAY.len() + 4);
    }
}
