//! Everything that is checked just before money is sent (rules A15 to A18, A20, A23; requirement L5): pure.
//!
//! The facts are read again for each send. The outcome is one of: go; wait, and go on by itself; held for a person; refused,
//! with the reason; called off, because the core says so.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use pv_kernel::{
    Money, Msisdn,
    core_banking::{CoreClient, CoreLoan, CoreProduct, LoanStatus},
    rail::RailLimits,
};

use super::machine::next_morning;
use crate::partner::policy::{CentsPolicy, WorkingHours};

/// What is to be paid, as decided from a fresh read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Receiver.
    pub msisdn: Msisdn,
    /// What is paid out, whole shillings.
    pub pay: Money,
    /// What is booked.
    pub gross: Money,
    /// Cents left out (rule A17, policy `floor`).
    pub floored: Money,
}

/// What the checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send this.
    Go(Order),
    /// Not now; goes on by itself.
    Wait {
        /// Stable reason.
        reason: &'static str,
        /// In words.
        detail: String,
        /// When to look again; `None`: in the usual interval.
        until: Option<DateTime<Utc>>,
    },
    /// A person must decide.
    Hold {
        /// Stable reason; the same word lets it pass when a person overrides it.
        reason: &'static str,
        /// In words.
        detail: String,
    },
    /// Refused; a person may try again after mending the cause.
    Refuse {
        /// Stable reason.
        reason: &'static str,
        /// In words.
        detail: String,
    },
    /// The core says that there is nothing to pay any more.
    CallOff {
        /// Stable reason.
        reason: &'static str,
        /// In words.
        detail: String,
    },
}

/// The rules that hold for this disbursement: the narrowest of core, partner and product.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Smallest amount.
    pub min: Option<Money>,
    /// Largest amount.
    pub max: Option<Money>,
    /// Above this a person approves.
    pub person_above: Option<Money>,
    /// Working hours of the partner and of the product; all must be open.
    pub hours: Vec<WorkingHours>,
    /// The partner's zone.
    pub zone: Tz,
    /// Caps of the day: the partner's and the product's, all of which must hold.
    pub caps: Vec<Cap>,
    /// Whether the receiver's name is compared (rule A18).
    pub name_check: bool,
    /// What to do with cents.
    pub cents: CentsPolicy,
    /// Hours a changed phone holds a payment (rule A15).
    pub phone_change_hold_hours: u32,
}

/// Caps of a day, and what counts against them so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cap {
    /// Most per day.
    pub amount: Option<Money>,
    /// Most payments per day.
    pub count: Option<u32>,
    /// Most per client and day.
    pub per_client: Option<Money>,
    /// Paid or on its way today.
    pub paid: Money,
    /// Payments of today.
    pub payments: u32,
    /// Paid or on its way to this client today.
    pub to_client: Money,
}

impl Cap {
    fn is_passed_by(&self, pay: Money) -> bool {
        let over = |cap: Option<Money>, so_far: Money| cap.is_some_and(|c| so_far.checked_add(pay).is_none_or(|sum| sum > c));
        over(self.amount, self.paid) || over(self.per_client, self.to_client) || self.count.is_some_and(|c| self.payments >= c)
    }
}

/// A loan, as the core read it for this send.
#[derive(Debug, Clone)]
pub struct FromCore<'a> {
    /// The loan.
    pub loan: &'a CoreLoan,
    /// Its client.
    pub client: Option<&'a CoreClient>,
    /// Its product.
    pub product: Option<&'a CoreProduct>,
    /// Automatic disbursement is on for connection and product.
    pub auto: bool,
    /// Approvals before this day are listed for a person (rule A16).
    pub auto_since: Option<DateTime<Utc>>,
    /// A person or key asked for this loan by name.
    pub asked_for: bool,
    /// The tenant's day.
    pub tenant_day: NaiveDate,
    /// What a webhook claimed: phone and amount.
    pub claimed: Option<&'a Claimed>,
    /// The client's phone reads differently since then.
    pub phone_changed_at: Option<DateTime<Utc>>,
}

