//! Reading what M-Pesa posts to our URLs: results, status answers, balances and timeout notices (M-Pesa contract 2.4 to
//! 2.6, 6.1, 6.2). What they are worth is decided in `vault` (rule A6); here nothing is guessed: a field that cannot be
//! read is missing, and what cannot be read at all is [`Unreadable`].

use std::collections::BTreeMap;

use pv_kernel::{
    Money, Msisdn,
    rail::{BalanceNotice, PaymentFate, ResultNotice, StatusNotice, TimeoutNotice, Unreadable},
};

use crate::{
    loose::{Object, Parameters},
    moments,
};

/// The common envelope.
struct Envelope {
    result: Object,
    parameters: Parameters,
    completed: bool,
    code: String,
}

impl Envelope {
    fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let result = Object::from_body(body)?.object("Result").ok_or_else(|| Unreadable("no Result".to_owned()))?;
        let code = result.filled("ResultCode").ok_or_else(|| Unreadable("no ResultCode".to_owned()))?;
        // 0 is "completed", 1 is "waiting for more messages"; a missing one is not completed either.
        let completed = result.text("ResultType").as_deref() == Some("0");
        Ok(Self { parameters: Parameters::of(&result), completed, code, result })
    }

    fn succeeded(&self) -> bool {
        self.completed && self.code == "0"
    }

    fn description(&self) -> String {
        self.result.text("ResultDesc").unwrap_or_default()
    }

    fn money(&self, key: &str) -> Option<Money> {
        self.parameters.get(key).and_then(|t| Money::parse(t.trim()).ok())
    }
}

/// Reads a payment result. Figures and receipt are read on success only: a failure carries placeholders (2.5).
pub(crate) fn result(body: &[u8]) -> Result<ResultNotice, Unreadable> {
    let e = Envelope::read(body)?;
    let mut notice = ResultNotice {
        completed: e.completed,
        code: e.code.clone(),
        description: e.description(),
        rail_id: e.result.filled("OriginatorConversationID"),
        conversation_id: e.result.filled("ConversationID"),
        receipt: None,
        amount: None,
        msisdn: None,
        party_name: None,
        completed_at: None,
        utility_after: None,
        charges_after: None,
    };
    if !e.succeeded() {
        return Ok(notice);
    }
    notice.receipt = success_receipt(&e);
    notice.amount = e.money("TransactionAmount");
    (notice.msisdn, notice.party_name) = party(e.parameters.get("ReceiverPartyPublicName"));
    notice.completed_at = e.parameters.get("TransactionCompletedDateTime").and_then(moments::read);
    notice.utility_after = e.money("B2CUtilityAccountAvailableFunds");
    notice.charges_after = e.money("B2CChargesPaidAccountAvailableFunds");
    Ok(notice)
}

/// The receipt of a success: `TransactionReceipt` and `TransactionID` are the same text. When they differ, neither is
/// believed, and the payment is asked about.
fn success_receipt(e: &Envelope) -> Option<String> {
    let receipt = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|t| is_receipt(t));
    let (named, outer) = (receipt(e.parameters.get("TransactionReceipt").map(str::to_owned)), receipt(e.result.filled("TransactionID")));
    match (named, outer) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    }
}

/// Neither empty nor the placeholder of failures: a date prefix and seven zeros (2.5).
fn is_receipt(text: &str) -> bool {
    let placeholder = text.len() == 10 && text.ends_with("0000000");
    !text.is_empty() && !placeholder
}

/// `254700000001 - TEST BORROWER`, split at the first ` - `.
fn party(text: Option<&str>) -> (Option<Msisdn>, Option<String>) {
    let Some(text) = text else {
        return (None, None);
    };
    let (left, name) = text.split_once(" - ").map_or((text, None), |(left, name)| (left, Some(name)));
    let name = name.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
    (Msisdn::parse(left).ok(), name)
}

/// Reads the answer to a status question. `ResultCode` 0 says only that the question worked; the payment's fate is
/// `TransactionStatus`, and the ids of the envelope are the question's (6.1, traps 1 and 2).
pub(crate) fn status(body: &[u8]) -> Result<StatusNotice, Unreadable> {
    let e = Envelope::read(body)?;
    let mut notice = StatusNotice {
        query_conversation_id: e.result.filled("ConversationID"),
        fate: fate(&e),
        code: e.code.clone(),
        description: e.description(),
        rail_id: None,
        conversation_id: None,
        receipt: None,
        amount: None,
        msisdn: None,
        party_name: None,
        payer_shortcode: None,
        finalised_at: None,
        charge: None,
    };
    if !e.succeeded() {
        return Ok(notice);
    }
    let text = |key: &str| e.parameters.get(key).map(|t| t.trim().to_owned());
    // The envelope's own words are about the question ("processed successfully"); a person reads these about the payment.
    let statuses = e.parameters.all("TransactionStatus").join(" and ");
    if !statuses.trim().is_empty() {
        notice.description = format!("M-Pesa's status of the payment is {}", statuses.trim());
    }
    notice.rail_id = text("OriginatorConversationID");
    notice.conversation_id = text("ConversationID");
    notice.receipt = text("ReceiptNo").filter(|t| is_receipt(t));
    notice.amount = e.money("Amount");
    notice.payer_shortcode = e.parameters.all("DebitPartyName").into_iter().find_map(shortcode);
    (notice.msisdn, notice.party_name) = receiver(&e.parameters);
    notice.finalised_at = e.parameters.get("FinalisedTime").and_then(moments::read);
    notice.charge = e.parameters.get("DebitPartyCharges").and_then(charge);
    Ok(notice)
}

