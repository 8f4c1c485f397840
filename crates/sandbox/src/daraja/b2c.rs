//! B2C payments: the request at the gateway, and what M-Pesa makes of it (M-Pesa contract 2).

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::book::{Account, Leg, Payment, PaymentState, Record};
use super::faults::{Copies, Door, NoticeShape, Plan, ThrottleForm, magic_fault};
use super::gateway::{Fields, error, invalid_field, is_json, json_answer, server_error, throttled};
use super::names::{conversation_id, eat, gateway_id, kes_with_commas, placeholder, stamp};
use super::options::{ChargeAccount, Product, ShortcodeKind};
use super::result::{ResultParts, Token, loose_result_body, result_body};
use super::tariff::b2c_charge_cents;
use super::{DarajaSim, Event, later};
use crate::phones::{CreditRefused, ReceivedMoney, is_kenyan_mobile};
use crate::wire::{Reply, Request, Response};

/// The acknowledgement waits this much longer when the result must overtake it.
const OVERTAKEN_BY: Duration = Duration::from_millis(1500);

/// Which endpoint was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// No id of the client, hence no protection from repeats.
    V1,
    /// With `OriginatorConversationID`.
    V3,
}

/// A request that passed the gateway's checks.
#[derive(Debug)]
struct Order {
    originator: Option<String>,
    initiator: String,
    credential: String,
    command: String,
    cents: i64,
    shortcode: String,
    msisdn: String,
    timeout_url: String,
    result_url: String,
}

