//! Adjusts a wallet: the platform's word, with a reason, audited. Until partners top up by themselves this is how wallets get money.

use pv_kernel::{Money, ids::PartnerId, problem::Problem};
use pv_ledger::Answer;
use serde::Serialize;
use uuid::Uuid;

use super::movements::{adjusted, wallet};
use crate::{
    Engine, VaultError,
    audit::{self, Actor, AuditEntry, Permission},
    partner::checked_reason,
};

/// An adjustment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// The partner.
    pub partner: PartnerId,
    /// Into the wallet (positive) or out of it (negative).
    pub amount: Money,
    /// The bank's or the partner's reference: the same reference is the same adjustment, for ever.
    pub reference: String,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjusted {
    /// The adjustment.
    pub id: Uuid,
    /// False: it had been made already.
    pub executed: bool,
    /// The wallet afterwards: available.
    pub available: Money,
    /// The wallet afterwards: held for charges.
    pub held: Money,
}

/// Adjusts, and wakes what waits for the wallet.
pub async fn adjust(engine: &Engine, actor: &Actor, a: &Adjustment) -> Result<Adjusted, VaultError> {
    actor.require_platform(Permission::WalletAdjust)?;
    let reason = checked_reason(&a.reason)?;
    if a.amount.is_zero() {
        return Err(Problem::invalid("/amount", "An adjustment of nothing is no adjustment.").into());
    }
    if a.reference.trim().is_empty() || a.reference.len() > 100 {
        return Err(Problem::invalid("/reference", "A reference has 1 to 100 characters.").into());
    }
    let now = engine.now();
    let id = adjustment_id(a);
    let mut tx = engine.begin().await?;
    let known: bool = sqlx::query_scalar("select exists (select from partners where id = $1)").bind(a.partner.uuid()).fetch_one(tx.conn()).await?;
    if !known {
        return Err(Problem::not_found("partner").into());
    }
    let detail = serde_json::json!({ "reference": a.reference, "reason": reason, "by": actor.label() });
    let answers = pv_ledger::post_in_tx(tx.conn(), &*engine.ids, now, &[adjusted::command(id, a.partner, a.amount, detail, now)]).await?;
    let executed = match answers.first() {
        Some(Answer::Posted(_)) => true,
        Some(Answer::AlreadyPosted(_)) => false,
        Some(Answer::Insufficient { available, needed }) => {
            let text = format!("The wallet has {available} available; {needed} cannot be taken out.");
            return Err(Problem::refused("insufficient_funds", 409, text, "Take out less, or wait until holds are released.").into());
        }
        Some(Answer::KeyConflict { .. }) => {
            return Err(Problem::refused(
                "reference_taken",
                422,
                "This reference belongs to an adjustment of another amount.",
                "Use a new reference for a new adjustment.",
            )
            .into());
        }
        other => return Err(VaultError::Broken(format!("the ledger answered {other:?} to an adjustment"))),
    };
    if executed {
        audit::record_in_tx(
            tx.conn(),
            engine,
            actor,
            AuditEntry::of(Some(a.partner), "wallet.adjusted", id).because(reason).change(None::<&Adjustment>, Some(a)),
        )
        .await?;
        wake_in_tx(tx.conn(), a.partner, now).await?;
        crate::payout::apply::wallet_below_zero_in_tx(tx.conn(), engine, a.partner).await?;
    }
    let balance = pv_ledger::balance(tx.conn(), wallet(a.partner).id()).await?;
    tx.commit_at("wallet.adjust").await?;
    let (available, held) = balance.map_or((Money::ZERO, Money::ZERO), |b| (b.available, b.held));
    Ok(Adjusted { id, executed, available, held })
}

/// The same reference of a partner is the same adjustment: its id follows from it.
fn adjustment_id(a: &Adjustment) -> Uuid {
    let hash = pv_kernel::crypto::hmac_sha256(b"adjustment", &[a.partner.uuid().as_bytes(), a.reference.as_bytes()]);
    uuid::Builder::from_custom_bytes(*hash.first_chunk::<16>().unwrap_or(&[0; 16])).into_uuid()
}

/// Wakes disbursements that wait for the wallet, oldest first.
pub(crate) async fn wake_in_tx(
    conn: &mut pv_database::PgConnection,
    partner: PartnerId,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), VaultError> {
    sqlx::query("update disbursements set due_at = $2 where partner_id = $1 and state in ('waiting', 'paying') and reason = 'waiting_wallet'")
        .bind(partner.uuid())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

/// What a wallet shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WalletBalance {
    /// Posted.
    pub balance: Money,
    /// Held for charges.
    pub held: Money,
    /// What commands may use.
    pub available: Money,
}

/// Reads a wallet.
pub async fn balance(engine: &Engine, actor: &Actor, partner: PartnerId) -> Result<WalletBalance, VaultError> {
    actor.require(Permission::WalletRead)?;
    let mut tx = actor.begin(engine).await?;
    let found = pv_ledger::balance(tx.conn(), wallet(partner).id()).await?;
    let b = found.ok_or_else(|| Problem::not_found("wallet"))?;
    Ok(WalletBalance { balance: b.posted, held: b.held, available: b.available })
}
