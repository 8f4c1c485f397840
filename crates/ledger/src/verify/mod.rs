//! The independent verifier: computes everything again from the transfers, by plain SQL aggregates that share no code with
//! posting, folding and reading, and names each row that disagrees.
//!
//! What does not live here: rules that need to know what a movement means (customers' money is covered, `to_book` equals the
//! unbooked payouts). Those are checked where those words are known.

mod checks;

use serde::Serialize;
use sqlx::{PgConnection, Row as _};

use crate::{Book, LedgerError};

/// At most this many findings of one check are returned.
pub const FINDINGS_CAP: usize = 1_000;

/// Something that contradicts the transfer log, or the log's own rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it; stable.
    pub code: &'static str,
    /// The table of the row.
    pub table: &'static str,
    /// The row: its key, in words.
    pub row: String,
    /// What the check computed.
    pub expected: String,
    /// What is stored.
    pub found: String,
    /// What it means.
    pub explanation: &'static str,
}

/// One check: a statement whose rows are (row, expected, found). `$1` is the books (text[]) or null for all. One statement
/// sees one moment, so posting and folding may go on meanwhile.
struct Check {
    code: &'static str,
    table: &'static str,
    explanation: &'static str,
    sql: &'static str,
}

/// The codes of all checks, in the order in which they run.
pub fn codes() -> impl Iterator<Item = &'static str> {
    checks::ALL.iter().map(|check| check.code)
}

/// Computes everything again; nothing found means that the ledger agrees with itself. `scope` limits it to some books. Each
/// check reads the whole log (about 12 s for a million transfers): run it beside the day's work, in a transaction of its own, whose
/// `statement_timeout` and planner settings it changes until it ends.
pub async fn verify(conn: &mut PgConnection, scope: Option<&[Book]>) -> Result<Vec<Finding>, LedgerError> {
    let books: Option<Vec<String>> = scope.map(|books| books.iter().map(Book::to_string).collect());
    // Joins of whole tables: without statistics (a new or restored database) the planner would take nested loops, for hours.
    sqlx::query("select set_config('statement_timeout', '0', true), set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)")
        .execute(&mut *conn)
        .await?;
    let mut findings = Vec::new();
    for check in checks::ALL {
        let rows = sqlx::query(check.sql).bind(&books).fetch_all(&mut *conn).await?;
        for row in rows.iter().take(FINDINGS_CAP) {
            findings.push(Finding {
                code: check.code,
                table: check.table,
                row: row.try_get(0)?,
                expected: row.try_get(1)?,
                found: row.try_get(2)?,
                explanation: check.explanation,
            });
        }
    }
    Ok(findings)
}