/// What the documented webhook claimed about a loan (requirement L3).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claimed {
    /// Phone as sent.
    pub phone: Option<String>,
    /// Amount as sent.
    pub amount: Option<Money>,
}

/// A payment without a loan, as ordered.
#[derive(Debug, Clone, Copy)]
pub struct Ordered {
    /// Receiver.
    pub msisdn: Msisdn,
    /// Amount.
    pub amount: Money,
}

/// Where the order comes from.
#[derive(Debug, Clone)]
pub enum Source<'a> {
    /// A loan.
    Core(FromCore<'a>),
    /// An order by API, console or file.
    Direct(Ordered),
}

/// The state of the credential and shortcode that would pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Good.
    Ready,
    /// No active shortcode or credential.
    Missing,
    /// Stopped by a code (rule A19).
    Halted,
    /// One send at a time until one succeeds, and one is under way (rule A19).
    Busy,
    /// In quarantine after a restore (rule A21).
    Quarantined,
}

/// Everything that is weighed.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Now.
    pub now: DateTime<Utc>,
    /// `active`, `suspended`, …
    pub partner_status: &'a str,
    /// The rules.
    pub rules: Rules,
    /// Limits of the rail.
    pub limits: RailLimits,
    /// The order.
    pub source: Source<'a>,
    /// Why a STOP blocks it.
    pub stopped: Option<String>,
    /// The sender.
    pub sender: Sender,
    /// Available at the rail less what is on its way, when known.
    pub float: Option<Money>,
    /// Another payment of the same amount to the same phone (rule A23).
    pub duplicate_of: Option<String>,
    /// A paid but unbooked payment to the same client or phone (rule A15).
    pub unbooked: Option<String>,
    /// An open name mismatch for this phone (rule A18).
    pub name_item: bool,
    /// The receiver is on the block list.
    pub blocked_receiver: bool,
    /// Reasons a person has let pass.
    pub overrides: &'a [String],
    /// How often it was looked at.
    pub tries: i32,
}

impl Facts<'_> {
    fn passed(&self, reason: &str) -> bool {
        self.overrides.iter().any(|o| o == reason)
    }
}

/// Weighs everything. The order is: what the core says, then the order itself, then its limits, then the moment, so that a person
/// sees the most important reason first.
pub fn check(f: &Facts<'_>) -> Outcome {
    let order = match read_order(f) {
        Ok(order) => order,
        Err(outcome) => return outcome,
    };
    if let Some(outcome) = amount_problem(f, &order).or_else(|| person_needed(f, &order)).or_else(|| not_now(f, &order)) {
        return outcome;
    }
    Outcome::Go(order)
}

fn refuse(reason: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Refuse { reason, detail: detail.into() }
}

fn hold(reason: &'static str, detail: impl Into<String>) -> Outcome {
    Outcome::Hold { reason, detail: detail.into() }
}

fn wait(reason: &'static str, detail: impl Into<String>, until: Option<DateTime<Utc>>) -> Outcome {
    Outcome::Wait { reason, detail: detail.into(), until }
}

fn read_order(f: &Facts<'_>) -> Result<Order, Outcome> {
    match &f.source {
        Source::Direct(o) => whole(f, o.amount, o.amount, o.msisdn),
        Source::Core(c) => {
            core_says(f, c)?;
            let client = c.client.ok_or_else(|| hold("no_client", "The loan names no single client."))?;
            let text = client.mobile.as_deref().map(str::trim).filter(|t| !t.is_empty());
            let text = text.ok_or_else(|| refuse("refused_phone", "The client has no mobile number in the core."))?;
            let msisdn =
                Msisdn::parse(text).map_err(|_| refuse("refused_phone", "The client's mobile number in the core is not a Kenyan mobile number."))?;
            if let Some(claimed) = c.claimed {
                webhook_differs(f, c, claimed, msisdn)?;
            }
            whole(f, c.loan.net, c.loan.principal, msisdn)
        }
    }
}

