//! What the texts say. The wording never says "failed" without proof.

use pv_kernel::Money;

/// To the borrower: the money is there.
pub fn loan_paid_customer(partner: &str, first_name: &str, amount: Money, receipt: &str) -> String {
    format!("Dear {first_name}, your loan of {amount} from {partner} was sent to your M-Pesa. Receipt {receipt}.")
}

/// To a receiver of a payment without a loan.
pub fn paid_customer(partner: &str, amount: Money, receipt: &str) -> String {
    format!("{partner} sent {amount} to your M-Pesa. Receipt {receipt}.")
}

/// To the partner: paid.
pub fn paid_partner(client: &str, phone: &str, amount: Money, receipt: &str, wallet: Money) -> String {
    format!("Paid: {amount} to {client}, {phone}. Receipt {receipt}. Wallet balance {wallet}.")
}

/// To the partner: provably not paid.
pub fn not_paid_partner(what: &str, amount: Money, reason: &str) -> String {
    format!("Not paid: {amount} for {what}. Reason: {}. No money left your account. You can retry it in Payment Vault.", reason.trim_end_matches('.'))
}

/// To the partner: the wallet is too short for charges.
pub fn waiting_wallet_partner(what: &str, amount: Money) -> String {
    format!("Waiting: {amount} for {what} needs charges and your wallet is too low. Top up and it goes by itself.")
}

/// To the partner: the float is too short.
pub fn waiting_float_partner(what: &str, amount: Money) -> String {
    format!("Waiting: {amount} for {what}. Your M-Pesa float is too low. Add float and it goes by itself.")
}

/// To the partner: a check refused or held it.
pub fn needs_person_partner(what: &str, amount: Money, reason: &str) -> String {
    format!("Needs you: {amount} for {what} was not sent. Reason: {reason}")
}
