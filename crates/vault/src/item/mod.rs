//! Items: what a person must settle (rule D8). Each has an age, an owner, a suggested action and a link. One open item per kind and
//! subject; a late fact closes it by itself.

pub mod watch;

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Engine, VaultError, disbursement::store::Row as DisbursementRow, payout::store::Row as PayoutRow};

/// An item to be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewItem {
    /// The partner; `None`: the platform's own.
    pub partner_id: Option<Uuid>,
    /// Stable kind.
    pub kind: String,
    /// What it is about.
    pub subject: Uuid,
    /// In a few words.
    pub title: String,
    /// What happened.
    pub detail: String,
    /// What to do.
    pub suggested_action: String,
    /// Where.
    pub link: String,
    /// How much money it is about, minor units.
    pub amount_minor: Option<i64>,
    /// `watch` or `page`.
    pub urgency: String,
}

/// Kind → title and suggested action. One table, so that a kind always reads the same.
const KINDS: &[(&str, &str, &str)] = &[
    ("held", "A payment waits for a person", "Look at the reason. Approve it by letting that reason pass, or cancel the disbursement."),
    ("refused", "A payment was refused by a check", "Mend the cause in the core or in the settings, then retry; or cancel."),
    ("not_paid", "A payment was not paid", "Tell the borrower, mend the cause, then retry; or cancel."),
    ("attempts_exhausted", "Three attempts were not paid", "Find out why at the M-Pesa portal, then retry or cancel."),
    (
        "unknown_payout",
        "It is not known whether a payment was made",
        "Look it up at the M-Pesa portal by its id. With the receipt or the portal line, resolve it with a second person.",
    ),
    ("paid_otherwise", "The rail reports a payment that is not the one we ordered", "Compare amount and receiver at the portal. Do not pay again."),
    ("double_paid", "A loan was paid twice", "Ask for the second payment back; the shortcode is paused until then."),
    ("late_success", "A payment that was called not paid was paid after all", "Check the loan and its booking; nothing was paid twice."),
    ("late_failure", "The rail reports a failure for a paid payment", "Compare with the portal. Nothing was changed here."),
    ("second_acknowledgement", "Two acknowledgements for one id", "Compare with the portal; the status is being asked."),
    ("second_receipt", "Two receipts for one id", "Compare with the portal: the receiver may have been paid twice."),
    (
        "foreign_result",
        "A result that does not belong to its path",
        "Nothing was believed; the status is being asked. If it repeats, look at the sender's address.",
    ),
    ("result_without_send", "A result for a payment that was never sent", "Nothing was believed; the status is being asked."),
    ("veto", "The rail contradicts a proof", "No new attempt is made. Look the old one up at the portal."),
    ("contradiction", "Two pieces of evidence contradict each other", "Bring both to finance; nothing was changed."),
    (
        "credential_halted",
        "The rail refuses our credential",
        "Mend it at the M-Pesa portal, then store the new version. Sending on it is stopped meanwhile.",
    ),
    ("name_mismatch", "M-Pesa knows the phone under another name", "Call the client. Payments to this phone are held until the item is closed."),
    (
        "booking_person",
        "A paid loan cannot be booked in the core by itself",
        "Look at the loan in the core and follow the detail. Never pay again for it.",
    ),
    (
        "booking_late",
        "A paid loan is still not booked in the core",
        "See why the core refuses or is down. It is tried again by itself; never pay again for it.",
    ),
    ("sighting_failed", "An approved loan cannot be read", "Check the connection and the integration user's permissions in the core."),
    ("message_parked", "A message from outside could not be understood", "Look at it; nothing was done because of it."),
    ("row_parked", "A row made a step fail three times", "Show it to a developer; everything else goes on."),
    ("core_down", "A core cannot be reached", "Ask the partner; payments of its loans wait."),
    ("returned", "A payment was sent back by the rail", "Decide with the partner: pay again with a second person, or undo the booking in the core."),
    (
        "password_expires",
        "An initiator password expires soon",
        "Change it at the M-Pesa portal and store the new version. Safaricom lets it live for 90 days.",
    ),
    (
        "wallet_negative",
        "A wallet is below zero",
        "A payment turned out paid after its charges were given back. Ask the partner to top up; it closes itself.",
    ),
    (
        "paid_other_amount",
        "An earlier attempt with another amount was paid",
        "Compare the loan in the core with what was paid, and correct the loan there.",
    ),
    (
        "rail_drift",
        "M-Pesa's balance is outside what the ledger explains",
        "Compare the M-Pesa statement with the ledger. Record funding that was added outside; it closes itself when explained.",
    ),
    ("undone_in_core", "A booking of ours was undone or changed in the core", "Ask the partner why; the money was paid."),
];

