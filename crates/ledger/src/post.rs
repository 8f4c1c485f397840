//! The one write path: lock, read, decide, write. Four statements for a batch of any size, five where holds end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use pv_kernel::{
    Currency, Ids,
    ids::{AccountId, PartnerId, TransferId},
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Answer, Command, Ended, Key, LedgerError, TransferKind,
    decide::{Account, Bound, Content, Existing, Plan, Row, State, decide},
};

/// How many commands are taken at once.
pub const BATCH_CAP: usize = 2_000;

/// Posts a batch inside the caller's transaction: one answer per command, in order. Commands of the batch see each other's
/// effect; a refused one does not stop the others. Posting anything twice changes nothing.
///
/// Locks the balance rows of all bounded accounts of the batch, in the order of their ids, until the transaction ends.
/// `ids` gives the new transfers' ids (rising within the batch), `now` is when they are recorded.
///
/// Errors: on any error the caller must roll back. [`LedgerError::Race`] asks to run the whole step again.
pub async fn post_in_tx(conn: &mut PgConnection, ids: &dyn Ids, now: DateTime<Utc>, commands: &[Command]) -> Result<Vec<Answer>, LedgerError> {
    if commands.len() > BATCH_CAP {
        return Err(LedgerError::TooMany { given: commands.len(), cap: BATCH_CAP });
    }
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut state = State { accounts: lock_accounts(conn, commands).await?, ..State::default() };
    // After the locks, and in a new statement: so that it sees what the last holder of the locks committed.
    state.keys = read_keys(conn, &keys_of(commands)).await?;
    check_holds_are_locked(&state, commands)?;
    state.correctable = read_correctable(conn, commands).await?;

    let new_ids = rising_ids(ids, now, commands.len());
    let mut plan = decide(state.clone(), &new_ids, commands);
    if write_rows(conn, now, commands, &plan.rows).await? < plan.rows.len() {
        plan = settle_race(conn, state.clone(), &new_ids, commands, &plan).await?;
    }
    write_balances(conn, now, &state, &plan.rows).await?;
    tracing::debug!(commands = commands.len(), written = plan.rows.len(), "ledger batch posted");
    Ok(plan.answers)
}

/// New ids in rising order, so that the fold, which goes by id within a transaction, keeps the order of the batch.
fn rising_ids(ids: &dyn Ids, now: DateTime<Utc>, count: usize) -> Vec<TransferId> {
    let mut new: Vec<Uuid> = (0..count).map(|_| ids.uuid(now)).collect();
    new.sort_unstable();
    new.into_iter().map(TransferId).collect()
}

/// Every key that the batch names, once: those of the commands and those of the holds that they end.
fn keys_of(commands: &[Command]) -> Vec<&Key> {
    let mut seen = HashSet::with_capacity(commands.len());
    let holds = commands.iter().filter_map(hold_of);
    commands.iter().map(Command::key).chain(holds).filter(|key| seen.insert(*key)).collect()
}

const fn hold_of(command: &Command) -> Option<&Key> {
    match command {
        Command::PostHold(ending) | Command::VoidHold(ending) => Some(&ending.hold),
        Command::Post(_) | Command::Hold(_) => None,
    }
}

/// Reads all accounts of the batch and locks the balances of the bounded ones, in the order of their ids.
async fn lock_accounts(conn: &mut PgConnection, commands: &[Command]) -> Result<HashMap<AccountId, Account>, LedgerError> {
    let mut wanted: BTreeSet<Uuid> = BTreeSet::new();
    for command in commands {
        if let Command::Post(posting) | Command::Hold(posting) = command {
            wanted.insert(posting.debit.id().uuid());
            wanted.insert(posting.credit.id().uuid());
        }
    }
    let mut seen = HashSet::new();
    let holds: Vec<&Key> = commands.iter().filter_map(hold_of).filter(|key| seen.insert(*key)).collect();
    if !holds.is_empty() {
        // Only to learn the accounts of the holds: transfers never change. Whether a hold still stands is read after the lock.
        for existing in read_keys(conn, &holds).await?.values() {
            wanted.insert(existing.content.debit.uuid());
            wanted.insert(existing.content.credit.uuid());
        }
    }
    // Primary keys of both tables. A CTE that locks rows is never inlined, and sorts before it locks.
    let rows = sqlx::query(
        "with locked as (
             select account_id, posted_minor, held_minor from ledger_balances where account_id = any($1) order by account_id for update
         )
         select a.id, a.book, a.currency::text as currency, a.partner_id, a.bounded, l.posted_minor, l.held_minor
         from ledger_accounts a left join locked l on l.account_id = a.id
         where a.id = any($1)",
    )
    .bind(wanted.into_iter().collect::<Vec<Uuid>>())
    .fetch_all(conn)
    .await?;
    rows.iter().map(account_of).collect()
}

