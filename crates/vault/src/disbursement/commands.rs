//! What persons and keys do with disbursements: pay, start a listed loan, approve, retry, cancel, and ask for a new generation.
//!
//! Each command answers with the disbursement as it stands afterwards. All of them run in the worker's pool: they move money or may.

use pv_kernel::{
    Money, Msisdn,
    ids::{ApiKeyId, CoreId, DisbursementId, PartnerId},
    problem::{MoneyMoved, Problem},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    machine::State,
    poll,
    sighting::{self, Sighting},
    store::{self, Row},
};
use crate::{
    Engine, VaultError,
    audit::{self, Actor, ActorKind, AuditEntry, Permission},
    item,
    outbox::{self, Line, NewEvent},
    partner::{
        api_key, checked_reason,
        core_link::{self, CoreSettings},
    },
    payout::{
        apply::{News, Work},
        machine::Event,
    },
};

/// An order to pay somebody, without a loan (requirement M1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayCommand {
    /// The partner's own reference: the same reference is the same payment, for ever (rule M5).
    pub reference: String,
    /// The receiver.
    pub msisdn: Msisdn,
    /// Whole shillings.
    pub amount: Money,
    /// Name of the receiver, for people and for the name check.
    pub name: Option<String>,
    /// For people.
    pub note: Option<String>,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was executed.
    Executed(DisbursementId),
    /// It had been executed already; nothing was done again.
    AlreadyApplied(DisbursementId),
}

impl Done {
    /// The disbursement.
    pub const fn disbursement(self) -> DisbursementId {
        match self {
            Self::Executed(id) | Self::AlreadyApplied(id) => id,
        }
    }
}

/// Pays somebody. The order is written and committed; it is checked and sent by the next run of the pay step, a moment later.
pub async fn pay(engine: &Engine, actor: &Actor, partner: PartnerId, command: &PayCommand) -> Result<Done, VaultError> {
    actor.require(Permission::DisbursementsCreate)?;
    check_order(engine, command)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let status: Option<String> =
        sqlx::query_scalar("select status from partners where id = $1").bind(partner.uuid()).fetch_optional(tx.conn()).await?;
    match status.as_deref() {
        None => return Err(Problem::not_found("partner").into()),
        Some("active") => {}
        Some(other) => {
            return Err(Problem::refused(
                "partner_not_active",
                409,
                format!("The partner is {other}; nothing new is paid."),
                "Ask the platform to activate the partner.",
            )
            .into());
        }
    }
    key_limits_in_tx(tx.conn(), engine, actor, partner, command).await?;
    let row = direct(engine, actor, partner, command);
    let written = store::insert_in_tx(tx.conn(), std::slice::from_ref(&row)).await?;
    if written.is_empty() {
        let known: Option<Row> = sqlx::query_as("select * from disbursements where partner_id = $1 and reference = $2 and core_id is null")
            .bind(partner.uuid())
            .bind(&command.reference)
            .fetch_optional(tx.conn())
            .await?;
        let known = known.ok_or_else(|| VaultError::Broken("a reference is taken and cannot be found".into()))?;
        return same_or_refused(&known, command);
    }
    let line = Line {
        partner: row.partner_id,
        disbursement: row.id,
        lane: "us",
        what: format!("ordered: {} to {}", command.amount, command.msisdn.masked()),
        detail: Some(actor.label()),
        message: None,
    };
    outbox::lines_in_tx(tx.conn(), engine, now, &[line]).await?;
    let entry = AuditEntry::of(Some(partner), "disbursement.ordered", row.id)
        .change(None::<&PayCommand>, Some(&serde_json::json!({ "reference": command.reference, "amount": command.amount })));
    audit::record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit_at("command.pay").await?;
    Ok(Done::Executed(row.disbursement()))
}

fn check_order(engine: &Engine, command: &PayCommand) -> Result<(), Box<Problem>> {
    let limits = engine.rail.limits();
    if command.reference.trim().is_empty() || command.reference.len() > 100 || command.reference.chars().any(char::is_control) {
        return Err(Box::new(Problem::invalid("/reference", "A reference has 1 to 100 printable characters.")));
    }
    if command.amount.whole_shillings().is_none() {
        let mut p = Problem::refused("amount_has_cents", 422, "M-Pesa moves whole shillings only.", "Send an amount without cents.");
        p.pointer = Some("/amount".into());
        return Err(Box::new(p));
    }
    if command.amount < limits.min || command.amount > limits.max {
        let mut p = Problem::refused(
            "amount_out_of_range",
            422,
            format!("M-Pesa pays {} to {} in one payment.", limits.min, limits.max),
            "Send an amount in that range. A payment above it is never split by itself.",
        );
        p.pointer = Some("/amount".into());
        return Err(Box::new(p));
    }
    Ok(())
}

