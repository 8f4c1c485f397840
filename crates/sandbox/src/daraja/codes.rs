//! The words that go with a `ResultCode` (M-Pesa contract 7.3).

/// The `ResultDesc` of a code. The texts vary in the wild; nobody may decide on them.
pub fn description(code: &str) -> &'static str {
    match code {
        "0" => "The service request is processed successfully.",
        "1" => "The balance is insufficient for the transaction.",
        "2" => "Declined due to limit rule: less than the minimum transaction amount.",
        "3" => "Declined due to limit rule: greater than the maximum transaction amount.",
        "4" => "Declined due to limit rule: would exceed daily transfer limit.",
        "5" => "Declined due to limit rule: would pass the minimum balance.",
        "6" => "Unresolved primary party.",
        "7" => "Unresolved receiver party.",
        "8" => "Declined due to limit rule: would exceed the maximum balance.",
        "10" => "The MSISDN is not registered on M-PESA.",
        "11" => "The debit party is in an invalid state.",
        "12" => "The credit account is invalid.",
        "13" => "Unresolved debit account.",
        "14" => "Unresolved credit account.",
        "15" => "Duplicate Detected.",
        "17" => "Internal failure.",
        "18" => "Initiator credential check failure.",
        "19" => "Message sequencing failure.",
        "20" => "Unresolved initiator.",
        "21" => "The initiator is not allowed to initiate this request.",
        "22" => "The initiator is not active.",
        "24" => "Missing mandatory fields.",
        "25" => "Invalid request parameters.",
        "26" => "Traffic blocking condition in place.",
        "29" => "Invalid command.",
        "1001" => {
            "Unable to lock subscriber, a transaction is already in process for the current subscriber."
        }
        "1019" => "Transaction has expired.",
        "2001" => "The initiator information is invalid.",
        "2006" => {
            "Declined due to account rule: The account status does not allow this transaction."
        }
        "2028" => "The request is not permitted according to product assignment.",
        "2032" => "The transaction receipt number does not exist.",
        "2040" => {
            "Credit Party customer type (Unregistered or Registered Customer) can't be supported by the service."
        }
        "8006" => "The security credential is locked.",
        "SFC_IC0003" => "The operator does not exist.",
        "R002" => "ID type not found.",
        "R003" => "ID number does not match.",
        "R000001" => "The transaction has already been reversed.",
        "R000002" => "The OriginalTransactionID is invalid.",
        _ => "The service request could not be processed.",
    }
}
