//! An approval that somebody told us about. Only a hint to read the loan: amount, phone and state come from the core, never from the hint.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::Money;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use super::checks::Claimed;
use crate::{Engine, VaultError};

/// A hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The partner.
    pub partner: Uuid,
    /// The connection.
    pub core_id: Uuid,
    /// The loan.
    pub loan_id: String,
    /// `hook`, `webhook`, `poll` or `api`.
    pub way: &'static str,
    /// What the webhook claimed.
    pub claimed: Option<Claimed>,
    /// Who asked for it by name.
    pub asked_by: Option<String>,
    /// A new one may be made; otherwise only a known one is looked at again.
    pub create: bool,
}

/// The payload of the documented webhook (requirement L3). Names are optional and unknown fields are ignored.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    #[serde(default)]
    event_type: Option<String>,
    /// The partner it names.
    #[serde(default)]
    pub partner_id: Option<String>,
    loan_id: Box<RawValue>,
    #[serde(default)]
    client_phone: Option<String>,
    #[serde(default)]
    loan_amount: Option<Box<RawValue>>,
    /// The token that authenticates it.
    #[serde(default)]
    pub webhook_token: Option<String>,
}

/// A payload that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadApproval {
    /// The loan.
    pub loan_id: String,
    phone: Option<String>,
    amount: Option<Money>,
}

impl Approval {
    /// Reads a payload; the error is for the person who sends it.
    pub fn read(body: &[u8]) -> Result<ReadApproval, String> {
        let approval: Self = serde_json::from_slice(body).map_err(|e| format!("not the documented payload: {e}"))?;
        approval.understand()
    }

    /// Checks and normalises a parsed payload.
    pub fn understand(&self) -> Result<ReadApproval, String> {
        if self.event_type.as_deref().is_some_and(|t| t != "loan_approved") {
            return Err("eventType is not loan_approved".to_owned());
        }
        let loan_id = self.loan_id.get().trim_matches('"').trim().to_owned();
        if loan_id.is_empty() || loan_id.len() > 60 || !loan_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err("loanId is not an id of the core".to_owned());
        }
        let amount = self.loan_amount.as_ref().map(|raw| Money::parse_json_token(raw.get())).transpose().map_err(|e| format!("loanAmount: {e}"))?;
        Ok(ReadApproval { loan_id, phone: self.client_phone.clone().map(|p| p.chars().filter(|c| !c.is_control()).take(40).collect()), amount })
    }
}

impl ReadApproval {
    /// What it claims about the loan: compared with the core, never used.
    pub fn claimed(&self) -> Claimed {
        Claimed { phone: self.phone.clone(), amount: self.amount }
    }
}

/// Stores hints; a loan that was seen already learns the way, and is looked at again if there is a reason.
pub async fn upsert_in_tx(conn: &mut PgConnection, engine: &Engine, sightings: &[Sighting]) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        partner_id: Uuid,
        core_id: Uuid,
        loan_id: &'a str,
        way: &'a str,
        claimed: Option<&'a Claimed>,
        asked_by: Option<&'a str>,
        create: bool,
    }
    if sightings.is_empty() {
        return Ok(());
    }
    let now: DateTime<Utc> = engine.now();
    // One row per loan: an upsert may not meet the same row twice. A hint with more in it wins.
    let mut unique: std::collections::BTreeMap<(Uuid, &str), &Sighting> = std::collections::BTreeMap::new();
    for s in sightings {
        let slot = unique.entry((s.core_id, s.loan_id.as_str())).or_insert(s);
        if (s.create, s.claimed.is_some(), s.asked_by.is_some()) > (slot.create, slot.claimed.is_some(), slot.asked_by.is_some()) {
            *slot = s;
        }
    }
    let rows: Vec<Row<'_>> = unique
        .into_values()
        .map(|s| Row {
            id: engine.ids.uuid(now),
            partner_id: s.partner,
            core_id: s.core_id,
            loan_id: &s.loan_id,
            way: s.way,
            claimed: s.claimed.as_ref(),
            asked_by: s.asked_by.as_deref(),
            create: s.create,
        })
        .collect();
    // A poll repeats itself every few minutes: it looks again only at loans without a disbursement, or at one whose approval was undone and given again.
    sqlx::query(
        "insert into loan_sightings as s (id, partner_id, core_id, loan_id, ways, first_seen_at, last_seen_at, claimed, asked_by, due_at)
         select x.id, x.partner_id, x.core_id, x.loan_id, array[x.way], $2, $2, x.claimed, x.asked_by, $2
         from jsonb_to_recordset($1) as x(id uuid, partner_id uuid, core_id uuid, loan_id text, way text, claimed jsonb, asked_by text, \"create\" boolean)
         where x.\"create\" or exists (select from loan_sightings k where k.core_id = x.core_id and k.loan_id = x.loan_id)
         order by x.core_id, x.loan_id
         on conflict (core_id, loan_id) do update set
             last_seen_at = excluded.last_seen_at,
             ways = case when excluded.ways[1] = any(s.ways) then s.ways else s.ways || excluded.ways end,
             claimed = coalesce(excluded.claimed, s.claimed),
             asked_by = coalesce(excluded.asked_by, s.asked_by),
             due_at = case when excluded.ways[1] <> 'poll' or s.disbursement_id is null
                             or exists (select from disbursements d where d.id = s.disbursement_id and d.state = 'cancelled' and d.reason = 'approval_undone')
                           then least(coalesce(s.due_at, excluded.due_at), excluded.due_at) else s.due_at end,
             tries = case when excluded.ways[1] <> 'poll' then 0 else s.tries end",
    )
    .bind(Json(&rows))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