fn core_says(f: &Facts<'_>, c: &FromCore<'_>) -> Result<(), Outcome> {
    match c.loan.status {
        LoanStatus::Approved => {}
        LoanStatus::PendingApproval => {
            return Err(Outcome::CallOff { reason: "approval_undone", detail: "The loan is not approved any more.".into() });
        }
        LoanStatus::Disbursed(_) => {
            return Err(Outcome::CallOff {
                reason: "already_disbursed",
                detail: "The core shows the loan as disbursed already; nothing was paid by us.".into(),
            });
        }
        LoanStatus::Ended(_) => {
            return Err(Outcome::CallOff { reason: "ended_in_core", detail: "The loan was rejected or withdrawn in the core.".into() });
        }
        LoanStatus::Other(id) => return Err(hold("strange_loan_state", format!("The core reports loan status {id}, which is not known here."))),
    }
    if c.loan.currency != "KES" {
        return Err(refuse("refused_currency", format!("The loan is in {}; M-Pesa pays Kenya shillings.", c.loan.currency)));
    }
    if c.client.is_some_and(|client| !client.active) {
        return Err(refuse("refused_client", "The client is not active in the core."));
    }
    if c.product.is_some_and(|p| !p.active) {
        return Err(refuse("refused_product", "The loan product is closed in the core."));
    }
    let not_simple = c.loan.not_simple.clone().or_else(|| c.product.filter(|p| p.several_disbursements).map(|_| "tranches".to_owned()));
    if let Some(why) = not_simple
        && !f.passed("not_simple")
    {
        return Err(hold("not_simple", format!("This is not a simple loan ({why}); a person must look at it.")));
    }
    if !c.asked_for && !f.passed("auto") {
        if !c.auto {
            return Err(hold("auto_off", "Automatic disbursement is off for this connection or product."));
        }
        let approved = c.loan.approved_on;
        let since = c.auto_since.map(pv_kernel::clock::nairobi_day);
        if since.is_none_or(|s| approved.is_none_or(|a| a < s)) {
            return Err(hold("old_approval", "The loan was approved before automatic disbursement was switched on."));
        }
    }
    Ok(())
}

fn webhook_differs(f: &Facts<'_>, c: &FromCore<'_>, claimed: &Claimed, msisdn: Msisdn) -> Result<(), Outcome> {
    if f.passed("webhook_differs") {
        return Ok(());
    }
    if claimed.phone.as_deref().is_some_and(|p| Msisdn::parse(p) != Ok(msisdn)) {
        return Err(hold("webhook_differs", "The webhook named another phone than the core has for this client."));
    }
    if claimed.amount.is_some_and(|a| a != c.loan.net && a != c.loan.principal) {
        return Err(hold("webhook_differs", "The webhook named another amount than the core has for this loan."));
    }
    Ok(())
}

fn whole(f: &Facts<'_>, net: Money, gross: Money, msisdn: Msisdn) -> Result<Order, Outcome> {
    if !net.is_positive() {
        return Err(refuse("refused_amount", "There is nothing to pay out."));
    }
    let (pay, floored) = net.split_cents();
    if !floored.is_zero() && f.rules.cents == CentsPolicy::Refuse {
        return Err(refuse(
            "refused_cents",
            format!("M-Pesa moves whole shillings and {net} has cents. Allow the product to round down, or change the loan."),
        ));
    }
    Ok(Order { msisdn, pay, gross, floored })
}

fn amount_problem(f: &Facts<'_>, o: &Order) -> Option<Outcome> {
    if o.pay < f.limits.min {
        return Some(refuse("refused_limit", format!("{} is below the rail's smallest payment of {}.", o.pay, f.limits.min)));
    }
    if o.pay > f.limits.max {
        return Some(hold("above_rail_limit", format!("{} is above the rail's largest payment of {}; it is never split.", o.pay, f.limits.max)));
    }
    if let Some(min) = f.rules.min.filter(|m| o.pay < *m) {
        return Some(refuse("refused_limit", format!("{} is below the smallest amount allowed here, {min}.", o.pay)));
    }
    if let Some(max) = f.rules.max.filter(|m| o.pay > *m) {
        return Some(refuse("refused_limit", format!("{} is above the largest amount allowed here, {max}.", o.pay)));
    }
    if f.blocked_receiver {
        return Some(refuse("refused_receiver", "The receiver is on the block list."));
    }
    None
}