/// A key pays within its own limits: per payment, and per day in Nairobi (requirement M1).
async fn key_limits_in_tx(
    conn: &mut pv_database::PgConnection,
    engine: &Engine,
    actor: &Actor,
    partner: PartnerId,
    command: &PayCommand,
) -> Result<(), VaultError> {
    if actor.kind != ActorKind::ApiKey {
        return Ok(());
    }
    let limits = api_key::limits_in_tx(conn, ApiKeyId(actor.id)).await?;
    let refused = |text: String| {
        let mut p = Problem::refused("key_limit", 403, text, "Use a key with higher limits, or ask for the limits to be raised.");
        p.pointer = Some("/amount".into());
        p
    };
    if let Some(most) = limits.per_payment.filter(|m| command.amount > *m) {
        return Err(refused(format!("This key pays at most {most} in one payment.")).into());
    }
    if let Some(most) = limits.per_day {
        let midnight =
            pv_kernel::clock::nairobi_day(engine.now()).and_time(chrono::NaiveTime::MIN).and_local_timezone(pv_kernel::clock::nairobi()).single();
        // One payment of a key at a time while its day is counted. Index: disbursements_list.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended('key-day ' || $1, 0))").bind(actor.id.to_string()).execute(&mut *conn).await?;
        let today: i64 = sqlx::query_scalar(
            "select coalesce(sum(amount_minor), 0)::bigint from disbursements
             where partner_id = $1 and created_at >= $2 and created_by = $3 and state not in ('cancelled', 'refused', 'not_paid') and reference <> $4",
        )
        .bind(partner.uuid())
        .bind(midnight)
        .bind(actor.label())
        .bind(&command.reference)
        .fetch_one(conn)
        .await?;
        if Money::from_minor(today).checked_add(command.amount).is_none_or(|sum| sum > most) {
            return Err(refused(format!("This key pays at most {most} a day; {} went today.", Money::from_minor(today))).into());
        }
    }
    Ok(())
}

/// The same reference with the same receiver and amount is the same payment; with another it is a mistake.
fn same_or_refused(known: &Row, command: &PayCommand) -> Result<Done, VaultError> {
    if known.msisdn.as_deref() == Some(&command.msisdn.to_string()) && known.amount() == Some(command.amount) {
        return Ok(Done::AlreadyApplied(known.disbursement()));
    }
    let problem = Problem::refused(
        "reference_taken",
        422,
        "This reference belongs to another payment, with another receiver or amount.",
        "Use a new reference for a new payment. The earlier payment is named in `related`.",
    );
    Err(problem.about(known.id.to_string()).into())
}

fn direct(engine: &Engine, actor: &Actor, partner: PartnerId, command: &PayCommand) -> Row {
    let now = engine.now();
    let mut row = Row {
        id: engine.ids.uuid(now),
        partner_id: partner.uuid(),
        core_id: None,
        loan_id: None,
        tranche: 0,
        generation: 1,
        origin: "manual".to_owned(),
        reference: Some(command.reference.clone()),
        client_id: None,
        client_name: command.name.clone(),
        msisdn: Some(command.msisdn.to_string()),
        product_id: None,
        product_name: None,
        amount_minor: Some(command.amount.minor()),
        gross_minor: Some(command.amount.minor()),
        floored_minor: 0,
        currency: "KES".to_owned(),
        approved_on: None,
        expected_on: None,
        approval: None,
        shortcode_id: None,
        state: String::new(),
        status: String::new(),
        reason: None,
        reason_detail: None,
        quote: None,
        charges: "none".to_owned(),
        charges_generation: 0,
        charges_split: false,
        attempts: 0,
        retry_at: None,
        receipt: None,
        paid_at: None,
        name_check: true,
        overrides: Vec::new(),
        note: command.note.clone(),
        due_at: Some(now),
        fence: 0,
        tries: 0,
        created_at: now,
        updated_at: now,
        created_by: actor.label(),
    };
    row.rest(State::Received, None, None);
    row
}

