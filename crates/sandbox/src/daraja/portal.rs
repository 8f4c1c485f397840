//! What a person does at the M-Pesa organisation portal: none of it passes through the API, all of it is in the books.

use chrono::{DateTime, Utc};

use super::DarajaSim;
use super::book::{Account, Leg, PaymentState};
use crate::phones::{CreditRefused, ReceivedMoney};

/// Why the portal refused. Nothing moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortalRefused {
    /// Nobody has that shortcode.
    #[error("no shortcode {0}")]
    NoShortcode(String),
    /// No payment has that id.
    #[error("no payment {0}")]
    NoPayment(String),
    /// Only a paid payment can be sent back, once.
    #[error("the payment has not been paid, or was sent back already")]
    NotPaid,
    /// The amount must be above zero and there must be enough of it.
    #[error("the amount is not positive, or the account holds less")]
    Amount,
    /// The phone did not take the money.
    #[error("the recipient could not be paid: {0}")]
    Recipient(#[from] CreditRefused),
    /// The shortcode has no such API operator.
    #[error("no API operator {0}")]
    NoOperator(String),
}

impl DarajaSim {
    /// Float arrives in the utility account from a bank. Answers the receipt.
    pub fn fund(&mut self, now: DateTime<Utc>, shortcode: &str, cents: i64) -> Result<String, PortalRefused> {
        if cents <= 0 {
            return Err(PortalRefused::Amount);
        }
        self.stray(now, shortcode, Account::Utility, cents, "Funds received from NCBA Bank")
    }

    /// A movement of one account that no request of the product caused: negative cents are withdrawn. Answers the receipt.
    pub fn stray(&mut self, now: DateTime<Utc>, shortcode: &str, account: Account, cents: i64, details: &str) -> Result<String, PortalRefused> {
        let receipt = self.receipts.next(now);
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return Err(PortalRefused::NoShortcode(shortcode.to_owned()));
        };
        till.post(Leg {
            account,
            receipt: &receipt,
            initiated_at: now,
            at: now,
            details: details.to_owned(),
            reason: details,
            party: String::new(),
            linked: None,
            delta_cents: cents,
            originator: None,
        });
        Ok(receipt)
    }

    /// Moves money from the working to the utility account: one receipt, two legs.
    pub fn move_to_utility(&mut self, now: DateTime<Utc>, shortcode: &str, cents: i64) -> Result<String, PortalRefused> {
        let receipt = self.receipts.next(now);
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return Err(PortalRefused::NoShortcode(shortcode.to_owned()));
        };
        if cents <= 0 || till.balances.working_cents < cents {
            return Err(PortalRefused::Amount);
        }
        let reason = "Move Funds from MMF Account to Utility Account";
        let out = Leg {
            account: Account::Working,
            receipt: &receipt,
            initiated_at: now,
            at: now,
            details: reason.to_owned(),
            reason,
            party: format!("{shortcode} - {}", till.name),
            linked: None,
            delta_cents: -cents,
            originator: None,
        };
        till.post(out.clone());
        till.post(Leg { account: Account::Utility, delta_cents: cents, ..out });
        Ok(receipt)
    }

    /// Somebody pays a customer by hand at the portal: the product never hears of it. Answers the receipt.
    pub fn pay_by_hand(&mut self, now: DateTime<Utc>, shortcode: &str, msisdn: &str, cents: i64) -> Result<String, PortalRefused> {
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return Err(PortalRefused::NoShortcode(shortcode.to_owned()));
        };
        if cents <= 0 || till.balances.utility_cents < cents {
            return Err(PortalRefused::Amount);
        }
        let receipt = self.receipts.next(now);
        let from = shortcode.to_owned();
        let money = ReceivedMoney { receipt: receipt.clone(), cents, from, at: now, sent_back: None };
        self.phones.credit(now, msisdn, money, self.options.customer)?;
        let name = self.phones.name_of(msisdn).unwrap_or_default();
        let (reason, party) = ("Business Payment to Customer", format!("{msisdn} - {name}"));
        till.post(Leg {
            account: Account::Utility,
            receipt: &receipt,
            initiated_at: now,
            at: now,
            details: format!("{reason} to {party}"),
            reason,
            party,
            linked: None,
            delta_cents: -cents,
            originator: None,
        });
        Ok(receipt)
    }

    /// A paid payment is sent back at the portal: the phone loses it, the utility account has it again. The tariff stays.
    /// Answers the reversal's own receipt.
    pub fn send_back(&mut self, now: DateTime<Utc>, originator: &str) -> Result<String, PortalRefused> {
        let index = self.book.by_originator.get(originator).copied();
        let record = index.and_then(|index| self.book.records.get_mut(index));
        let Some(record) = record else {
            return Err(PortalRefused::NoPayment(originator.to_owned()));
        };
        let payment = &mut record.payment;
        let original = payment.receipt.clone().filter(|_| payment.state == PaymentState::Paid);
        let Some(original) = original else {
            return Err(PortalRefused::NotPaid);
        };
        let Some(till) = self.book.tills.get_mut(&payment.shortcode) else {
            return Err(PortalRefused::NoShortcode(payment.shortcode.clone()));
        };
        let receipt = self.receipts.next(now);
        if !self.phones.send_back(&payment.msisdn, &original, &receipt) {
            return Err(PortalRefused::NotPaid);
        }
        let reason = "Business Payment to Customer Reversal";
        let party = format!("{} - {}", payment.msisdn, self.phones.name_of(&payment.msisdn).unwrap_or_default());
        till.post(Leg {
            account: Account::Utility,
            receipt: &receipt,
            initiated_at: now,
            at: now,
            details: format!("{reason} from {party}"),
            reason,
            party,
            linked: Some(original),
            delta_cents: payment.cents,
            originator: None,
        });
        payment.state = PaymentState::SentBack;
        payment.sent_back = Some(receipt.clone());
        Ok(receipt)
    }

    /// Unlocks an API operator and sets a new password.
    pub fn reset_operator(&mut self, shortcode: &str, name: &str, password: &str) -> Result<(), PortalRefused> {
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return Err(PortalRefused::NoShortcode(shortcode.to_owned()));
        };
        let Some(operator) = till.operators.iter_mut().find(|operator| operator.initiator.name == name) else {
            return Err(PortalRefused::NoOperator(name.to_owned()));
        };
        operator.mismatches = 0;
        password.clone_into(&mut operator.initiator.password);
        Ok(())
    }
}