fn fate(e: &Envelope) -> PaymentFate {
    if !e.completed {
        return PaymentFate::Unclear;
    }
    match (e.code.as_str(), e.parameters.get("TransactionStatus").map(str::trim)) {
        ("0", Some("Completed")) => PaymentFate::Completed,
        ("0", Some("Cancelled" | "Declined" | "Expired")) => PaymentFate::Ended,
        ("0", Some("Initiated" | "Authorized" | "Pending Authorized")) => PaymentFate::Open,
        ("2032", _) => PaymentFate::NotFound,
        _ => PaymentFate::Unclear,
    }
}

/// The shortcode of `600111 - PAYMENT VAULT TEST`.
fn shortcode(text: &str) -> Option<String> {
    let left = text.split_once(" - ").map_or(text, |(left, _)| left).trim();
    ((5..=7).contains(&left.len()) && left.bytes().all(|b| b.is_ascii_digit())).then(|| left.to_owned())
}

/// The receiver. A sample of the portal names both parties `DebitPartyName` (6.1, trap 3): then it is the one with a
/// phone number.
fn receiver(parameters: &Parameters) -> (Option<Msisdn>, Option<String>) {
    if let Some(credit) = parameters.get("CreditPartyName") {
        return party(Some(credit));
    }
    let debit = parameters.all("DebitPartyName");
    if debit.len() < 2 {
        return (None, None);
    }
    debit.into_iter().map(|text| party(Some(text))).find(|(msisdn, _)| msisdn.is_some()).unwrap_or_default()
}

/// `<label>|<currency>|<amount>` (6.1, trap 4).
fn charge(text: &str) -> Option<Money> {
    let mut fields = text.split('|').map(str::trim);
    let (_, currency, amount) = (fields.next()?, fields.next()?, fields.next()?);
    if currency != "KES" || fields.next().is_some() {
        return None;
    }
    Money::parse(amount).ok()
}

/// Reads the answer to a balance question.
pub(crate) fn balance(body: &[u8]) -> Result<BalanceNotice, Unreadable> {
    let e = Envelope::read(body)?;
    let available = if e.succeeded() {
        accounts(e.parameters.get("AccountBalance").ok_or_else(|| Unreadable("no AccountBalance".to_owned()))?)?
    } else {
        BTreeMap::new()
    };
    Ok(BalanceNotice {
        query_conversation_id: e.result.filled("ConversationID"),
        // A question that is not completed has no code that counts; `0` without figures would be read as empty accounts.
        code: if e.code == "0" && !e.completed { "not completed".to_owned() } else { e.code.clone() },
        description: e.description(),
        available,
        at: e.parameters.get("BOCompletedTime").and_then(moments::read),
    })
}

/// The available balance (field 4) of each account: accounts joined by `&`, six fields joined by `|` (6.2). One account
/// that cannot be read makes the whole unreadable: half a balance is a wrong balance.
pub(crate) fn accounts(text: &str) -> Result<BTreeMap<String, Money>, Unreadable> {
    let mut available = BTreeMap::new();
    for account in text.split('&').map(str::trim).filter(|a| !a.is_empty()) {
        let fields: Vec<&str> = account.split('|').map(str::trim).collect();
        let [name, "KES", _current, free, _reserved, _uncleared] = fields.as_slice() else {
            return Err(Unreadable("a balance that is not six fields in KES".to_owned()));
        };
        let money = Money::parse(free).map_err(|e| Unreadable(format!("a balance: {e}")))?;
        if name.is_empty() || available.insert((*name).to_owned(), money).is_some() {
            return Err(Unreadable("a balance without a name, or one account twice".to_owned()));
        }
    }
    if available.is_empty() {
        return Err(Unreadable("an empty balance".to_owned()));
    }
    Ok(available)
}

/// Reads a timeout notice: an echo of our request, or the result envelope (2.6). Any JSON object will do; one without our
/// id is known by the URL that it came to.
pub(crate) fn timeout(body: &[u8]) -> Result<TimeoutNotice, Unreadable> {
    let object = Object::from_body(body)?;
    let inner = object.object("Result");
    let rail_id = object.filled("OriginatorConversationID").or_else(|| inner.and_then(|r| r.filled("OriginatorConversationID")));
    Ok(TimeoutNotice { rail_id })
}