fn account_of(row: &PgRow) -> Result<(AccountId, Account), LedgerError> {
    let id = AccountId(row.try_get("id")?);
    let currency: String = row.try_get("currency")?;
    if currency != Currency::KES.code() {
        return Err(LedgerError::UnknownWord { what: "currency", value: currency });
    }
    let balance = match (row.try_get::<Option<i64>, _>("posted_minor")?, row.try_get::<Option<i64>, _>("held_minor")?) {
        (Some(posted), Some(held)) => Some(Bound { posted, held }),
        _ => None,
    };
    let bound = match (row.try_get::<bool, _>("bounded")?, balance) {
        (true, None) => {
            return Err(LedgerError::Broken { account: id, what: "it is bounded and has no balance row" });
        }
        (true, Some(balance)) => Some(balance),
        (false, _) => None,
    };
    let account = Account {
        book: row.try_get::<String, _>("book")?.parse()?,
        currency: Currency::KES,
        partner: row.try_get::<Option<Uuid>, _>("partner_id")?.map(PartnerId),
        bound,
    };
    Ok((id, account))
}

/// The transfers that stand under some keys, each with the row that ended it. Index: unique (subject, movement, generation),
/// and ledger_transfers_resolves. `offset 0` keeps the planner at one index probe per key, also where it planned on an empty table.
async fn read_keys(conn: &mut PgConnection, keys: &[&Key]) -> Result<HashMap<Key, Existing>, LedgerError> {
    let rows = sqlx::query(
        "select k.position, t.id, t.book, t.kind, t.debit, t.credit, t.amount, t.resolves, t.corrects, t.partner_id,
                e.id as ended_by, e.kind as ended_as
         from unnest($1::uuid[], $2::text[], $3::int[]) with ordinality as k (subject, movement, generation, position)
         cross join lateral (
             select * from ledger_transfers t
             where t.subject = k.subject and t.movement = k.movement and t.generation = k.generation offset 0
         ) t
         left join lateral (
             select r.id, r.kind from ledger_transfers r where r.resolves = t.id offset 0
         ) e on t.kind = 'pending'",
    )
    .bind(keys.iter().map(|key| key.subject).collect::<Vec<Uuid>>())
    .bind(keys.iter().map(|key| key.movement.as_ref()).collect::<Vec<&str>>())
    .bind(keys.iter().map(|key| key.generation).collect::<Vec<i32>>())
    .fetch_all(conn)
    .await?;
    let mut standing = HashMap::with_capacity(rows.len());
    for row in rows {
        let position: i64 = row.try_get("position")?;
        let key = usize::try_from(position - 1).ok().and_then(|index| keys.get(index));
        if let Some(key) = key {
            standing.insert((*key).clone(), existing_of(&row)?);
        }
    }
    Ok(standing)
}

fn existing_of(row: &PgRow) -> Result<Existing, LedgerError> {
    let ended = match (row.try_get::<Option<Uuid>, _>("ended_by")?, row.try_get::<Option<String>, _>("ended_as")?) {
        (Some(by), Some(as_)) => {
            let as_ = if TransferKind::from_word(&as_)? == TransferKind::Void { Ended::Void } else { Ended::Post };
            Some((as_, TransferId(by)))
        }
        _ => None,
    };
    let content = Content {
        kind: TransferKind::from_word(row.try_get("kind")?)?,
        debit: AccountId(row.try_get("debit")?),
        credit: AccountId(row.try_get("credit")?),
        amount: row.try_get("amount")?,
        resolves: row.try_get::<Option<Uuid>, _>("resolves")?.map(TransferId),
        corrects: row.try_get::<Option<Uuid>, _>("corrects")?.map(TransferId),
    };
    Ok(Existing {
        id: TransferId(row.try_get("id")?),
        content,
        book: row.try_get::<String, _>("book")?.parse()?,
        partner: row.try_get::<Option<Uuid>, _>("partner_id")?.map(PartnerId),
        ended,
    })
}