impl Order {
    /// Checks the fields in the order of the contract's table; the first bad one is named.
    fn read(fields: &Fields<'_>, version: Version, production: bool) -> Result<Self, &'static str> {
        let originator = match version {
            Version::V1 => None,
            Version::V3 => Some(originator_id(fields)?),
        };
        let initiator = fields.sized("InitiatorName", 1, 100)?;
        let credential = fields.sized("SecurityCredential", 1, 1000)?;
        let command = fields.text("CommandID").unwrap_or_default();
        if !matches!(command.as_str(), "BusinessPayment" | "SalaryPayment" | "PromotionPayment") {
            return Err("CommandID");
        }
        let cents = fields.whole_shillings("Amount")?;
        let shortcode = fields.digits("PartyA", 5, 7)?;
        let msisdn = fields.digits("PartyB", 12, 12)?;
        if !is_kenyan_mobile(&msisdn) {
            return Err("PartyB");
        }
        fields.sized("Remarks", 2, 100)?;
        let timeout_url = fields.url("QueueTimeOutURL", production)?;
        let result_url = fields.url("ResultURL", production)?;
        for optional in ["Occassion", "Occasion"] {
            if fields.text(optional).is_some_and(|text| text.chars().count() > 100) {
                return Err(optional);
            }
        }
        Ok(Self { originator, initiator, credential, command, cents, shortcode, msisdn, timeout_url, result_url })
    }
}

/// Letters, digits, `-` and `_`, at most 36: the longest that is known to work (M-Pesa contract 2.2).
fn originator_id(fields: &Fields<'_>) -> Result<String, &'static str> {
    const FIELD: &str = "OriginatorConversationID";
    let id = fields.sized(FIELD, 1, 36)?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if plain { Ok(id) } else { Err(FIELD) }
}

impl DarajaSim {
    /// `POST /mpesa/b2c/v3/paymentrequest`, and v1.
    pub(super) fn pay(&mut self, now: DateTime<Utc>, request: &Request, version: Version) -> Reply {
        let caller = match self.admit(now, request, Product::B2c) {
            Ok(caller) => caller,
            Err(response) => return self.reply(*response),
        };
        let order = match self.read_order(request, version) {
            Ok(order) => order,
            Err(response) => return self.reply(*response),
        };
        if !self.speaks_for(&caller, &order.shortcode) {
            let response = invalid_field(&mut self.chance, "PartyA");
            return self.reply(response);
        }
        if let Some(reply) = self.shortcode_outage(now, &order.shortcode) {
            return reply;
        }
        let known = order.originator.as_ref().is_some_and(|id| self.book.by_originator.contains_key(id));
        let plan = self.plan(&order, known);
        let delay = self.options.answer_delay + plan.slow;
        let before = match plan.door {
            Door::Throttled(form) => Some(throttled(&mut self.chance, form)),
            Door::TokenRevoked => Some(self.revoke(&caller, Product::B2c)),
            Door::RefusedBefore => Some(server_error(&mut self.chance)),
            Door::DroppedBefore => {
                return Reply { response: None, delay };
            }
            _ if self.too_fast(now, &order.shortcode) => Some(throttled(&mut self.chance, ThrottleForm::SpikeArrest)),
            _ => None,
        };
        if let Some(response) = before {
            return Reply { response: Some(response), delay };
        }
        let (door, early) = (plan.door, plan.early && !known);
        let response = if known { self.duplicate(now, &order) } else { self.accept(now, order, plan, request.body()) };
        let delay = if early { delay + OVERTAKEN_BY } else { delay };
        match door {
            Door::DroppedAfter => Reply { response: None, delay },
            Door::ErrorAfter => Reply { response: Some(server_error(&mut self.chance)), delay },
            _ => Reply { response: Some(response), delay },
        }
    }

    fn read_order(&mut self, request: &Request, version: Version) -> Result<Order, Box<Response>> {
        if !is_json(request) {
            // The gateway cannot read the body and blames the first field, which may be fine.
            let first = if version == Version::V3 { "OriginatorConversationID" } else { "InitiatorName" };
            return Err(Box::new(invalid_field(&mut self.chance, first)));
        }
        let Some(fields) = Fields::parse(request.body()) else {
            return Err(Box::new(error(&mut self.chance, 400, "400.002.05", "Invalid Request Payload")));
        };
        Order::read(&fields, version, self.options.production).map_err(|field| Box::new(invalid_field(&mut self.chance, field)))
    }

    /// Script before magic number before dials.
    fn plan(&mut self, order: &Order, known: bool) -> Plan {
        let originator = order.originator.as_deref().unwrap_or_default();
        let scripted = self.scripts.for_payment(originator, &order.msisdn);
        let fault = scripted.or_else(|| if known { None } else { self.magic(&order.msisdn) });
        match fault {
            Some(fault) => {
                let mut plan = Plan::default();
                plan.add(&fault);
                plan
            }
            None => self.faults.draw(&mut self.chance),
        }
    }

    fn magic(&mut self, msisdn: &str) -> Option<super::Fault> {
        if !self.options.magic_numbers {
            return None;
        }
        let counts = msisdn.ends_with("910") || msisdn.ends_with("918");
        let earlier = if counts { self.met.get(msisdn).copied().unwrap_or(0) } else { 0 };
        if counts {
            self.met.insert(msisdn.to_owned(), earlier.saturating_add(1));
        }
        magic_fault(msisdn, earlier)
    }

    /// Counts the request and says whether the shortcode's ceiling is passed.
    pub(super) fn too_fast(&mut self, now: DateTime<Utc>, shortcode: &str) -> bool {
        let Some(ceiling) = self.options.spike_arrest_per_second else {
            return false;
        };
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return false;
        };
        if till.second.0 != now.timestamp() {
            till.second = (now.timestamp(), 0);
        }
        till.second.1 = till.second.1.saturating_add(1);
        till.second.1 > ceiling
    }

    /// A known id is refused, for ever, and the original is left alone (M-Pesa contract 2.7).
    fn duplicate(&mut self, now: DateTime<Utc>, order: &Order) -> Response {
        let stop = if self.chance.coin() { "." } else { "" };
        let message = format!("Duplicate OriginatorConversationID{stop}");
        if !self.options.duplicate_as_200 {
            return error(&mut self.chance, 500, "500.002.1001", &message);
        }
        let conversation = conversation_id(&mut self.chance, now);
        json_answer(
            200,
            &[
                ("ConversationID", &conversation),
                ("OriginatorConversationID", order.originator.as_deref().unwrap_or_default()),
                ("ResponseCode", "1"),
                ("ResponseDescription", &message),
            ],
        )
    }

    /// Takes the request into M-Pesa's queue. Credential, balance and recipient are not looked at yet.
    fn accept(&mut self, now: DateTime<Utc>, order: Order, plan: Plan, body: &Bytes) -> Response {
        let originator = order.originator.unwrap_or_else(|| gateway_id(&mut self.chance));
        let conversation = conversation_id(&mut self.chance, now);
        let waiting = ["Initiated", "Authorized", "Pending Authorized"];
        let word = if plan.pending > Duration::ZERO { None } else { self.chance.pick(&waiting).copied() };
        let process_at = self.processing_moment(now, &plan);
        let notice = plan.notice;
        let record = Record {
            payment: Payment {
                originator_conversation_id: originator.clone(),
                conversation_id: conversation.clone(),
                shortcode: order.shortcode,
                msisdn: order.msisdn,
                cents: order.cents,
                command: order.command,
                state: PaymentState::Queued,
                result_code: None,
                receipt: None,
                charge_cents: 0,
                accepted_at: now,
                settled_at: None,
                sent_back: None,
            },
            plan,
            initiator: order.initiator,
            credential: order.credential,
            result_url: order.result_url,
            timeout_url: order.timeout_url,
            // Kept only where it will be echoed.
            request: if notice == Some(NoticeShape::Echo) { body.clone() } else { Bytes::new() },
            status_word: word.unwrap_or("Initiated"),
        };
        let index = self.book.add(record);
        self.schedule(process_at, Event::Process(index));
        if let Some(shape) = notice {
            self.send_notice(later(now, self.options.notice_delay), index, shape);
        }
        let stop = if self.chance.coin() { "." } else { "" };
        let description = format!("Accept the service request successfully{stop}");
        json_answer(
            200,
            &[
                ("ConversationID", &conversation),
                ("OriginatorConversationID", &originator),
                ("ResponseCode", "0"),
                ("ResponseDescription", &description),
            ],
        )
    }

    fn processing_moment(&self, now: DateTime<Utc>, plan: &Plan) -> DateTime<Utc> {
        if plan.early {
            return now;
        }
        let queue = if plan.notice.is_some() { self.options.notice_delay } else { Duration::ZERO };
        later(now, queue + plan.pending + self.options.processing_delay)
    }

    /// A queue-timeout notice, in one of its two shapes (M-Pesa contract 2.6).
    fn send_notice(&mut self, at: DateTime<Utc>, index: usize, shape: NoticeShape) {
        let Some(record) = self.book.records.get(index) else {
            return;
        };
        let payment = &record.payment;
        let body = match shape {
            NoticeShape::Echo => record.request.clone(),
            NoticeShape::Envelope => {
                let (originator, conversation) = (&payment.originator_conversation_id, &payment.conversation_id);
                let mut parts = ResultParts::new("17", originator, conversation, &placeholder(at));
                parts.result_type = 1;
                "The request timed out in the queue.".clone_into(&mut parts.result_desc);
                result_body(&parts)
            }
        };
        let url = record.timeout_url.clone();
        let what = format!("queue timeout for {}", payment.originator_conversation_id);
        self.call(at, &url, body, what);
    }

    /// M-Pesa's core takes the payment from its queue.
    pub(super) fn process(&mut self, at: DateTime<Utc>, index: usize) {
        let Some(record) = self.book.records.get(index) else {
            return;
        };
        let shortcode = record.payment.shortcode.clone();
        let (name, credential) = (record.initiator.clone(), record.credential.clone());
        let forced = record.plan.forced.clone();
        let refused = self.check_operator(&shortcode, &name, &credential, true);
        let code = match (refused, forced) {
            (Some(code), _) => code.to_owned(),
            (None, Some(forced)) => {
                if forced.moved {
                    // Where the world's rules forbid it, nothing moves and the odd code stays.
                    let _ = self.move_money(at, index);
                }
                forced.code
            }
            (None, None) => match self.move_money(at, index) {
                Ok(()) => "0".to_owned(),
                Err(code) => code.to_owned(),
            },
        };
        self.settle(at, index, code);
    }

    /// Pays by the world's rules, or gives the code of the rule that forbids it.
    fn move_money(&mut self, at: DateTime<Utc>, index: usize) -> Result<(), &'static str> {
        let record = self.book.records.get_mut(index).ok_or("17")?;
        let payment = &mut record.payment;
        let till = self.book.tills.get_mut(&payment.shortcode).ok_or("6")?;
        if !matches!(till.kind, ShortcodeKind::B2c | ShortcodeKind::OneAccount) {
            return Err("2028");
        }
        if payment.cents < self.options.minimum_cents {
            return Err("2");
        }
        if payment.cents > self.options.maximum_cents {
            return Err("3");
        }
        let charge = b2c_charge_cents(payment.cents);
        let beside = till.charge_account == ChargeAccount::Utility;
        if till.balances.utility_cents < payment.cents + if beside { charge } else { 0 } {
            return Err("1");
        }
        let name = self.phones.name_of(&payment.msisdn).ok_or("2040")?;
        let receipt = self.receipts.next(at);
        let money = ReceivedMoney { receipt: receipt.clone(), cents: payment.cents, from: payment.shortcode.clone(), at, sent_back: None };
        let balance = self.phones.credit(at, &payment.msisdn, money, self.options.customer).map_err(|refused| match refused {
            CreditRefused::NotRegistered => "2040",
            CreditRefused::DailyLimit => "4",
            CreditRefused::MaximumBalance => "8",
        })?;
        let reason = reason_of(&payment.command);
        let party = format!("{} - {name}", payment.msisdn);
        let leg = Leg {
            account: Account::Utility,
            receipt: &receipt,
            initiated_at: payment.accepted_at,
            at,
            details: format!("{reason} to {party}"),
            reason,
            party,
            linked: None,
            delta_cents: -payment.cents,
            originator: Some(&payment.originator_conversation_id),
        };
        till.post(leg.clone());
        if charge > 0 {
            let account = if beside { Account::Utility } else { Account::ChargesPaid };
            let details = "B2C Payment Charge".to_owned();
            till.post(Leg { account, details, party: String::new(), delta_cents: -charge, ..leg });
        }
        let text = sms_text(&receipt, payment, &till.name, balance, at);
        self.phones.inbox_push(at, &payment.msisdn, "MPESA", &text);
        payment.charge_cents = charge;
        payment.state = PaymentState::Paid;
        payment.receipt = Some(receipt.clone());
        self.book.by_receipt.insert(receipt, index);
        Ok(())
    }

