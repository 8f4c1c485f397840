//! The result codes of payments and their classes (M-Pesa contract 7.3).

use pv_kernel::rail::{CodeClass, RetryWhen};

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
    ResultCode { code, class, meaning }
}

/// M-Pesa contract 7.3, row by row. "Any other" is [`CodeClass::Ambiguous`].
pub const RESULT_CODES: &[ResultCode] = &[
    row("0", CodeClass::Success, "success"),
    row("1", CodeClass::Retry(RetryWhen::Funded), "too little money in the paying (utility) account"),
    row("2", CodeClass::Final, "below the minimum amount"),
    row("3", CodeClass::Final, "above the maximum amount of one payment"),
    row("4", CodeClass::Retry(RetryWhen::NextDay), "would pass the daily limit, normally the customer's"),
    row("5", CodeClass::Retry(RetryWhen::Funded), "would pass the minimum balance"),
    row("6", CodeClass::Halt, "the paying party is not found"),
    row("7", CodeClass::Final, "the receiver is not found"),
    row("8", CodeClass::Retry(RetryWhen::NextDay), "would pass the customer's maximum balance"),
    row("10", CodeClass::Final, "the number is not registered on M-Pesa"),
    row("11", CodeClass::Halt, "the paying account is in an invalid state"),
    row("12", CodeClass::Final, "the credit account is invalid"),
    row("13", CodeClass::Halt, "the debit account is not found"),
    row("14", CodeClass::Final, "the credit account is not found"),
    row("15", CodeClass::Ambiguous, "duplicate: the id was seen before; settle the original"),
    row("17", CodeClass::Ambiguous, "internal failure, catch-all"),
    row("18", CodeClass::Halt, "the initiator's credential was refused"),
    row("19", CodeClass::Ambiguous, "message sequencing failure"),
    row("20", CodeClass::Halt, "the initiator is not found"),
    row("21", CodeClass::Halt, "the initiator lacks the role"),
    row("22", CodeClass::Halt, "the initiator is not active"),
    row("24", CodeClass::Final, "a mandatory field is missing (our fault)"),
    row("25", CodeClass::Final, "a parameter has the wrong type (our fault)"),
    // As a synchronous answer it is a throttling, see THROTTLED_SYNCHRONOUSLY; as a result it must be asked about first.
    row("26", CodeClass::Ambiguous, "traffic blocking, the system is too busy"),
    row("29", CodeClass::Final, "the command is not defined (our fault)"),
    row("1001", CodeClass::Retry(RetryWhen::Minutes), "the subscriber is locked by another transaction"),
    row("1019", CodeClass::Ambiguous, "the transaction expired"),
    row("2001", CodeClass::Halt, "the initiator information is invalid: name, password or certificate"),
    row("2006", CodeClass::Halt, "the status of the account forbids it"),
    row("2028", CodeClass::Halt, "the shortcode lacks the product"),
    row("2032", CodeClass::Ambiguous, "the receipt does not exist (an answer to a status question)"),
    row("2040", CodeClass::Final, "the receiver's type is not supported (not registered)"),
    row("8006", CodeClass::Halt, "the security credential is locked"),
    row("SFC_IC0003", CodeClass::Final, "the operator does not exist: a bad or unregistered number"),
    row("R002", CodeClass::Final, "the type of the identity document is not found"),
    row("R003", CodeClass::Final, "the identity number does not match the line"),
    row("R000001", CodeClass::Final, "reversal: already reversed"),
    row("R000002", CodeClass::Final, "reversal: the original id is invalid"),
];

/// The class of a result code for money out. Only the exact text `0` is success; what is not listed is ambiguous.
pub fn classify(code: &str) -> CodeClass {
    find(code).map_or(CodeClass::Ambiguous, |row| row.class)
}

/// What a result code means, in words; `None` when it is not listed.
pub fn meaning_of(code: &str) -> Option<&'static str> {
    find(code).map(|row| row.meaning)
}

pub(super) fn find(code: &str) -> Option<&'static ResultCode> {
    RESULT_CODES.iter().find(|row| row.code == code)
}

/// Codes that mean our credential is bad: every further call with it can lock the operator (rule A19; M-Pesa contract 3).
pub const CREDENTIAL_CODES: [&str; 6] = ["2001", "18", "20", "21", "22", "8006"];

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
            (&["2", "3", "7", "10", "12", "14", "24", "25", "29", "2040", "SFC_IC0003", "R002", "R003", "R000001", "R000002"], Final),
            (&["6", "11", "13", "18", "20", "21", "22", "2001", "2006", "2028", "8006"], Halt),
            (&["15", "17", "19", "26", "1019", "2032"], Ambiguous),
            // "Treat as any other".
            (&["2007", "2020", "2029", "2033", "2043", "2051", "2202", "1005", "", "00", "0.0", " 0", "success", "9"], Ambiguous),
        ];
        for (codes, class) in table {
            for code in *codes {
                assert_eq!(classify(code), *class, "{code}");
            }
        }
        let listed: usize = table.iter().take(7).map(|(codes, _)| codes.len()).sum();
        assert_eq!(listed, RESULT_CODES.len(), "a row was added without its test");
    }

    #[test]
    fn the_credential_codes_are_all_halts() {
        assert!(CREDENTIAL_CODES.iter().all(|c| classify(c) == CodeClass::Halt));
    }

    proptest! {
        #[test]
        fn only_the_text_0_is_success(code in ".{0,8}") {
            prop_assert_eq!(classify(&code) == CodeClass::Success, code == "0");
        }
    }
}