/// Starts a listed approval through all checks, by name (requirement L11): rule A16 does not hold it back any more.
pub async fn start_loan(engine: &Engine, actor: &Actor, core: CoreId, loan_id: &str) -> Result<(), VaultError> {
    actor.require(Permission::DisbursementsCreate)?;
    if loan_id.is_empty() || loan_id.len() > 60 || !loan_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Problem::invalid("/loanId", "A loan id has 1 to 60 letters, digits and dashes.").into());
    }
    let mut tx = engine.begin().await?;
    let settings = connection_in_tx(tx.conn(), engine, actor, core).await?;
    let sighting = Sighting {
        partner: settings.partner_id.uuid(),
        core_id: core.uuid(),
        loan_id: loan_id.to_owned(),
        way: "api",
        claimed: None,
        asked_by: Some(actor.label()),
        create: true,
    };
    sighting::upsert_in_tx(tx.conn(), engine, &[sighting]).await?;
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(settings.partner_id), "loan.started", format!("{core}/{loan_id}"))).await?;
    Ok(tx.commit_at("command.start_loan").await?)
}

/// Reads a connection's approved loans now (requirement L4); answers how many there are.
pub async fn fetch_loans(engine: &Engine, actor: &Actor, core: CoreId) -> Result<usize, VaultError> {
    actor.require(Permission::DisbursementsCreate)?;
    let mut tx = engine.begin().await?;
    let settings = connection_in_tx(tx.conn(), engine, actor, core).await?;
    tx.commit().await?;
    poll::one(engine, &settings).await
}

/// A connection that the actor may see; another's is as if it did not exist.
async fn connection_in_tx(conn: &mut pv_database::PgConnection, engine: &Engine, actor: &Actor, core: CoreId) -> Result<CoreSettings, VaultError> {
    let found = core_link::load_links_in_tx(conn, &engine.keys, &[core]).await?.remove(&core);
    let mine = found.filter(|s| actor.partner.is_none_or(|p| p == s.partner_id) && !s.retired);
    mine.ok_or_else(|| Problem::not_found("connection").into())
}

/// Locks a disbursement that the actor may see; another's is as if it did not exist.
async fn mine_in_tx(conn: &mut pv_database::PgConnection, actor: &Actor, id: DisbursementId) -> Result<Work, VaultError> {
    let work = Work::load_in_tx(conn, &[id.uuid()]).await?;
    match work.disbursements.get(&id.uuid()) {
        Some(d) if actor.partner.is_none_or(|p| p == d.partner()) => Ok(work),
        _ => Err(Problem::not_found("disbursement").into()),
    }
}

fn wrong_state(d: &Row, what: &str, you_can: &'static str) -> VaultError {
    let moved = match d.status.as_str() {
        "paid" => MoneyMoved::Yes,
        "not_yet_known" | "on_its_way" => MoneyMoved::NotYetKnown,
        _ => MoneyMoved::No,
    };
    Problem::refused("wrong_state", 409, format!("A disbursement that is {} cannot be {what}.", d.state.replace('_', " ")), you_can)
        .money(moved)
        .about(d.id.to_string())
        .into()
}

/// Reasons that a person with the right to approve may let pass.
const PASSABLE: &[&str] =
    &["duplicate", "needs_approval", "phone_changed", "old_approval", "auto_off", "not_simple", "webhook_differs", "name_mismatch"];

/// Approves a held disbursement: lets its reason pass, audited. Who ordered it cannot approve it.
pub async fn approve(engine: &Engine, actor: &Actor, id: DisbursementId, reason: &str) -> Result<Done, VaultError> {
    actor.require(Permission::DisbursementsApprove)?;
    let why = checked_reason(reason)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let mut work = mine_in_tx(tx.conn(), actor, id).await?;
    let Some(d) = work.disbursements.get_mut(&id.uuid()) else { return Err(Problem::not_found("disbursement").into()) };
    if d.state()? != State::Held {
        return Err(wrong_state(d, "approved", "Only a held disbursement waits for an approval."));
    }
    let held_for = d.reason.clone().unwrap_or_default();
    if !PASSABLE.contains(&held_for.as_str()) {
        let detail = format!("The reason {held_for} cannot be let pass.");
        return Err(Problem::refused("not_passable", 409, detail, "Mend its cause and retry, or cancel the disbursement.")
            .about(d.id.to_string())
            .into());
    }
    if d.created_by == actor.label() {
        return Err(Problem::refused("four_eyes", 403, "Who ordered a payment cannot approve it.", "Ask somebody else with the right to approve.")
            .about(d.id.to_string())
            .into());
    }
    let pass = if matches!(held_for.as_str(), "old_approval" | "auto_off") { "auto".to_owned() } else { held_for.clone() };
    if !d.overrides.contains(&pass) {
        d.overrides.push(pass);
    }
    again(d, now);
    let d = d.clone();
    work.touch(d.id);
    work.lines.push(Line {
        partner: d.partner_id,
        disbursement: d.id,
        lane: "person",
        what: format!("approved: {held_for}"),
        detail: Some(format!("{}: {why}", actor.label())),
        message: None,
    });
    work.flush_in_tx(tx.conn(), engine).await?;
    item::settle_in_tx(tx.conn(), now, &[("held", d.id)]).await?;
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(d.partner()), "disbursement.approved", d.id).because(why)).await?;
    tx.commit_at("command.approve").await?;
    Ok(Done::Executed(id))
}