    /// Writes the outcome down and sends the result as the plan says.
    fn settle(&mut self, at: DateTime<Utc>, index: usize, code: String) {
        let final_words = ["Declined", "Cancelled"];
        let declined = self.chance.pick(&final_words).copied().unwrap_or("Declined");
        let Some(record) = self.book.records.get_mut(index) else {
            return;
        };
        let payment = &mut record.payment;
        record.status_word = match (payment.state, code.as_str()) {
            (PaymentState::Paid | PaymentState::SentBack, _) => "Completed",
            (_, "1019") => "Expired",
            _ => declined,
        };
        if payment.state == PaymentState::Queued {
            payment.state = PaymentState::NotPaid;
        }
        payment.result_code = Some(code);
        payment.settled_at = Some(at);
        let (copies, early, extra) = (record.plan.copies, record.plan.early, record.plan.result_delay);
        let url = record.result_url.clone();
        if copies == Copies::None {
            return;
        }
        let Some(parts) = self.result_parts(at, index) else {
            return;
        };
        let what = format!("result {} for {}", parts.result_code, parts.originator_conversation_id);
        let body = loose_result_body(parts, &mut self.chance, self.options.loose_typing_per_mille);
        let leaves = if early { at } else { later(at, self.options.callback_delay + extra) };
        if copies == Copies::Two {
            let again = later(leaves, Duration::from_millis(self.chance.below(5_000)));
            self.call(again, &url, body.clone(), format!("{what}, again"));
        }
        self.call(leaves, &url, body, what);
    }