fn texts(kind: &str) -> (&'static str, &'static str) {
    KINDS.iter().find(|(k, _, _)| *k == kind).map_or(("Something needs a person", "Look at the detail."), |(_, title, action)| (title, action))
}

/// An item about a disbursement.
pub(crate) fn about_disbursement(kind: &'static str, d: &DisbursementRow, detail: String) -> NewItem {
    let (title, action) = texts(kind);
    NewItem {
        partner_id: Some(d.partner_id),
        kind: kind.to_owned(),
        subject: d.id,
        title: title.to_owned(),
        detail,
        suggested_action: action.to_owned(),
        link: format!("/api/loans/disbursements/{}", d.id),
        amount_minor: d.amount_minor,
        urgency: "watch".to_owned(),
    }
}

/// An item about a payout.
pub(crate) fn about_payout(kind: &'static str, p: &PayoutRow, detail: String, page: bool) -> NewItem {
    let (title, action) = texts(kind);
    NewItem {
        partner_id: Some(p.partner_id),
        kind: kind.to_owned(),
        subject: p.id,
        title: title.to_owned(),
        detail,
        suggested_action: action.to_owned(),
        link: format!("/api/loans/disbursements/{}", p.disbursement_id),
        amount_minor: Some(p.amount_minor),
        urgency: if page { "page" } else { "watch" }.to_owned(),
    }
}

/// A credential that the rail refuses (rule A19).
pub(crate) fn credential_halted(p: &PayoutRow, code: &str) -> NewItem {
    let (title, action) = texts("credential_halted");
    NewItem {
        partner_id: Some(p.partner_id),
        kind: "credential_halted".to_owned(),
        subject: p.credential_id,
        title: title.to_owned(),
        detail: format!("The rail answered {code}. Every send with this credential is stopped; repeated wrong passwords would lock it."),
        suggested_action: action.to_owned(),
        link: format!("/api/partners/{}/shortcodes", p.partner_id),
        amount_minor: None,
        urgency: "page".to_owned(),
    }
}

/// An item about anything else.
pub(crate) fn about(kind: &'static str, partner: Option<Uuid>, subject: Uuid, link: String, detail: String, page: bool) -> NewItem {
    let (title, action) = texts(kind);
    NewItem {
        partner_id: partner,
        kind: kind.to_owned(),
        subject,
        title: title.to_owned(),
        detail,
        suggested_action: action.to_owned(),
        link,
        amount_minor: None,
        urgency: if page { "page" } else { "watch" }.to_owned(),
    }
}