fn again(d: &mut Row, now: chrono::DateTime<chrono::Utc>) {
    d.rest(State::Received, None, None);
    d.due_at = Some(now);
    d.retry_at = None;
    d.tries = 0;
    d.updated_at = now;
}

/// Retries what was refused, is held, waits, or was not paid: through all checks again. A disbursement with an attempt behind it gets a new id only
/// with that attempt's proof, after its status was asked once more (rules A7, A8).
pub async fn retry(engine: &Engine, actor: &Actor, id: DisbursementId, reason: &str) -> Result<Done, VaultError> {
    actor.require(Permission::DisbursementsAct)?;
    let why = checked_reason(reason)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let mut work = mine_in_tx(tx.conn(), actor, id).await?;
    let latest = work.latest_of(id.uuid()).cloned();
    let Some(d) = work.disbursements.get_mut(&id.uuid()) else { return Err(Problem::not_found("disbursement").into()) };
    match d.state()? {
        State::Refused | State::Held | State::Waiting | State::NotPaid => {}
        State::Received => return Ok(Done::AlreadyApplied(id)),
        State::Paying => return Err(wrong_state(d, "retried", "It is being paid, or its fate is being asked. Wait for the verdict.")),
        State::Paid => return Err(wrong_state(d, "retried", "It is paid.")),
        State::Cancelled => return Err(wrong_state(d, "retried", "It was cancelled. Approve the loan anew in the core, or order a new payment.")),
        State::Returned => return Err(wrong_state(d, "retried", "It was paid and sent back. Ask for a new generation, with a second person.")),
    }
    again(d, now);
    let asks_first = latest.as_ref().is_some_and(|p| p.state == "not_paid" && p.veto != "clear");
    if asks_first {
        // Waits for the veto of the old attempt.
        d.rest(State::Waiting, Some("old_attempt_asked"), Some("The rail is asked once more about the earlier attempt.".to_owned()));
        d.due_at = None;
    }
    let d = d.clone();
    work.touch(d.id);
    if let Some(p) = latest.filter(|_| asks_first) {
        work.hear(engine, &News { payout: p.id, event: Event::NewAttemptWanted, evidence: p.id, trace: None })?;
    }
    work.lines.push(Line {
        partner: d.partner_id,
        disbursement: d.id,
        lane: "person",
        what: "retried".to_owned(),
        detail: Some(format!("{}: {why}", actor.label())),
        message: None,
    });
    work.flush_in_tx(tx.conn(), engine).await?;
    item::settle_in_tx(tx.conn(), now, &[("held", d.id), ("refused", d.id), ("not_paid", d.id), ("attempts_exhausted", d.id)]).await?;
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(d.partner()), "disbursement.retried", d.id).because(why)).await?;
    tx.commit_at("command.retry").await?;
    Ok(Done::Executed(id))
}

