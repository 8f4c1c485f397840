//! Statements of an account, and all transfers of a subject.

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{AccountId, PartnerId, TransferId},
};
use serde_json::Value;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{Book, Key, LedgerError, TransferKind};

/// How many statement rows one page has at most.
pub const PAGE_CAP: i64 = 1_000;

/// Where a page of a statement begins. Positions count from 1 within an account and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// At the newest row, going back.
    Newest,
    /// At the row before this position, going back.
    Before(i64),
    /// At the row after this position, going forward. `After(0)` begins at the oldest.
    After(i64),
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementRow {
    /// Position in the account's statement.
    pub position: i64,
    /// What was added, credits minus debits.
    pub delta: Money,
    /// The balance after it, credits minus debits.
    pub balance: Money,
    /// The other account of the transfer.
    pub other: AccountId,
    /// The transfer.
    pub transfer: Transfer,
}

/// A page of a statement, in the order that the cursor asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementPage {
    /// The lines.
    pub rows: Vec<StatementRow>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<Cursor>,
}

/// A row of the transfer log.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// Its book.
    pub book: Book,
    /// Its identity.
    pub key: Key,
    /// Posted, a hold, or the end of one.
    pub kind: TransferKind,
    /// The account that is debited.
    pub debit: AccountId,
    /// The account that is credited.
    pub credit: AccountId,
    /// How much.
    pub amount: Money,
    /// The hold that it ends.
    pub resolves: Option<TransferId>,
    /// It already happened outside.
    pub fact: bool,
    /// The stored message or document that proves it.
    pub evidence: Option<Uuid>,
    /// The transfer that it corrects.
    pub corrects: Option<TransferId>,
    /// For people and reports.
    pub detail: Option<Value>,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// When it happened in the business.
    pub at: DateTime<Utc>,
    /// When it was written.
    pub recorded_at: DateTime<Utc>,
}

impl Transfer {
    fn from_row(row: &PgRow) -> Result<Self, LedgerError> {
        Ok(Self {
            id: TransferId(row.try_get("id")?),
            book: row.try_get::<String, _>("book")?.parse()?,
            key: Key::new(row.try_get("subject")?, row.try_get::<String, _>("movement")?).generation(row.try_get("generation")?),
            kind: TransferKind::from_word(row.try_get("kind")?)?,
            debit: AccountId(row.try_get("debit")?),
            credit: AccountId(row.try_get("credit")?),
            amount: Money::from_minor(row.try_get("amount")?),
            resolves: row.try_get::<Option<Uuid>, _>("resolves")?.map(TransferId),
            fact: row.try_get("fact")?,
            evidence: row.try_get("evidence")?,
            corrects: row.try_get::<Option<Uuid>, _>("corrects")?.map(TransferId),
            detail: row.try_get("detail")?,
            partner: row.try_get::<Option<Uuid>, _>("partner_id")?.map(PartnerId),
            at: row.try_get("at")?,
            recorded_at: row.try_get("recorded_at")?,
        })
    }
}

macro_rules! statement_from {
    ($rest:literal) => {
        concat!(
            "select e.position, e.delta_minor, e.balance_minor, t.id, t.book, t.subject, t.movement, t.generation, t.kind, t.debit,
                    t.credit, t.amount, t.resolves, t.fact, t.evidence, t.corrects, t.detail, t.partner_id, t.at, t.recorded_at
             from ledger_entries e join ledger_transfers t on t.id = e.transfer_id ",
            $rest
        )
    };
}

/// A page of the statement of an account, as far as the fold has come. At most [`PAGE_CAP`] rows.
/// Index: primary key (account_id, position).
pub async fn statement(conn: &mut PgConnection, account: AccountId, cursor: Cursor, limit: i64) -> Result<StatementPage, LedgerError> {
    let limit = limit.clamp(1, PAGE_CAP);
    let (query, position) = match cursor {
        Cursor::Newest => (sqlx::query(statement_from!("where e.account_id = $1 and e.position < $2 order by e.position desc limit $3")), i64::MAX),
        Cursor::Before(position) => {
            (sqlx::query(statement_from!("where e.account_id = $1 and e.position < $2 order by e.position desc limit $3")), position)
        }
        Cursor::After(position) => {
            (sqlx::query(statement_from!("where e.account_id = $1 and e.position > $2 order by e.position limit $3")), position)
        }
    };
    // One more than asked for tells whether there is a next page.
    let found = query.bind(account.uuid()).bind(position).bind(limit + 1).fetch_all(conn).await?;
    let mut rows = found.iter().map(|row| statement_row(row, account)).collect::<Result<Vec<_>, _>>()?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let next = rows.last().filter(|_| more).map(|last| match cursor {
        Cursor::Newest | Cursor::Before(_) => Cursor::Before(last.position),
        Cursor::After(_) => Cursor::After(last.position),
    });
    Ok(StatementPage { rows, next })
}

fn statement_row(row: &PgRow, account: AccountId) -> Result<StatementRow, LedgerError> {
    let transfer = Transfer::from_row(row)?;
    Ok(StatementRow {
        position: row.try_get("position")?,
        delta: Money::from_minor(row.try_get("delta_minor")?),
        balance: Money::from_minor(row.try_get("balance_minor")?),
        other: if transfer.debit == account { transfer.credit } else { transfer.debit },
        transfer,
    })
}

/// All transfers of some subjects, in the order in which they were written. Index: unique (subject, movement, generation).
pub async fn transfers_of(conn: &mut PgConnection, subjects: &[Uuid]) -> Result<Vec<Transfer>, LedgerError> {
    let rows = sqlx::query(
        "select id, book, subject, movement, generation, kind, debit, credit, amount, resolves, fact, evidence, corrects, detail,
                partner_id, at, recorded_at
         from ledger_transfers where subject = any($1) order by recorded_at, id",
    )
    .bind(subjects)
    .fetch_all(conn)
    .await?;
    rows.iter().map(Transfer::from_row).collect()
}