fn person_needed(f: &Facts<'_>, o: &Order) -> Option<Outcome> {
    if let Source::Core(c) = &f.source {
        let held_for = chrono::Duration::hours(i64::from(f.rules.phone_change_hold_hours));
        if c.phone_changed_at.is_some_and(|at| f.now - at < held_for) && !f.passed("phone_changed") {
            return Some(hold(
                "phone_changed",
                format!("The client's phone was changed in the core within {} hours.", f.rules.phone_change_hold_hours),
            ));
        }
    }
    if let Some(above) = f.rules.person_above.filter(|a| o.pay > *a)
        && !f.passed("needs_approval")
    {
        return Some(hold("needs_approval", format!("Payments above {above} need a person's approval.")));
    }
    if let Some(other) = &f.duplicate_of
        && !f.passed("duplicate")
    {
        return Some(hold("duplicate", format!("The same amount went to the same phone a short while ago, or is on its way: {other}.")));
    }
    if f.name_item && !f.passed("name_mismatch") {
        return Some(hold("name_mismatch", "M-Pesa knows this phone under another name than the client's; see the open item."));
    }
    None
}

fn not_now(f: &Facts<'_>, o: &Order) -> Option<Outcome> {
    if f.partner_status != "active" {
        return Some(wait("partner_not_active", "The partner is not active; sending is off.", None));
    }
    if let Some(why) = &f.stopped {
        return Some(wait("stopped", why.clone(), None));
    }
    if let Source::Core(c) = &f.source
        && let Some(day) = c.loan.expected_on.filter(|d| *d > c.tenant_day)
    {
        return Some(wait("waiting_date", format!("The loan is expected to be disbursed on {day}."), Some(next_morning(f.now))));
    }
    if let Some(other) = &f.unbooked {
        return Some(wait("waiting_booking", format!("An earlier payment to this client or phone is not booked in the core yet: {other}."), None));
    }
    if let Some(until) = outside_hours(f) {
        return Some(wait("waiting_hours", "Outside working hours.", Some(until)));
    }
    if f.rules.caps.iter().any(|c| c.is_passed_by(o.pay)) {
        return Some(wait("waiting_daily_cap", "The daily cap is reached; it goes on tomorrow.", Some(next_morning(f.now))));
    }
    match f.sender {
        Sender::Ready => {}
        // A mended credential is noticed within half a minute; a proven one wakes those who wait for it.
        Sender::Missing => return Some(wait("no_credential", "There is no active M-Pesa shortcode with credentials.", Some(soon(f)))),
        Sender::Halted => {
            return Some(wait("credential_halted", "The rail refused our credential; sending on it is stopped until it is mended.", Some(soon(f))));
        }
        Sender::Busy => {
            return Some(wait("credential_careful", "One payment at a time until the credential has proven itself.", Some(again_soon(f))));
        }
        Sender::Quarantined => return Some(wait("quarantine", "The system was restored; sending is off until a person releases it.", None)),
    }
    if let Some(available) = f.float.filter(|a| *a < o.pay) {
        return Some(wait("waiting_float", format!("The float has {available} available for a payment of {}.", o.pay), None));
    }
    None
}

fn soon(f: &Facts<'_>) -> DateTime<Utc> {
    f.now + chrono::Duration::seconds(30)
}

/// The proof may have come in the very moment of this look: looked at again after 2, 4, 8 seconds, and then every half minute.
fn again_soon(f: &Facts<'_>) -> DateTime<Utc> {
    let seconds = 2_i64 << f.tries.clamp(0, 4);
    f.now + chrono::Duration::seconds(seconds.min(30))
}

fn outside_hours(f: &Facts<'_>) -> Option<DateTime<Utc>> {
    let closed = f.rules.hours.iter().find(|h| !h.open_at(f.now, f.rules.zone))?;
    Some(closed.opens_at(f.now, f.rules.zone).unwrap_or_else(|| next_morning(f.now)))
}
