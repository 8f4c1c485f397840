//! Builds the `{"Result": …}` envelope, as text, so that each number stands on the wire exactly as meant.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::book::Balances;
use super::codes;
use super::names::{dotted_stamp, kes};
use crate::random::Chance;

/// A JSON value of a result parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A JSON string.
    Text(String),
    /// Money in KES cents: a number, or a string in one of the typings of M-Pesa contract 0.5.
    Money(i64),
    /// Digits that come as a number or as a string, such as a time stamp.
    Digits(String),
    /// The pair has no `Value` at all.
    Missing,
}

/// Everything that stands in a result. Build one to forge a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultParts {
    /// 0: completed. Anything else is not terminal.
    pub result_type: u8,
    /// Numeric or alphanumeric.
    pub result_code: String,
    /// In words.
    pub result_desc: String,
    /// The request's id.
    pub originator_conversation_id: String,
    /// M-Pesa's id of the request.
    pub conversation_id: String,
    /// Receipt or placeholder.
    pub transaction_id: String,
    /// `ResultParameters`; left out when empty.
    pub parameters: Vec<(String, Token)>,
    /// `ReferenceData`: key and value.
    pub reference: (String, Token),
}

impl ResultParts {
    /// A result without parameters.
    pub fn new(code: &str, originator: &str, conversation: &str, transaction: &str) -> Self {
        let address = "https://internalapi.safaricom.co.ke/mpesa/b2cresults/v1/submit";
        Self {
            result_type: 0,
            result_code: code.to_owned(),
            result_desc: codes::description(code).to_owned(),
            originator_conversation_id: originator.to_owned(),
            conversation_id: conversation.to_owned(),
            transaction_id: transaction.to_owned(),
            parameters: Vec::new(),
            reference: ("QueueTimeoutURL".to_owned(), Token::Text(address.to_owned())),
        }
    }

    /// A B2C success with its eight parameters (M-Pesa contract 2.4); `party` is `<number> - <name>`. A forger starts here.
    pub fn b2c_success(
        (originator, conversation, receipt): (&str, &str, &str),
        cents: i64,
        party: &str,
        completed: DateTime<Utc>,
        balances: Balances,
    ) -> Self {
        Self::new("0", originator, conversation, receipt)
            .with("TransactionAmount", Token::Money(cents))
            .with("TransactionReceipt", Token::Text(receipt.to_owned()))
            .with("ReceiverPartyPublicName", Token::Text(party.to_owned()))
            .with("TransactionCompletedDateTime", Token::Text(dotted_stamp(completed)))
            .with("B2CUtilityAccountAvailableFunds", Token::Money(balances.utility_cents))
            .with("B2CWorkingAccountAvailableFunds", Token::Money(balances.working_cents))
            .with("B2CRecipientIsRegisteredCustomer", Token::Text("Y".to_owned()))
            .with("B2CChargesPaidAccountAvailableFunds", Token::Money(balances.charges_cents))
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: Token) -> Self {
        self.parameters.push((key.to_owned(), value));
        self
    }
}

/// The body of a result callback in the plainest typing and the given order. Also what a forger would send.
pub fn result_body(parts: &ResultParts) -> Bytes {
    Writer { out: String::with_capacity(1024), loose: None }.result(parts)
}

/// The same with parameters shuffled and each value in a typing drawn by chance.
pub(crate) fn loose_result_body(mut parts: ResultParts, chance: &mut Chance, per_mille: u16) -> Bytes {
    chance.shuffle(&mut parts.parameters);
    Writer { out: String::with_capacity(1024), loose: Some((chance, per_mille)) }.result(&parts)
}

struct Writer<'a> {
    out: String,
    loose: Option<(&'a mut Chance, u16)>,
}

