//! How a simulated M-Pesa is set up: apps, shortcodes, delays, limits. Faults are in `faults`.

use std::time::Duration;

use crate::phones::CustomerLimits;

/// What the simulator is. The default is one app and one B2C shortcode, ready to play with.
#[derive(Debug, Clone)]
pub struct DarajaOptions {
    /// Portal apps, each with its own key and secret.
    pub apps: Vec<App>,
    /// Shortcodes with their accounts and API operators.
    pub shortcodes: Vec<Shortcode>,
    /// True: behaves like the production host (HTTPS callbacks only, public tunnels refused).
    pub production: bool,
    /// Consumer keys of the other environment: they get the empty 400 (M-Pesa contract 1).
    pub other_environment_keys: Vec<String>,
    /// Life of a token in seconds, also told as `expires_in`.
    pub token_seconds: u32,
    /// Issuing a token ends the app's previous one (M-Pesa contract 1).
    pub new_token_ends_old: bool,
    /// How long a caller waits for any answer.
    pub answer_delay: Duration,
    /// From acceptance to the moment the money moves (or does not).
    pub processing_delay: Duration,
    /// From that moment to the result callback. Both together are 2 s by default (M-Pesa contract 9).
    pub callback_delay: Duration,
    /// From a status or balance query to its result callback; the real sandbox took 85 s.
    pub query_delay: Duration,
    /// For this long after acceptance a status query does not find the payment and answers 2032 (M-Pesa contract 6.1).
    pub index_delay: Duration,
    /// From acceptance to a queue-timeout notice, where a fault asks for one.
    pub notice_delay: Duration,
    /// Smallest payment in KES cents; below it the result is 2.
    pub minimum_cents: i64,
    /// Largest payment in KES cents; above it the result is 3.
    pub maximum_cents: i64,
    /// The recipient's limits: results 4 and 8.
    pub customer: CustomerLimits,
    /// Wrong credentials before the operator is locked (8006). The real threshold is not known.
    pub lock_after: u32,
    /// Recipients whose number ends in a magic number get its fault (see `faults::magic_fault`).
    pub magic_numbers: bool,
    /// How often, in a thousand, a value comes in another of the typings of M-Pesa contract 0.5.
    pub loose_typing_per_mille: u16,
    /// A repeated id is refused with HTTP 200 and `ResponseCode` "1" instead of HTTP 500 (unconfirmed form, contract 2.7).
    pub duplicate_as_200: bool,
    /// More requests than this within one second for one shortcode meet the spike arrest.
    pub spike_arrest_per_second: Option<u32>,
}

/// An app of the developer portal.
#[derive(Debug, Clone)]
pub struct App {
    /// Basic user name at the token endpoint.
    pub consumer_key: String,
    /// Basic password at the token endpoint.
    pub consumer_secret: String,
    /// The shortcodes it may speak for.
    pub shortcodes: Vec<String>,
    /// API products enabled on it; without one, even a fresh token is refused there.
    pub products: Vec<Product>,
}

/// What an app may be allowed to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// B2C payments.
    B2c,
    /// Transaction status.
    Status,
    /// Account balance.
    Balance,
}

/// What a shortcode was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortcodeKind {
    /// Bulk disbursement: may pay customers.
    B2c,
    /// "One account": collects and pays.
    OneAccount,
    /// Ordinary paybill: a B2C payment ends in 2028.
    Paybill,
    /// Till: a B2C payment ends in 2028.
    Till,
}

/// A shortcode of an organisation.
#[derive(Debug, Clone)]
pub struct Shortcode {
    /// Five to seven digits.
    pub number: String,
    /// The organisation's public name.
    pub name: String,
    /// What it may do.
    pub kind: ShortcodeKind,
    /// Opening balance of the utility account, KES cents: payouts leave from here.
    pub utility_cents: i64,
    /// Opening balance of the working (MMF) account, KES cents.
    pub working_cents: i64,
    /// Opening balance of the charges account, KES cents; sinks below zero.
    pub charges_cents: i64,
    /// Reserved in the working account, KES cents; shown in the balance string only.
    pub working_reserved_cents: i64,
    /// Its API operators.
    pub initiators: Vec<Initiator>,
    /// Where the tariff of a payment is booked (statement contract 3.3).
    pub charge_account: ChargeAccount,
}

/// The account that bears a payment's tariff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeAccount {
    /// The charges paid account, which grows negative.
    ChargesPaid,
    /// The utility account itself, with a charge row beside the payment.
    Utility,
}

/// An API operator of a shortcode.
#[derive(Debug, Clone)]
pub struct Initiator {
    /// Case-sensitive user name.
    pub name: String,
    /// The password that `SecurityCredential` must decrypt to.
    pub password: String,
    /// Role "ORG B2C API initiator".
    pub may_pay: bool,
    /// Roles for status and balance queries.
    pub may_query: bool,
}

impl Default for DarajaOptions {
    fn default() -> Self {
        let shortcode = Shortcode::b2c("600111", "PAYMENT VAULT TEST", 100_000_000);
        Self {
            apps: vec![App::new("sandbox-consumer-key", "sandbox-consumer-secret", &["600111"])],
            shortcodes: vec![shortcode],
            production: false,
            other_environment_keys: Vec::new(),
            token_seconds: 3599,
            new_token_ends_old: true,
            answer_delay: Duration::ZERO,
            processing_delay: Duration::from_millis(1500),
            callback_delay: Duration::from_millis(500),
            query_delay: Duration::from_secs(2),
            index_delay: Duration::ZERO,
            notice_delay: Duration::from_secs(5),
            minimum_cents: 1_000,
            maximum_cents: 25_000_000,
            customer: CustomerLimits::default(),
            lock_after: 3,
            magic_numbers: true,
            loose_typing_per_mille: 300,
            duplicate_as_200: false,
            spike_arrest_per_second: None,
        }
    }
}

impl App {
    /// An app with all products.
    pub fn new(consumer_key: &str, consumer_secret: &str, shortcodes: &[&str]) -> Self {
        Self {
            consumer_key: consumer_key.to_owned(),
            consumer_secret: consumer_secret.to_owned(),
            shortcodes: shortcodes.iter().map(|&number| number.to_owned()).collect(),
            products: vec![Product::B2c, Product::Status, Product::Balance],
        }
    }
}

impl Shortcode {
    /// A B2C shortcode with money in its utility account (KES cents) and the operator `vaultapi`, password `Sandbox#2026`.
    pub fn b2c(number: &str, name: &str, utility_cents: i64) -> Self {
        Self {
            number: number.to_owned(),
            name: name.to_owned(),
            kind: ShortcodeKind::B2c,
            utility_cents,
            working_cents: 0,
            charges_cents: 0,
            working_reserved_cents: 0,
            initiators: vec![Initiator::new("vaultapi", "Sandbox#2026")],
            charge_account: ChargeAccount::ChargesPaid,
        }
    }
}

impl Initiator {
    /// An operator with all roles.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: name.to_owned(), password: password.to_owned(), may_pay: true, may_query: true }
    }
}
