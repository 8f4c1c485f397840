//! Virtual phones: the truth about money that reached a customer.
//!
//! A phone's balance is moved only by the simulators of this crate (the methods that move money are not public), so that
//! a test may compare what the product believes with what really arrived. What does not live here: who pays, why, and
//! what the payer was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Africa::Nairobi;
use serde::Serialize;

/// One text in a phone's inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sms {
    /// When it reached the phone.
    pub at: DateTime<Utc>,
    /// The sender id shown to the owner, "MPESA" for M-Pesa's own texts.
    pub sender: String,
    /// The text as read by the owner.
    pub text: String,
}

/// Money that came in, once per M-Pesa transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedMoney {
    /// The M-Pesa receipt.
    pub receipt: String,
    /// KES cents.
    pub cents: i64,
    /// The paying shortcode.
    pub from: String,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// Set when the payer had it sent back at the portal: the receipt of the reversal.
    pub sent_back: Option<String>,
}

/// Everything about one virtual phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Phone {
    /// `254` and nine digits.
    pub msisdn: String,
    /// The name M-Pesa has registered.
    pub name: String,
    /// False: the line has no M-Pesa.
    pub on_mpesa: bool,
    /// KES cents.
    pub balance_cents: i64,
    /// The Nairobi day that `received_today_cents` speaks of.
    pub day: Option<NaiveDate>,
    /// KES cents received on `day`.
    pub received_today_cents: i64,
    /// Texts, oldest first.
    pub inbox: Vec<Sms>,
    /// Money received, oldest first.
    pub received: Vec<ReceivedMoney>,
}

/// Why a phone could not take money. Nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreditRefused {
    /// The line has no M-Pesa, or nobody has that number.
    #[error("the number is not registered on M-Pesa")]
    NotRegistered,
    /// The day's receipts would pass the limit.
    #[error("the customer's daily limit would be passed")]
    DailyLimit,
    /// The balance would pass the limit.
    #[error("the customer's maximum balance would be passed")]
    MaximumBalance,
}

/// The customer's limits, in KES cents (M-Pesa contract 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerLimits {
    /// Largest value received in one Nairobi day.
    pub daily_cents: i64,
    /// Largest balance.
    pub balance_cents: i64,
}

impl Default for CustomerLimits {
    fn default() -> Self {
        Self { daily_cents: 50_000_000, balance_cents: 50_000_000 }
    }
}

#[derive(Debug, Default)]
struct Directory {
    phones: BTreeMap<String, Phone>,
    /// Unknown numbers become registered customers at first contact.
    open: bool,
}

/// A handle on all virtual phones; clones see the same phones.
#[derive(Debug, Clone)]
pub struct Phones {
    directory: Arc<Mutex<Directory>>,
}

impl Default for Phones {
    fn default() -> Self {
        Self::new()
    }
}

impl Phones {
    /// Phones that appear by themselves: any Kenyan mobile number is a registered customer with an invented name.
    pub fn new() -> Self {
        Self { directory: Arc::new(Mutex::new(Directory { open: true, ..Directory::default() })) }
    }

