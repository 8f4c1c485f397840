//! Asks for the balances of each shortcode on a schedule, and takes the answer. What was learnt wakes payments that wait for float.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{Money, rail::BalanceNotice};
use uuid::Uuid;

use super::store::{self, QueryRow};
use crate::{Engine, VaultError, engine::Worked, reconciliation::rail};

/// Runs once: wants a balance of every shortcode that is due.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let due: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "with due as (
             select s.id from mpesa_shortcodes s
             where s.is_active and (s.next_balance_at is null or s.next_balance_at <= $1) and ($4::uuid[] is null or s.partner_id = any($4))
               and exists (select from mpesa_credentials c where c.shortcode_id = s.id and c.is_active and c.halted_at is null)
             order by s.next_balance_at nulls first, s.id limit $3 for no key update skip locked)
         update mpesa_shortcodes s set next_balance_at = $2 from due where s.id = due.id returning s.id, s.partner_id",
    )
    .bind(now)
    .bind(engine.in_(engine.limits.balance_every))
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    let wanted: Vec<QueryRow> = due.iter().map(|(shortcode, partner)| question(engine, *partner, *shortcode, now)).collect();
    store::want_queries_in_tx(tx.conn(), &wanted).await?;
    tx.commit_at("balance.want").await?;
    Ok(Worked::of(due.len(), engine.limits.batch))
}

/// A question for the balances of a shortcode.
pub(crate) fn question(engine: &Engine, partner: Uuid, shortcode: Uuid, now: DateTime<Utc>) -> QueryRow {
    QueryRow {
        id: engine.ids.uuid(now),
        partner_id: partner,
        shortcode_id: shortcode,
        credential_id: None,
        kind: "balance".to_owned(),
        payout_id: None,
        receipt: None,
        purpose: "balance".to_owned(),
        token: engine.ids.hex_token(),
        state: "wanted".to_owned(),
        conversation_id: None,
        asked_at: now,
        acknowledged_at: None,
        answered_at: None,
        code: None,
        answer: None,
        message: None,
        ledger_minor: None,
    }
}

/// Takes an answer: keeps the balances and wakes what waits for float there.
pub(crate) async fn take_in_tx(conn: &mut PgConnection, engine: &Engine, query: &QueryRow, notice: &BalanceNotice) -> Result<String, VaultError> {
    if notice.code != "0" {
        return Ok(format!("the rail did not tell the balances: {} {}", notice.code, notice.description));
    }
    let minor = |name: &str| notice.available.iter().find(|(k, _)| k.to_lowercase().starts_with(name)).map(|(_, m)| m.minor());
    let Some(utility) = minor("utility") else {
        return Ok("an answer without a utility account".to_owned());
    };
    // An older answer never replaces a newer one.
    let newer = sqlx::query(
        "update mpesa_shortcodes set utility_minor = $2, working_minor = coalesce($3, working_minor), charges_minor = coalesce($4, charges_minor), balances_at = $5
         where id = $1 and (balances_at is null or balances_at <= $5)",
    )
    .bind(query.shortcode_id)
    .bind(utility)
    .bind(minor("working"))
    .bind(minor("charges"))
    .bind(query.asked_at)
    .execute(&mut *conn)
    .await?;
    let weighed = rail::weigh_reading_in_tx(conn, engine, query, Money::from_minor(utility), minor("charges").map(Money::from_minor)).await?;
    if newer.rows_affected() > 0 {
        wake_in_tx(conn, query.shortcode_id, engine.now()).await?;
    }
    Ok(format!("utility {}; {weighed}", Money::from_minor(utility)))
}

/// Wakes payments that wait for float, oldest first; each is weighed again by itself.
async fn wake_in_tx(conn: &mut PgConnection, shortcode: Uuid, now: DateTime<Utc>) -> Result<(), VaultError> {
    sqlx::query(
        "update disbursements d set due_at = $2, retry_at = null
         where d.state = 'waiting' and d.reason = 'waiting_float' and d.shortcode_id = $1
           and not exists (select from payouts p where p.disbursement_id = d.id and p.state = 'not_paid' and p.veto in ('wanted', 'asked', 'blocked'))
           and d.amount_minor <= (select s.utility_minor from mpesa_shortcodes s where s.id = $1)",
    )
    .bind(shortcode)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