    fn result_parts(&mut self, at: DateTime<Utc>, index: usize) -> Option<ResultParts> {
        let payment = &self.book.records.get(index)?.payment;
        let till = self.book.tills.get(&payment.shortcode)?;
        let code = payment.result_code.clone()?;
        let receipt = payment.receipt.clone().filter(|_| code == "0" || self.chance.coin());
        let transaction = match receipt {
            Some(receipt) => receipt,
            None if self.chance.coin() => self.receipts.next(at),
            None => placeholder(at),
        };
        let (originator, conversation) = (payment.originator_conversation_id.as_str(), payment.conversation_id.as_str());
        if code != "0" {
            let parts = ResultParts::new(&code, originator, conversation, &transaction);
            // Parameters on a failure are rare but real (M-Pesa contract 0.5).
            let telling = self.chance.per_mille(self.options.loose_typing_per_mille) && self.chance.coin();
            let completed = Token::Digits(stamp(at));
            return Some(if telling { parts.with("BOCompletedTime", completed) } else { parts });
        }
        let name = self.phones.name_of(&payment.msisdn).unwrap_or_default();
        let party = format!("{} - {name}", payment.msisdn);
        let ids = (originator, conversation, transaction.as_str());
        Some(ResultParts::b2c_success(ids, payment.cents, &party, at, till.balances))
    }
}

/// The reason type of a command (statement contract 3.3).
pub(super) fn reason_of(command: &str) -> &'static str {
    match command {
        "SalaryPayment" => "Salary Payment via API",
        "PromotionPayment" => "Promotion Payment via API",
        _ => "Business Payment to Customer via API",
    }
}

/// What M-Pesa texts to the recipient.
fn sms_text(receipt: &str, payment: &Payment, from: &str, balance: i64, at: DateTime<Utc>) -> String {
    let mut text = format!("{receipt} Confirmed. ");
    if payment.command == "PromotionPayment" {
        text.push_str("Congratulations! ");
    }
    let (amount, balance) = (kes_with_commas(payment.cents), kes_with_commas(balance));
    let when = eat(at).format("%-d/%-m/%y at %-I:%M %p");
    // Writing into a String cannot fail.
    let _ = write!(text, "You have received Ksh{amount} from {} - {from} on {when}. New M-PESA balance is Ksh{balance}.", payment.shortcode);
    text
}