    /// Only numbers that were registered exist.
    pub fn strict() -> Self {
        Self { directory: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        // A panic elsewhere while the lock was held cannot leave a phone half changed: each change is one step.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a customer of M-Pesa, or renames one.
    pub fn register(&self, msisdn: &str, name: &str) {
        let mut directory = self.lock();
        let phone = directory.phones.entry(msisdn.to_owned()).or_insert_with(|| Phone::new(msisdn));
        name.clone_into(&mut phone.name);
        phone.on_mpesa = true;
    }

    /// A line that takes texts but has no M-Pesa.
    pub fn register_without_mpesa(&self, msisdn: &str) {
        let mut directory = self.lock();
        directory.phones.entry(msisdn.to_owned()).or_insert_with(|| Phone::new(msisdn)).on_mpesa = false;
    }

    /// Sets the opening balance in KES cents, for tests of the customer's limits. This is not a payment.
    pub fn set_balance(&self, msisdn: &str, cents: i64) {
        let mut directory = self.lock();
        directory.phones.entry(msisdn.to_owned()).or_insert_with(|| Phone::new(msisdn)).balance_cents = cents;
    }

    /// The name M-Pesa shows for a number; `None` when the number has no M-Pesa.
    pub fn name_of(&self, msisdn: &str) -> Option<String> {
        let mut directory = self.lock();
        directory.find(msisdn).filter(|phone| phone.on_mpesa).map(|phone| phone.name.clone())
    }

    /// One phone, as it is now.
    pub fn phone(&self, msisdn: &str) -> Option<Phone> {
        self.lock().phones.get(msisdn).cloned()
    }

    /// The balance in KES cents; 0 for a number nobody has met.
    pub fn balance(&self, msisdn: &str) -> i64 {
        self.lock().phones.get(msisdn).map_or(0, |phone| phone.balance_cents)
    }

    /// All money one number received, oldest first, without copying the texts.
    pub fn received(&self, msisdn: &str) -> Vec<ReceivedMoney> {
        self.lock().phones.get(msisdn).map(|phone| phone.received.clone()).unwrap_or_default()
    }

    /// The texts of one number, oldest first.
    pub fn inbox(&self, msisdn: &str) -> Vec<Sms> {
        self.lock().phones.get(msisdn).map(|phone| phone.inbox.clone()).unwrap_or_default()
    }

    /// KES cents that all phones together received from `shortcode` and still have (not sent back).
    pub fn total_received_from(&self, shortcode: &str) -> i64 {
        let directory = self.lock();
        let all = directory.phones.values().flat_map(|phone| &phone.received);
        all.filter(|money| money.from == shortcode && money.sent_back.is_none()).map(|money| money.cents).sum()
    }

    /// Every phone, by number.
    pub fn snapshot(&self) -> Vec<Phone> {
        self.lock().phones.values().cloned().collect()
    }

    /// Puts a text into an inbox. A number that does not exist takes none; `false` then.
    pub(crate) fn inbox_push(&self, at: DateTime<Utc>, msisdn: &str, sender: &str, text: &str) -> bool {
        let mut directory = self.lock();
        let Some(phone) = directory.find(msisdn) else {
            return false;
        };
        phone.inbox.push(Sms { at, sender: sender.to_owned(), text: text.to_owned() });
        true
    }

    /// Money arrives. Only simulators may say so. Answers the new balance in KES cents.
    pub(crate) fn credit(&self, at: DateTime<Utc>, msisdn: &str, money: ReceivedMoney, limits: CustomerLimits) -> Result<i64, CreditRefused> {
        let mut directory = self.lock();
        let phone = directory.find(msisdn).filter(|phone| phone.on_mpesa).ok_or(CreditRefused::NotRegistered)?;
        let today = at.with_timezone(&Nairobi).date_naive();
        let before = if phone.day == Some(today) { phone.received_today_cents } else { 0 };
        if before.saturating_add(money.cents) > limits.daily_cents {
            return Err(CreditRefused::DailyLimit);
        }
        if phone.balance_cents.saturating_add(money.cents) > limits.balance_cents {
            return Err(CreditRefused::MaximumBalance);
        }
        phone.day = Some(today);
        phone.received_today_cents = before.saturating_add(money.cents);
        phone.balance_cents = phone.balance_cents.saturating_add(money.cents);
        phone.received.push(money);
        Ok(phone.balance_cents)
    }

    /// Money goes back to the payer (a reversal at the portal), once per receipt. `false` when there was nothing to send back.
    pub(crate) fn send_back(&self, msisdn: &str, receipt: &str, reversal: &str) -> bool {
        let mut directory = self.lock();
        let Some(phone) = directory.phones.get_mut(msisdn) else {
            return false;
        };
        let found = phone.received.iter_mut().find(|money| money.receipt == receipt && money.sent_back.is_none());
        let Some(money) = found else { return false };
        money.sent_back = Some(reversal.to_owned());
        let cents = money.cents;
        phone.balance_cents = phone.balance_cents.saturating_sub(cents);
        true
    }
}

impl Directory {
    fn find(&mut self, msisdn: &str) -> Option<&mut Phone> {
        if self.open && !self.phones.contains_key(msisdn) && is_kenyan_mobile(msisdn) {
            self.phones.insert(msisdn.to_owned(), Phone::new(msisdn));
        }
        self.phones.get_mut(msisdn)
    }
}

impl Phone {
    fn new(msisdn: &str) -> Self {
        Self {
            msisdn: msisdn.to_owned(),
            name: invented_name(msisdn),
            on_mpesa: true,
            balance_cents: 0,
            day: None,
            received_today_cents: 0,
            inbox: Vec::new(),
            received: Vec::new(),
        }
    }
}

/// `254`, then 7 or 1, then eight digits (M-Pesa contract 8.10).
pub(crate) fn is_kenyan_mobile(msisdn: &str) -> bool {
    let national = msisdn.strip_prefix("254").unwrap_or_default();
    national.len() == 9 && national.starts_with(['7', '1']) && national.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name that is always the same for the same number.
fn invented_name(msisdn: &str) -> String {
    const FIRST: [&str; 8] = ["WANJIKU", "OTIENO", "ACHIENG", "KIPCHOGE", "MWENDE", "HASSAN", "NJERI", "BARASA"];
    const LAST: [&str; 7] = ["KAMAU", "ODHIAMBO", "CHEBET", "MUTUA", "ABDI", "WAFULA", "MAINA"];
    let number = msisdn.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    let first = FIRST.get(number % FIRST.len()).copied().unwrap_or("TEST");
    let last = LAST.get(number / 8 % LAST.len()).copied().unwrap_or("CUSTOMER");
    format!("{first} {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "254700000001";

    fn money(receipt: &str, cents: i64) -> ReceivedMoney {
        let at = DateTime::from_timestamp(1_767_438_309, 0).unwrap();
        ReceivedMoney { receipt: receipt.to_owned(), cents, from: "600111".to_owned(), at, sent_back: None }
    }

    #[test]
    fn money_arrives_once_and_can_be_sent_back_once() {
        let phones = Phones::new();
        let at = money("A", 0).at;
        assert_eq!(phones.credit(at, NUMBER, money("A", 150_000), CustomerLimits::default()), Ok(150_000));
        assert_eq!(phones.total_received_from("600111"), 150_000);
        assert!(phones.send_back(NUMBER, "A", "B"));
        assert!(!phones.send_back(NUMBER, "A", "C"));
        assert_eq!((phones.balance(NUMBER), phones.total_received_from("600111")), (0, 0));
    }

    #[test]
    fn the_customers_limits_hold_and_the_day_ends_at_midnight_in_nairobi() {
        let phones = Phones::new();
        let limits = CustomerLimits { daily_cents: 100, balance_cents: 150 };
        let evening = "2026-01-03T20:59:59Z".parse::<DateTime<Utc>>().unwrap();
        let next_day = "2026-01-03T21:00:00Z".parse::<DateTime<Utc>>().unwrap();
        assert_eq!(phones.credit(evening, NUMBER, money("A", 100), limits), Ok(100));
        assert_eq!(phones.credit(evening, NUMBER, money("B", 1), limits), Err(CreditRefused::DailyLimit));
        assert_eq!(phones.credit(next_day, NUMBER, money("B", 51), limits), Err(CreditRefused::MaximumBalance));
        assert_eq!(phones.credit(next_day, NUMBER, money("B", 50), limits), Ok(150));
    }

    #[test]
    fn a_strict_directory_knows_only_registered_customers() {
        let phones = Phones::strict();
        let at = money("A", 0).at;
        let credit = |receipt| phones.credit(at, NUMBER, money(receipt, 1), CustomerLimits::default());
        assert_eq!(credit("A"), Err(CreditRefused::NotRegistered));
        phones.register_without_mpesa(NUMBER);
        assert_eq!(credit("A"), Err(CreditRefused::NotRegistered));
        assert!(phones.inbox_push(at, NUMBER, "X", "hello"));
        phones.register(NUMBER, "TEST BORROWER");
        assert_eq!(credit("A"), Ok(1));
        assert_eq!(phones.name_of(NUMBER).unwrap(), "TEST BORROWER");
    }

    #[test]
    fn an_open_directory_invents_the_same_customer_again_and_refuses_nonsense() {
        assert_eq!(Phones::new().name_of(NUMBER), Phones::new().name_of(NUMBER));
        assert_eq!(Phones::new().name_of("25470000000"), None);
        assert_eq!(Phones::new().name_of("254800000001"), None);
    }
}