/// Opens items; one that is open already keeps its age and learns the newer detail.
pub async fn open_in_tx(conn: &mut PgConnection, engine: &Engine, now: DateTime<Utc>, items: &[NewItem]) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        #[serde(flatten)]
        item: &'a NewItem,
        opened_at: DateTime<Utc>,
    }
    if items.is_empty() {
        return Ok(());
    }
    // One row per kind and subject: an upsert may not meet the same row twice.
    let mut unique: std::collections::BTreeMap<(&str, Uuid), &NewItem> = std::collections::BTreeMap::new();
    for item in items {
        unique.insert((item.kind.as_str(), item.subject), item);
    }
    let rows: Vec<Row<'_>> = unique.into_values().map(|item| Row { id: engine.ids.uuid(now), item, opened_at: now }).collect();
    sqlx::query(
        "insert into items (id, partner_id, kind, subject, title, detail, suggested_action, link, amount_minor, urgency, opened_at)
         select id, partner_id, kind, subject, title, detail, suggested_action, link, amount_minor, urgency, opened_at
         from jsonb_populate_recordset(null::items, $1)
         on conflict (kind, subject) where closed_at is null do update set detail = excluded.detail,
             urgency = case when items.urgency = 'page' then 'page' else excluded.urgency end",
    )
    .bind(Json(&rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes items that settled themselves.
pub async fn settle_in_tx(conn: &mut PgConnection, now: DateTime<Utc>, settled: &[(&'static str, Uuid)]) -> Result<(), VaultError> {
    if settled.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = settled.iter().map(|(k, _)| *k).collect();
    let subjects: Vec<Uuid> = settled.iter().map(|(_, s)| *s).collect();
    sqlx::query(
        "update items i set closed_at = $3, closed_by = 'system', resolution = 'settled by a later fact'
         from unnest($1::text[], $2::uuid[]) as s(kind, subject)
         where i.kind = s.kind and i.subject = s.subject and i.closed_at is null",
    )
    .bind(&kinds)
    .bind(&subjects)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Open items that an actor may see, oldest first, most urgent first within the page.
pub async fn list(
    engine: &Engine,
    actor: &crate::audit::Actor,
    partner: Option<Uuid>,
    kind: Option<&str>,
    limit: i64,
) -> Result<Vec<crate::disbursement::view::ItemView>, VaultError> {
    actor.require(crate::audit::Permission::ItemsRead)?;
    let mut tx = actor.begin(engine).await?;
    let only = actor.partner.map(pv_kernel::ids::PartnerId::uuid).or(partner);
    Ok(sqlx::query_as(
        "select id, partner_id, kind, subject, title, detail, suggested_action, link, amount_minor, urgency, owner, opened_at from items
         where closed_at is null and ($1::uuid is null or partner_id = $1) and ($2::text is null or kind = $2)
         order by (urgency = 'page') desc, opened_at, id limit $3",
    )
    .bind(only)
    .bind(kind)
    .bind(limit.clamp(1, 500))
    .fetch_all(tx.conn())
    .await?)
}

/// Kinds that only a later fact may close: a person cannot declare money explained.
const CLOSED_BY_FACTS: &[&str] =
    &["unknown_payout", "booking_late", "credential_halted", "rail_drift", "double_paid", "returned", "undone_in_core", "wallet_negative"];

/// Closes an item by a person's word, with a reason, audited.
pub async fn close(engine: &Engine, actor: &crate::audit::Actor, id: Uuid, reason: &str) -> Result<(), VaultError> {
    use pv_kernel::problem::Problem;
    actor.require(crate::audit::Permission::ItemsAct)?;
    let why = crate::partner::checked_reason(reason)?;
    let mut tx = engine.begin().await?;
    let row: Option<(Option<Uuid>, String)> = sqlx::query_as("select partner_id, kind from items where id = $1 and closed_at is null for update")
        .bind(id)
        .fetch_optional(tx.conn())
        .await?;
    let (partner, kind) = row.filter(|(p, _)| actor.partner.is_none_or(|a| Some(a.uuid()) == *p)).ok_or_else(|| Problem::not_found("open item"))?;
    if CLOSED_BY_FACTS.contains(&kind.as_str()) {
        let detail = "An item of this kind is closed by a fact, not by a word.";
        return Err(Problem::refused("closed_by_facts", 409, detail, "Follow its suggested action; it closes itself when the fact is there.")
            .about(id.to_string())
            .into());
    }
    sqlx::query("update items set closed_at = $2, closed_by = $3, resolution = $4 where id = $1")
        .bind(id)
        .bind(engine.now())
        .bind(actor.label())
        .bind(&why)
        .execute(tx.conn())
        .await?;
    let entry = crate::audit::AuditEntry::of(partner.map(pv_kernel::ids::PartnerId), "item.closed", id).because(why);
    crate::audit::record_in_tx(tx.conn(), engine, actor, entry).await?;
    Ok(tx.commit_at("item.close").await?)
}
