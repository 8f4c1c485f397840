//! The independent verifier of the house: what the rows and the ledger say of each other, computed again by plain SQL that shares no
//! code with what wrote them. Each finding names one row, what was expected and what was found, and the rule.
//!
//! The ledger's own arithmetic (balances, folds, holds) is verified by `pv_ledger::verify`, whose findings come first. Rail ids and
//! tokens are derived again from the id key, which no SQL has.
//!
//! What does not live here: mending. A finding is for a person.

mod charges;
mod identity;
mod payouts;
mod records;
mod totals;

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::ids::{CoreId, PartnerId};
use pv_ledger::Book;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, types::Json};
use uuid::Uuid;

use crate::{Engine, VaultError, payout::rail_id::Subject};

/// At most this many findings of one check are returned.
pub const FINDINGS_CAP: usize = 1_000;
/// The name of the row in `settings` that keeps what the last run found.
const LAST: &str = "verify:last";
/// Payouts whose ids are derived again in one go.
const PAGE: i64 = 5_000;

/// Something that contradicts a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it; stable.
    pub code: String,
    /// The table of the row.
    pub table: String,
    /// The row: its key, in words.
    pub row: String,
    /// What the check computed.
    pub expected: String,
    /// What is stored.
    pub found: String,
    /// The rule that it contradicts.
    pub rule: String,
    /// Whose row it is, where that is known.
    pub partner: Option<PartnerId>,
}

/// How many rows were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Checked {
    /// Rows of the transfer log.
    pub transfers: i64,
    /// Disbursements.
    pub disbursements: i64,
    /// Payouts.
    pub payouts: i64,
    /// Submissions.
    pub submissions: i64,
    /// Proofs.
    pub proofs: i64,
    /// Bookings.
    pub bookings: i64,
    /// Open items.
    pub items: i64,
    /// Events.
    pub events: i64,
    /// Texts.
    pub texts: i64,
    /// Checks, those of the ledger included.
    #[sqlx(skip)]
    pub checks: usize,
}

/// What a run of the verifier found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// When it ran.
    pub at: DateTime<Utc>,
    /// What contradicts a rule; empty: everything agrees.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub checked: Checked,
}

impl Report {
    /// Nothing was found.
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// As text for a terminal.
    pub fn render(&self) -> String {
        use std::fmt::Write as _;
        let c = &self.checked;
        let mut out = String::new();
        for f in &self.findings {
            let _ =
                writeln!(out, "{}: {} {}\n    expected {}\n    found    {}\n    rule     {}", f.code, f.table, f.row, f.expected, f.found, f.rule);
        }
        let _ = writeln!(
            out,
            "{} checks over {} transfers, {} disbursements, {} payouts, {} submissions, {} proofs, {} bookings, {} open items, {} events, {} texts: {}",
            c.checks,
            c.transfers,
            c.disbursements,
            c.payouts,
            c.submissions,
            c.proofs,
            c.bookings,
            c.items,
            c.events,
            c.texts,
            match self.findings.len() {
                0 => "everything agrees".to_owned(),
                1 => "1 row contradicts a rule".to_owned(),
                n => format!("{n} rows contradict a rule"),
            }
        );
        out
    }
}

/// One check: a statement whose rows are (row, expected, found, partner). `$1` is the partners (uuid[]) or null for all. One
/// statement sees one moment, so the day's work may go on meanwhile.
struct Check {
    code: &'static str,
    table: &'static str,
    rule: &'static str,
    sql: &'static str,
}

fn all() -> impl Iterator<Item = &'static Check> {
    [payouts::ALL, charges::ALL, records::ALL, totals::ALL].into_iter().flatten()
}

/// The codes of all checks of this module, in the order in which they run. Those of the ledger are `pv_ledger::verify::codes`.
pub fn codes() -> impl Iterator<Item = &'static str> {
    all().map(|check| check.code).chain(identity::CODES)
}

/// Computes everything again. With [`Engine::only_partners`] it looks at the rows and books of those partners only; the platform's
/// book is then checked for them alone. Runs in a transaction of its own that writes nothing; beside the day's work, not inside it.
pub async fn verify(engine: &Engine) -> Result<Report, VaultError> {
    let partners = engine.only_partners.as_deref();
    let mut tx = engine.begin().await?;
    sqlx::query("select set_config('statement_timeout', '0', true), set_config('transaction_read_only', 'on', true)").execute(tx.conn()).await?;
    let books: Option<Vec<Book>> = partners.map(|ids| ids.iter().map(|id| Book::Partner(PartnerId(*id))).collect());
    let mut findings: Vec<Finding> = pv_ledger::verify(tx.conn(), books.as_deref()).await?.into_iter().map(of_ledger).collect();
    for check in all() {
        findings.extend(run_in_tx(tx.conn(), check, partners).await?);
    }
    findings.extend(derived_in_tx(tx.conn(), engine, partners).await?);
    let mut checked = count_in_tx(tx.conn(), partners).await?;
    checked.checks = codes().count() + pv_ledger::verify::codes().count();
    tx.rollback().await?;
    Ok(Report { at: engine.now(), findings, checked })
}