impl Writer<'_> {
    /// Whether this value shall come in another typing.
    fn loosely(&mut self) -> bool {
        self.loose.as_mut().is_some_and(|(chance, per_mille)| chance.per_mille(*per_mille))
    }

    fn text(&mut self, text: &str) {
        push_json_text(&mut self.out, text);
    }

    fn number_or_text(&mut self, digits: &str, plain_is_text: bool) {
        if self.loosely() == plain_is_text {
            self.out.push_str(digits);
        } else {
            self.text(digits);
        }
    }

    fn code(&mut self, code: &str) {
        if is_number(code) {
            self.number_or_text(code, false);
        } else {
            self.text(code);
        }
    }

    fn money(&mut self, cents: i64) {
        let full = kes(cents);
        let short = full.strip_suffix(".00").unwrap_or(&full).to_owned();
        if !self.loosely() {
            return self.out.push_str(&short);
        }
        let form = self.loose.as_mut().map_or(0, |(chance, _)| chance.below(4));
        match form {
            0 => self.out.push_str(&full),
            1 => self.text(&full),
            2 => self.text(&short),
            _ if short.contains('.') => self.out.push_str(full.strip_suffix('0').unwrap_or(&full)),
            _ => {
                self.out.push_str(&short);
                self.out.push_str(".0");
            }
        }
    }

    fn pair(&mut self, key: &str, value: &Token) {
        self.out.push_str("{\"Key\":");
        self.text(key);
        if *value != Token::Missing {
            self.out.push_str(",\"Value\":");
        }
        match value {
            Token::Text(text) => self.text(text),
            Token::Money(cents) => self.money(*cents),
            Token::Digits(digits) => self.number_or_text(digits, true),
            Token::Missing => {}
        }
        self.out.push('}');
    }

    fn result(mut self, parts: &ResultParts) -> Bytes {
        self.out.push_str("{\"Result\":{\"ResultType\":");
        self.number_or_text(&parts.result_type.to_string(), false);
        self.out.push_str(",\"ResultCode\":");
        self.code(&parts.result_code);
        let texts = [
            ("ResultDesc", &parts.result_desc),
            ("OriginatorConversationID", &parts.originator_conversation_id),
            ("ConversationID", &parts.conversation_id),
            ("TransactionID", &parts.transaction_id),
        ];
        for (key, value) in texts {
            self.out.push_str(",\"");
            self.out.push_str(key);
            self.out.push_str("\":");
            self.text(value);
        }
        self.parameters(&parts.parameters);
        self.out.push_str(",\"ReferenceData\":{\"ReferenceItem\":");
        let as_array = self.loosely();
        if as_array {
            self.out.push('[');
        }
        self.pair(&parts.reference.0, &parts.reference.1);
        self.out.push_str(if as_array { "]}}}" } else { "}}}" });
        Bytes::from(self.out)
    }

    fn parameters(&mut self, parameters: &[(String, Token)]) {
        if parameters.is_empty() {
            return;
        }
        self.out.push_str(",\"ResultParameters\":{\"ResultParameter\":");
        let bare = parameters.len() == 1 && self.loosely();
        if !bare {
            self.out.push('[');
        }
        for (index, (key, value)) in parameters.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.pair(key, value);
        }
        self.out.push_str(if bare { "}" } else { "]}" });
    }
}

/// True for a JSON integer.
fn is_number(code: &str) -> bool {
    let digits = code.strip_prefix('-').unwrap_or(code);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0'))
}

/// Writes a JSON string with its quotes.
pub(crate) fn push_json_text(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn sample() -> ResultParts {
        ResultParts::new("0", "pv-1", "AG_1", "UA31ABCDE9")
            .with("TransactionAmount", Token::Money(150_000))
            .with("B2CUtilityAccountAvailableFunds", Token::Money(84_210_050))
            .with("TransactionReason", Token::Missing)
            .with("ReceiverPartyPublicName", Token::Text("254700000001 - \"O'Neil\"\n\u{1}".to_owned()))
    }

    #[test]
    fn the_plain_body_is_the_documented_one() {
        let body: Value = serde_json::from_slice(&result_body(&sample())).unwrap();
        let result = &body["Result"];
        assert_eq!((result["ResultType"].as_i64(), result["ResultCode"].as_i64()), (Some(0), Some(0)));
        let parameters = &result["ResultParameters"]["ResultParameter"];
        assert_eq!(parameters[0], serde_json::json!({"Key": "TransactionAmount", "Value": 1500}));
        assert_eq!(parameters[2], serde_json::json!({"Key": "TransactionReason"}));
        assert_eq!(parameters[3]["Value"], "254700000001 - \"O'Neil\"\n\u{1}");
        assert!(result_body(&sample()).windows(8).any(|part| part == b"842100.5"));
    }

    #[test]
    fn every_loose_body_is_valid_json_and_says_the_same_money() {
        let mut chance = Chance::new(5);
        let mut orders = std::collections::BTreeSet::new();
        let mut forms = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let bytes = loose_result_body(sample(), &mut chance, 500);
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            let parameters = body["Result"]["ResultParameters"]["ResultParameter"].as_array().unwrap().clone();
            orders.insert(parameters.iter().map(|pair| pair["Key"].to_string()).collect::<String>());
            let amount = parameters.iter().find(|pair| pair["Key"] == "TransactionAmount").unwrap();
            let written = amount["Value"].to_string();
            forms.insert(written.clone());
            assert!(["1500", "1500.0", "\"1500\"", "\"1500.00\""].contains(&written.as_str()), "{written}");
        }
        assert!(orders.len() > 10);
        assert_eq!(forms.len(), 4);
    }

    #[test]
    fn codes_with_letters_are_always_text() {
        let body = result_body(&ResultParts::new("SFC_IC0003", "a", "b", "c"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["Result"]["ResultCode"], "SFC_IC0003");
        assert!(!is_number("007") && !is_number("-") && is_number("-1") && is_number("0"));
    }
}
