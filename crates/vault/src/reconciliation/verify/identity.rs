//! Ids that follow from the id key (rule A3): rail id, callback token, and the id under which the core keeps the booking.

use pv_kernel::ids::PartnerId;
use uuid::Uuid;

use super::Finding;

/// The checks of this file.
pub(super) const CODES: [&str; 3] = ["rail_id", "rail_token", "booking_id"];

/// A page of payouts with what their ids are made from. `$1` partners or null, `$2` after this id, `$3` how many.
pub(super) const PAGE_SQL: &str =
    "select p.id, p.partner_id, p.attempt, p.rail_id, p.token, d.core_id, d.loan_id, d.tranche, d.generation, d.reference,
            b.external_id
     from payouts p
     join disbursements d on d.id = p.disbursement_id
     left join bookings b on b.payout_id = p.id
     where p.id > $2 and ($1::uuid[] is null or p.partner_id = any($1))
     order by p.id limit $3";

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub attempt: i32,
    pub rail_id: String,
    pub token: String,
    pub core_id: Option<Uuid>,
    pub loan_id: Option<String>,
    pub tranche: i32,
    pub generation: i32,
    pub reference: Option<String>,
    pub external_id: Option<String>,
}

/// Compares what is stored with what the key makes.
pub(super) fn judge(row: &Row, rail_id: &str, token: &str) -> Vec<Finding> {
    let finding = |code: &str, table: &str, expected: &str, found: &str, rule: &str| Finding {
        code: code.to_owned(),
        table: table.to_owned(),
        row: row.id.to_string(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        rule: rule.to_owned(),
        partner: Some(PartnerId(row.partner_id)),
    };
    let mut findings = Vec::new();
    if row.rail_id != rail_id {
        findings.push(finding("rail_id", "payouts", rail_id, &row.rail_id, "A3: the rail id follows from the decision and the attempt, for ever."));
    }
    if row.token != token {
        findings.push(finding("rail_token", "payouts", token, &row.token, "A3, A6: the callback token follows from the rail id."));
    }
    if let Some(external) = row.external_id.as_deref().filter(|e| *e != rail_id) {
        findings.push(finding(
            "booking_id",
            "bookings",
            rail_id,
            external,
            "A22: the core keeps the booking under the rail id of the payout that paid.",
        ));
    }
    findings
}