fn of_ledger(f: pv_ledger::Finding) -> Finding {
    Finding {
        code: f.code.to_owned(),
        table: f.table.to_owned(),
        row: f.row,
        expected: f.expected,
        found: f.found,
        rule: f.explanation.to_owned(),
        partner: None,
    }
}

async fn run_in_tx(conn: &mut PgConnection, check: &Check, partners: Option<&[Uuid]>) -> Result<Vec<Finding>, VaultError> {
    let rows = sqlx::query(check.sql).bind(partners).fetch_all(conn).await?;
    rows.iter()
        .take(FINDINGS_CAP)
        .map(|row| {
            Ok(Finding {
                code: check.code.to_owned(),
                table: check.table.to_owned(),
                row: row.try_get(0)?,
                expected: row.try_get(1)?,
                found: row.try_get(2)?,
                rule: check.rule.to_owned(),
                partner: row.try_get::<Option<Uuid>, _>(3)?.map(PartnerId),
            })
        })
        .collect()
}

/// Derives every rail id, token and booking id again from the id key.
async fn derived_in_tx(conn: &mut PgConnection, engine: &Engine, partners: Option<&[Uuid]>) -> Result<Vec<Finding>, VaultError> {
    let mut findings = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let page: Vec<identity::Row> = sqlx::query_as(identity::PAGE_SQL).bind(partners).bind(after).bind(PAGE).fetch_all(&mut *conn).await?;
        let Some(last) = page.last() else {
            return Ok(findings);
        };
        after = last.id;
        for row in &page {
            let subject = match (row.core_id, row.loan_id.as_deref()) {
                (Some(core), Some(loan)) => Subject::Loan { core: CoreId(core), loan, tranche: row.tranche, generation: row.generation },
                _ => Subject::Reference { partner: PartnerId(row.partner_id), reference: row.reference.as_deref().unwrap_or_default() },
            };
            let rail_id = engine.id_key.rail_id(subject, row.attempt);
            let token = engine.id_key.token(&rail_id);
            findings.extend(identity::judge(row, &rail_id, &token));
        }
        if findings.len() >= FINDINGS_CAP {
            return Ok(findings);
        }
    }
}

async fn count_in_tx(conn: &mut PgConnection, partners: Option<&[Uuid]>) -> Result<Checked, VaultError> {
    Ok(sqlx::query_as(
        "select (select count(*) from ledger_transfers where $1::uuid[] is null or partner_id = any($1)) as transfers,
                (select count(*) from disbursements where $1::uuid[] is null or partner_id = any($1)) as disbursements,
                (select count(*) from payouts where $1::uuid[] is null or partner_id = any($1)) as payouts,
                (select count(*) from submissions where $1::uuid[] is null or partner_id = any($1)) as submissions,
                (select count(*) from payout_proofs where $1::uuid[] is null or partner_id = any($1)) as proofs,
                (select count(*) from bookings where $1::uuid[] is null or partner_id = any($1)) as bookings,
                (select count(*) from items where closed_at is null and ($1::uuid[] is null or partner_id = any($1))) as items,
                (select count(*) from outbox where $1::uuid[] is null or partner_id = any($1)) as events,
                (select count(*) from sms_notifications where $1::uuid[] is null or partner_id = any($1)) as texts",
    )
    .bind(partners)
    .fetch_one(conn)
    .await?)
}

/// What the last noted run found, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When it ran.
    pub at: DateTime<Utc>,
    /// Findings of the platform's own rows and of those whose partner is not known.
    pub platform: i64,
    /// Findings per partner.
    pub partners: std::collections::BTreeMap<Uuid, i64>,
}

impl Noted {
    /// How many findings concern a partner; `None`: everybody. What belongs to nobody concerns the platform alone.
    pub fn of(&self, partner: Option<PartnerId>) -> i64 {
        match partner {
            Some(p) => self.partners.get(&p.uuid()).copied().unwrap_or(0),
            None => self.partners.values().sum::<i64>().saturating_add(self.platform),
        }
    }
}

/// Runs the verifier and keeps in numbers what it found, so that the sentence knows it. With [`Engine::only_partners`] nothing is kept.
pub async fn verify_and_note(engine: &Engine) -> Result<Report, VaultError> {
    let report = verify(engine).await?;
    if engine.only_partners.is_none() {
        let mut noted = Noted { at: report.at, platform: 0, partners: std::collections::BTreeMap::new() };
        for finding in &report.findings {
            match finding.partner {
                Some(p) => *noted.partners.entry(p.uuid()).or_default() += 1,
                None => noted.platform += 1,
            }
        }
        let mut tx = engine.begin().await?;
        sqlx::query(
            "insert into settings (name, value, updated_at) values ($1, $2, $3)
             on conflict (name) do update set value = excluded.value, updated_at = excluded.updated_at",
        )
        .bind(LAST)
        .bind(Json(&noted))
        .bind(engine.now())
        .execute(tx.conn())
        .await?;
        tx.commit_at("verify.note").await?;
    }
    Ok(report)
}

/// What the last noted run found; `None`: there was none.
pub(super) async fn noted_in_tx(conn: &mut PgConnection) -> Result<Option<Noted>, VaultError> {
    let value: Option<Json<Noted>> = sqlx::query_scalar("select value from settings where name = $1").bind(LAST).fetch_optional(conn).await?;
    Ok(value.map(|v| v.0))
}
