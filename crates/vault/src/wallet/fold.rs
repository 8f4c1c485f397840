//! Work behind the log: splits taken charges into their parts (ledger rule c2) and folds the ledger.

use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId},
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    movements::charges_taken::{self, Parts},
    quote::{Quote, TariffPayer},
};
use crate::{Engine, VaultError, engine::Worked};

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let split = split(engine).await?;
    let mut tx = engine.begin().await?;
    let report = pv_ledger::fold_in_tx(tx.conn(), engine.limits.batch * 10, engine.now()).await?;
    tx.commit_at("fold").await?;
    Ok(Worked { taken: split + usize::try_from(report.taken).unwrap_or(0), more: report.more })
}

/// Splits what was taken and is not split yet. The keys of the parts make a second run harmless.
async fn split(engine: &Engine) -> Result<usize, VaultError> {
    let mut tx = engine.begin().await?;
    let rows: Vec<(Uuid, Uuid, Json<Quote>)> = sqlx::query_as(
        "select id, partner_id, quote from disbursements where charges = 'taken' and not charges_split and ($2::uuid[] is null or partner_id = any($2))
         order by id limit $1 for no key update skip locked",
    )
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let now = engine.now();
    let commands: Vec<_> = rows
        .iter()
        .flat_map(|(id, partner, quote)| {
            let q = &quote.0;
            let tariff = if q.tariff_payer == TariffPayer::Platform { q.tariff } else { Money::ZERO };
            charges_taken::split(DisbursementId(*id), PartnerId(*partner), &Parts { tariff, fee: q.fee, tax: q.tax, sms: q.sms }, now)
        })
        .collect();
    for batch in commands.chunks(pv_ledger::BATCH_CAP) {
        let answers = pv_ledger::post_in_tx(tx.conn(), &*engine.ids, now, batch).await?;
        if let Some(odd) = answers.iter().find(|a| a.transfer().is_none()) {
            return Err(VaultError::Broken(format!("the ledger answered {odd:?} to a split of charges")));
        }
    }
    let ids: Vec<Uuid> = rows.iter().map(|(id, _, _)| *id).collect();
    sqlx::query("update disbursements set charges_split = true where id = any($1)").bind(&ids).execute(tx.conn()).await?;
    tx.commit_at("charges.split").await?;
    Ok(rows.len())
}