/// A hold that appeared between the first look and the locks may stand on accounts that are not locked.
fn check_holds_are_locked(state: &State, commands: &[Command]) -> Result<(), LedgerError> {
    let locked = |id: AccountId| state.accounts.contains_key(&id);
    let holds = commands.iter().filter_map(hold_of).filter_map(|key| state.keys.get(key));
    for hold in holds.filter(|hold| hold.content.kind == TransferKind::Pending) {
        if !locked(hold.content.debit) || !locked(hold.content.credit) {
            return Err(LedgerError::Race);
        }
    }
    Ok(())
}

async fn read_correctable(conn: &mut PgConnection, commands: &[Command]) -> Result<HashSet<TransferId>, LedgerError> {
    let wanted: BTreeSet<Uuid> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Post(posting) | Command::Hold(posting) => posting.corrects.map(TransferId::uuid),
            Command::PostHold(_) | Command::VoidHold(_) => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let found: Vec<Uuid> = sqlx::query_scalar("select id from ledger_transfers where id = any($1)")
        .bind(wanted.into_iter().collect::<Vec<Uuid>>())
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().map(TransferId).collect())
}

/// Inserts the rows, in the order of their keys so that two batches with the same keys wait for each other instead of
/// deadlocking. Returns how many were inserted: fewer, where another transaction committed one of the keys since we read them.
async fn write_rows(conn: &mut PgConnection, now: DateTime<Utc>, commands: &[Command], rows: &[Row]) -> Result<usize, LedgerError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut pairs: Vec<(&Row, &Command)> = rows.iter().filter_map(|row| commands.get(row.command).map(|command| (row, command))).collect();
    pairs.sort_by_key(|(_, command)| command.key());
    let uuids = |value: fn(&Row) -> Uuid| -> Vec<Uuid> { pairs.iter().map(|(row, _)| value(row)).collect() };
    let optional = |value: fn(&Row) -> Option<Uuid>| -> Vec<Option<Uuid>> { pairs.iter().map(|(row, _)| value(row)).collect() };
    let said: Vec<_> = pairs.iter().map(|(_, command)| said(command)).collect();
    let written = sqlx::query(
        "insert into ledger_transfers (id, book, subject, movement, generation, kind, debit, credit, amount, resolves, fact,
                                       evidence, corrects, detail, partner_id, at, recorded_at)
         select id, book, subject, movement, generation, kind, debit, credit, amount, resolves, fact,
                evidence, corrects, detail, partner_id, at, $17
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::int[], $6::text[], $7::uuid[], $8::uuid[], $9::bigint[],
                     $10::uuid[], $11::boolean[], $12::uuid[], $13::uuid[], $14::jsonb[], $15::uuid[], $16::timestamptz[])
              as n (id, book, subject, movement, generation, kind, debit, credit, amount, resolves, fact,
                    evidence, corrects, detail, partner_id, at)
         on conflict (subject, movement, generation) do nothing",
    )
    .bind(uuids(|row| row.id.uuid()))
    .bind(pairs.iter().map(|(row, _)| row.book.to_string()).collect::<Vec<String>>())
    .bind(pairs.iter().map(|(_, command)| command.key().subject).collect::<Vec<Uuid>>())
    .bind(pairs.iter().map(|(_, command)| command.key().movement.as_ref()).collect::<Vec<&str>>())
    .bind(pairs.iter().map(|(_, command)| command.key().generation).collect::<Vec<i32>>())
    .bind(pairs.iter().map(|(row, _)| row.content.kind.word()).collect::<Vec<&str>>())
    .bind(uuids(|row| row.content.debit.uuid()))
    .bind(uuids(|row| row.content.credit.uuid()))
    .bind(pairs.iter().map(|(row, _)| row.content.amount).collect::<Vec<i64>>())
    .bind(optional(|row| row.content.resolves.map(TransferId::uuid)))
    .bind(pairs.iter().map(|(row, _)| row.fact).collect::<Vec<bool>>())
    .bind(said.iter().map(|said| said.evidence).collect::<Vec<Option<Uuid>>>())
    .bind(optional(|row| row.content.corrects.map(TransferId::uuid)))
    .bind(said.iter().map(|said| said.detail).collect::<Vec<Option<&serde_json::Value>>>())
    .bind(optional(|row| row.partner.map(PartnerId::uuid)))
    .bind(said.iter().map(|said| said.at).collect::<Vec<DateTime<Utc>>>())
    .bind(now)
    .execute(conn)
    .await?
    .rows_affected();
    Ok(usize::try_from(written).unwrap_or(usize::MAX))
}

