//! Makes texts from numbered events, behind a cursor. The unique key of a text makes a second run harmless.

use std::collections::BTreeMap;

use pv_kernel::{
    Money, Msisdn,
    ids::{CoreId, PartnerId},
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::texts;
use crate::{
    Engine, VaultError,
    disbursement::store::{self, Row},
    engine::Worked,
    partner::{self, Partner, core_link, product, sms_settings},
    wallet::movements::wallet,
};

#[derive(sqlx::FromRow)]
struct Event {
    seq: i64,
    id: Uuid,
    kind: String,
    subject: Uuid,
    payload: Json<serde_json::Value>,
}

#[derive(Serialize)]
struct Text {
    id: Uuid,
    partner_id: Uuid,
    recipient_phone: String,
    message_type: &'static str,
    message_content: String,
    event_id: Uuid,
    disbursement_id: Uuid,
    segments: i32,
}

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let cursor: Option<(i64,)> =
        sqlx::query_as("select seq from outbox_cursors where consumer = 'sms' for update skip locked").fetch_optional(tx.conn()).await?;
    let Some((seq,)) = cursor else { return Ok(Worked::default()) };
    let events: Vec<Event> = sqlx::query_as(
        "select s.seq, o.id, o.kind, o.subject, o.payload from outbox_sequence s join outbox o on o.id = s.event_id where s.seq > $1 order by s.seq limit $2",
    )
    .bind(seq)
    .bind(engine.limits.batch)
    .fetch_all(tx.conn())
    .await?;
    let Some(last) = events.last().map(|e| e.seq) else { return Ok(Worked::default()) };
    let subjects: Vec<Uuid> = events.iter().map(|e| e.subject).collect();
    let rows: BTreeMap<Uuid, Row> = store::read_in_tx(tx.conn(), &subjects).await?.into_iter().map(|r| (r.id, r)).collect();
    let partner_ids: Vec<PartnerId> = rows.values().map(Row::partner).collect();
    let partners = partner::load_in_tx(tx.conn(), &partner_ids).await?;
    let settings = sms_settings::load_accounts_in_tx(tx.conn(), &engine.keys, &partner_ids).await?;
    let core_ids: Vec<CoreId> = rows.values().filter_map(|r| r.core_id).map(CoreId).collect();
    let cores = core_link::load_links_in_tx(tx.conn(), &engine.keys, &core_ids).await?;
    let wanted: Vec<(CoreId, String)> = rows.values().filter_map(|r| Some((CoreId(r.core_id?), r.product_id.clone()?))).collect();
    let products = product::load_products_in_tx(tx.conn(), &wanted).await?;
    let mut balances: BTreeMap<PartnerId, Money> = BTreeMap::new();
    for id in partners.keys() {
        let balance = pv_ledger::balance(tx.conn(), wallet(*id).id()).await?;
        balances.insert(*id, balance.map_or(Money::ZERO, |b| b.available));
    }
    let mut made = Vec::new();
    for event in &events {
        let Some(d) = rows.get(&event.subject) else { continue };
        let (Some(partner), Some(sms)) = (partners.get(&d.partner()), settings.get(&d.partner())) else { continue };
        let core = d.core_id.and_then(|c| cores.get(&CoreId(c)));
        let product = d.core_id.zip(d.product_id.clone()).and_then(|(c, p)| products.get(&(CoreId(c), p)));
        // A text goes out only if every switch above it is on.
        if !sms.enabled || core.is_some_and(|c| !c.sms_enabled) || product.is_some_and(|p| !p.sms_notifications_enabled) {
            continue;
        }
        let phones: Vec<Msisdn> = partner
            .notification_phones
            .iter()
            .chain(&sms.phones)
            .chain(core.iter().flat_map(|c| &c.sms_phones))
            .copied()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let wallet = balances.get(&d.partner()).copied().unwrap_or(Money::ZERO);
        for (to, kind, content) in compose(event, d, partner, &phones, wallet) {
            let content = pv_damza::segments::clean(&content);
            let segments = i32::try_from(pv_damza::segments::count(&content).parts).unwrap_or(1);
            made.push(Text {
                id: engine.ids.uuid(now),
                partner_id: d.partner_id,
                recipient_phone: to.to_string(),
                message_type: kind,
                message_content: content,
                event_id: event.id,
                disbursement_id: d.id,
                segments,
            });
        }
    }
    if !made.is_empty() {
        sqlx::query(
            "insert into sms_notifications (id, partner_id, recipient_phone, message_type, message_content, event_id, disbursement_id, segments, due_at, created_at, updated_at)
             select id, partner_id, recipient_phone, message_type, message_content, event_id, disbursement_id, segments, $2, $2, $2
             from jsonb_populate_recordset(null::sms_notifications, $1)
             on conflict (event_id, recipient_phone, message_type) do nothing",
        )
        .bind(Json(&made))
        .bind(now)
        .execute(tx.conn())
        .await?;
    }
    sqlx::query("update outbox_cursors set seq = $1 where consumer = 'sms'").bind(last).execute(tx.conn()).await?;
    tx.commit_at("notify").await?;
    Ok(Worked::of(events.len(), engine.limits.batch))
}

fn compose(event: &Event, d: &Row, partner: &Partner, phones: &[Msisdn], wallet: Money) -> Vec<(Msisdn, &'static str, String)> {
    let amount = d.amount().unwrap_or(Money::ZERO);
    let what = d.loan_id.as_ref().map_or_else(|| d.reference.clone().unwrap_or_default(), |l| format!("loan {l}"));
    let client = d.client_name.as_deref().unwrap_or("the receiver");
    let detail = event.payload.0.get("reason_detail").and_then(|v| v.as_str()).unwrap_or("see Payment Vault").to_owned();
    let to_partner = |kind: &'static str, text: String| phones.iter().map(|p| (*p, kind, text.clone())).collect::<Vec<_>>();
    match event.kind.as_str() {
        "disbursement.paid" => {
            let (Some(receiver), Some(receipt)) = (d.receiver(), d.receipt.as_deref()) else { return Vec::new() };
            let text = if d.core_id.is_some() {
                texts::loan_paid_customer(&partner.short_name, d.first_name(), amount, receipt)
            } else {
                texts::paid_customer(&partner.short_name, amount, receipt)
            };
            let mut all = vec![(receiver, "payment_receipt", text)];
            all.extend(to_partner("disbursement_confirmation", texts::paid_partner(client, &receiver.masked(), amount, receipt, wallet)));
            all
        }
        "disbursement.not_paid" => to_partner("disbursement_failure", texts::not_paid_partner(&what, amount, &detail)),
        "disbursement.waiting_wallet" => to_partner("balance_alert", texts::waiting_wallet_partner(&what, amount)),
        "disbursement.waiting_float" => to_partner("float_alert", texts::waiting_float_partner(&what, amount)),
        "disbursement.held" | "disbursement.refused" if !matches!(d.reason.as_deref(), Some("auto_off" | "old_approval")) => {
            to_partner("disbursement_attention", texts::needs_person_partner(&what, amount, &detail))
        }
        _ => Vec::new(),
    }
}