/// Cancels what has not entered the rail.
pub async fn cancel(engine: &Engine, actor: &Actor, id: DisbursementId, reason: &str) -> Result<Done, VaultError> {
    actor.require(Permission::DisbursementsAct)?;
    let why = checked_reason(reason)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let mut work = mine_in_tx(tx.conn(), actor, id).await?;
    let Some(d) = work.disbursements.get(&id.uuid()).cloned() else { return Err(Problem::not_found("disbursement").into()) };
    if d.state()? == State::Cancelled {
        return Ok(Done::AlreadyApplied(id));
    }
    if matches!(d.state()?, State::Paid | State::Returned) {
        return Err(wrong_state(&d, "cancelled", "The money is with the borrower."));
    }
    if let Some(p) = work.live_of(d.id).cloned() {
        work.hear(engine, &News { payout: p.id, event: Event::Withheld { why: format!("cancelled: {why}") }, evidence: p.id, trace: None })?;
        if work.live_of(d.id).is_some() {
            return Err(wrong_state(
                &d,
                "cancelled",
                "The instruction may be at M-Pesa already. Wait for the verdict; if it is not paid you can cancel then.",
            ));
        }
    }
    if let Some(d) = work.disbursements.get_mut(&id.uuid()) {
        d.rest(State::Cancelled, Some("cancelled"), Some(why.clone()));
        d.due_at = None;
        d.retry_at = None;
        d.updated_at = now;
    }
    work.release_charges(d.id, now);
    work.touch(d.id);
    if let Some(d) = work.disbursements.get(&id.uuid()) {
        let event = NewEvent::about(d, "disbursement.cancelled", serde_json::json!({}));
        work.events.push(event);
    }
    work.lines.push(Line {
        partner: d.partner_id,
        disbursement: d.id,
        lane: "person",
        what: "cancelled".to_owned(),
        detail: Some(format!("{}: {why}", actor.label())),
        message: None,
    });
    work.flush_in_tx(tx.conn(), engine).await?;
    item::settle_in_tx(tx.conn(), now, &[("held", d.id), ("refused", d.id), ("not_paid", d.id), ("attempts_exhausted", d.id)]).await?;
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(d.partner()), "disbursement.cancelled", d.id).because(why)).await?;
    tx.commit_at("command.cancel").await?;
    Ok(Done::Executed(id))
}

/// Asks for a new generation of a loan that was undone and approved again, or whose money came back (rule A1). A second person decides; only
/// then it is made.
pub async fn ask_generation(engine: &Engine, actor: &Actor, id: DisbursementId, reason: &str) -> Result<Uuid, VaultError> {
    actor.require(Permission::DisbursementsResolve)?;
    let why = checked_reason(reason)?;
    let mut tx = engine.begin().await?;
    let work = mine_in_tx(tx.conn(), actor, id).await?;
    let Some(d) = work.disbursements.get(&id.uuid()) else { return Err(Problem::not_found("disbursement").into()) };
    let over = matches!(d.state()?, State::NotPaid | State::Cancelled | State::Returned) && work.live_of(d.id).is_none();
    if d.core_id.is_none() || !over {
        return Err(wrong_state(
            d,
            "paid in a new generation",
            "Only a loan whose earlier disbursement is proven not paid, cancelled or returned can be paid in a new generation.",
        ));
    }
    let request =
        crate::payout::ruling::request_in_tx(tx.conn(), engine, actor, d.partner(), "new_generation", d.id, &serde_json::json!({ "reason": why }))
            .await?;
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(d.partner()), "disbursement.new_generation_asked", d.id).because(why)).await?;
    tx.commit_at("command.ask_generation").await?;
    Ok(request)
}

/// Makes the next generation, approved by two.
pub(crate) async fn make_generation_in_tx(
    conn: &mut pv_database::PgConnection,
    engine: &Engine,
    actor: &Actor,
    id: Uuid,
) -> Result<DisbursementId, VaultError> {
    let now = engine.now();
    let work = mine_in_tx(conn, actor, DisbursementId(id)).await?;
    let Some(old) = work.disbursements.get(&id) else { return Err(Problem::not_found("disbursement").into()) };
    if !matches!(old.state()?, State::NotPaid | State::Cancelled | State::Returned) || work.live_of(id).is_some() {
        return Err(wrong_state(old, "paid in a new generation", "It changed since the request was made."));
    }
    let mut row = old.clone();
    row.id = engine.ids.uuid(now);
    row.generation += 1;
    (row.quote, row.receipt, row.paid_at, row.note) = (None, None, None, None);
    "none".clone_into(&mut row.charges);
    (row.charges_generation, row.attempts, row.fence, row.charges_split) = (0, 0, 0, false);
    row.overrides = vec!["auto".to_owned()];
    row.created_at = now;
    row.created_by = actor.label();
    again(&mut row, now);
    if store::insert_in_tx(conn, std::slice::from_ref(&row)).await?.is_empty() {
        return Err(Problem::refused(
            "generation_exists",
            409,
            "This loan already has a newer generation.",
            "Look at the newer disbursement of this loan.",
        )
        .into());
    }
    sqlx::query("update loan_sightings set disbursement_id = $3 where core_id = $1 and loan_id = $2")
        .bind(row.core_id)
        .bind(&row.loan_id)
        .bind(row.id)
        .execute(conn)
        .await?;
    Ok(row.disbursement())
}