/// What a command says beside its money.
struct Said<'a> {
    evidence: Option<Uuid>,
    detail: Option<&'a serde_json::Value>,
    at: DateTime<Utc>,
}

const fn said(command: &Command) -> Said<'_> {
    match command {
        Command::Post(posting) | Command::Hold(posting) => Said { evidence: posting.evidence, detail: posting.detail.as_ref(), at: posting.at },
        Command::PostHold(ending) | Command::VoidHold(ending) => Said { evidence: ending.evidence, detail: ending.detail.as_ref(), at: ending.at },
    }
}

/// Some keys were taken between our read and our insert. What was inserted stands only if the batch, decided again with those
/// keys known, would have written exactly the same rows; then its answers hold. Otherwise the step must run again.
async fn settle_race(
    conn: &mut PgConnection,
    mut state: State,
    new_ids: &[TransferId],
    commands: &[Command],
    plan: &Plan,
) -> Result<Plan, LedgerError> {
    let planned: Vec<Uuid> = plan.rows.iter().map(|row| row.id.uuid()).collect();
    let inserted: HashSet<Uuid> =
        sqlx::query_scalar("select id from ledger_transfers where id = any($1)").bind(&planned).fetch_all(&mut *conn).await?.into_iter().collect();
    let (stand, lost): (Vec<Row>, Vec<Row>) = plan.rows.iter().partition(|row| inserted.contains(&row.id.uuid()));
    let lost_keys: Vec<&Key> = lost.iter().filter_map(|row| commands.get(row.command)).map(Command::key).collect();
    let theirs = read_keys(conn, &lost_keys).await?;
    if theirs.len() != lost_keys.len() {
        return Err(LedgerError::Race);
    }
    state.keys.extend(theirs);
    check_holds_are_locked(&state, commands)?;
    let again = decide(state, new_ids, commands);
    if again.rows == stand { Ok(again) } else { Err(LedgerError::Race) }
}

/// Adds the effect of the written rows to the locked balances.
async fn write_balances(conn: &mut PgConnection, now: DateTime<Utc>, state: &State, rows: &[Row]) -> Result<(), LedgerError> {
    let mut deltas: BTreeMap<AccountId, Bound> = BTreeMap::new();
    for (account, delta) in rows.iter().flat_map(|row| row.content.effects()) {
        if state.accounts.get(&account).is_none_or(|account| account.bound.is_none()) || delta == Bound::default() {
            continue;
        }
        let sum = deltas.entry(account).or_default();
        let (Some(posted), Some(held)) = (sum.posted.checked_add(delta.posted), sum.held.checked_add(delta.held)) else {
            return Err(LedgerError::Broken { account, what: "one batch moves more than a balance can hold" });
        };
        *sum = Bound { posted, held };
    }
    let Some(first) = deltas.keys().next().copied() else {
        return Ok(());
    };
    let written = sqlx::query(
        "update ledger_balances b
         set posted_minor = b.posted_minor + d.posted, held_minor = b.held_minor + d.held, changed_at = $4
         from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as d (account_id, posted, held)
         where b.account_id = d.account_id",
    )
    .bind(deltas.keys().map(|id| id.uuid()).collect::<Vec<Uuid>>())
    .bind(deltas.values().map(|delta| delta.posted).collect::<Vec<i64>>())
    .bind(deltas.values().map(|delta| delta.held).collect::<Vec<i64>>())
    .bind(now)
    .execute(conn)
    .await?
    .rows_affected();
    if written == deltas.len() as u64 {
        Ok(())
    } else {
        Err(LedgerError::Broken { account: first, what: "a balance row of the batch vanished under its lock" })
    }
}
