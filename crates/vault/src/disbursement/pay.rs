//! Pays: reads the loan again, weighs everything, reserves the charges, writes the payout with its deterministic id, commits, and only then sends
//! (rules A2 to A5, A15). What the rail answers is written in another transaction; whatever is lost in between is found by asking.

pub(crate) mod facts;

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    Money,
    core_banking::{CoreClient, CoreError, CoreLoan, CoreProduct},
    ids::CoreId,
    rail::{PayoutOrder, RailAccount, SubmissionAnswer, SubmissionMeaning},
    verdict::{ProvenNotPaid, Status},
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    checks::{self, Order, Outcome},
    machine::State,
    store::{self, Row},
};
use crate::{
    Engine, VaultError,
    booking::step::tenant_day,
    engine::Worked,
    item,
    outbox::{Line, NewEvent},
    partner::core_link::{self, CoreSettings},
    payout::{
        apply::{self, News, Work},
        machine::{Event, State as PayoutState},
        movements::prepared,
        store as payout_store,
    },
    wallet::{
        movements::charges_reserved,
        quote::{self, Quote, QuoteFor},
    },
};

/// What the core said about one disbursement just now.
#[derive(Debug, Clone)]
pub(crate) enum CoreRead {
    /// There is no core: an order by API, console or file.
    Direct,
    /// Read.
    Fresh(Box<Fresh>),
    /// It cannot be read now: nothing is paid.
    Down(String),
    /// The core has no such loan, or does not let us read it.
    Refused(String),
}

/// A fresh read.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    pub loan: CoreLoan,
    pub client: Option<CoreClient>,
    pub product: Option<CoreProduct>,
    pub tenant_day: NaiveDate,
}

/// One submission, committed and ready to leave.
struct Send {
    payout: Uuid,
    number: i32,
    account: RailAccount,
    order: PayoutOrder,
    write_before: Duration,
}

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let claimed =
        store::claim_in_tx(tx.conn(), engine.only_partners.as_deref(), engine.now(), engine.in_(engine.limits.lease), engine.limits.batch).await?;
    let cores: Vec<CoreId> = claimed.iter().filter_map(|r| r.core_id).map(CoreId).collect();
    let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &cores).await?;
    tx.commit_at("pay.claim").await?;
    if claimed.is_empty() {
        return Ok(Worked::default());
    }
    let taken = claimed.len();
    let reads = read_cores(engine, &claimed, &links).await?;
    let mut tries = 0;
    let sends = loop {
        match prepare(engine, &claimed, &reads).await {
            Ok(sends) => break sends,
            Err(error) if error.is_crash() => return Err(error),
            // Lost a race for locks: nothing was written, and nobody else has these rows. Again at once, rather than after the lease.
            Err(error) if error.is_retryable() && tries < 3 => tries += 1,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a batch of payments failed; preparing them one by one");
                break one_by_one(engine, &claimed, &reads).await?;
            }
        }
    };
    send(engine, sends).await?;
    Ok(Worked::of(taken, engine.limits.batch))
}

/// A row that makes the batch fail is tried alone, and parked as an item after three failures (rule D6).
async fn one_by_one(engine: &Engine, claimed: &[Row], reads: &BTreeMap<Uuid, CoreRead>) -> Result<Vec<Send>, VaultError> {
    let mut sends = Vec::new();
    for row in claimed {
        match prepare(engine, std::slice::from_ref(row), reads).await {
            Ok(more) => sends.extend(more),
            Err(error) if error.is_crash() => return Err(error),
            Err(error) => {
                let now = engine.now();
                let mut tx = engine.begin().await?;
                let parked = row.tries >= 3;
                sqlx::query("update disbursements set due_at = case when $3 then null else $4::timestamptz end, reason_detail = $2 where id = $1 and fence = $5")
                    .bind(row.id)
                    .bind(error.to_string().chars().take(300).collect::<String>())
                    .bind(parked)
                    .bind(now + chrono::Duration::seconds(10))
                    .bind(row.fence)
                    .execute(tx.conn())
                    .await?;
                if parked {
                    let item = item::about_disbursement("row_parked", row, format!("Preparing it failed three times: {error}. Nothing was sent."));
                    item::open_in_tx(tx.conn(), engine, now, &[item]).await?;
                }
                tx.commit_at("pay.park").await?;
            }
        }
    }
    Ok(sends)
}

/// Reads loan, client and product of each claimed disbursement again (rule A15).
async fn read_cores(engine: &Engine, claimed: &[Row], links: &BTreeMap<CoreId, CoreSettings>) -> Result<BTreeMap<Uuid, CoreRead>, VaultError> {
    let mut ordered: Vec<&Row> = claimed.iter().collect();
    ordered.sort_by_key(|r| r.id);
    let mut calls: Vec<BoxFuture<'_, Result<(Uuid, CoreRead), VaultError>>> = Vec::with_capacity(ordered.len());
    for row in ordered {
        calls.push(Box::pin(read_one(engine, row, links)));
    }
    stream::iter(calls).buffer_unordered(32).collect::<Vec<_>>().await.into_iter().collect()
}

async fn read_one(engine: &Engine, row: &Row, links: &BTreeMap<CoreId, CoreSettings>) -> Result<(Uuid, CoreRead), VaultError> {
    let read = match (row.core_id, row.loan_id.as_deref()) {
        (Some(core), Some(loan)) => match links.get(&CoreId(core)) {
            Some(settings) if settings.active && !settings.retired => read_core(engine, settings, loan).await?,
            Some(_) => CoreRead::Refused("the connection is switched off".to_owned()),
            None => CoreRead::Refused("the connection cannot be opened".to_owned()),
        },
        _ => CoreRead::Direct,
    };
    Ok((row.id, read))
}

async fn read_core(engine: &Engine, settings: &CoreSettings, loan_id: &str) -> Result<CoreRead, VaultError> {
    let told = |error: CoreError| match error {
        CoreError::Crashed => Err(VaultError::Crashed),
        CoreError::NotFound => Ok(CoreRead::Refused("the core has no such loan, client or product".to_owned())),
        CoreError::Access(why) => Ok(CoreRead::Refused(why)),
        CoreError::Down(why) | CoreError::Unreadable(why) => Ok(CoreRead::Down(why)),
    };
    let loan = match engine.core.loan(&settings.link, loan_id, false).await {
        Ok(loan) => loan,
        Err(error) => return told(error),
    };
    let client = match &loan.client_id {
        Some(id) => match engine.core.client(&settings.link, id).await {
            Ok(client) => Some(client),
            Err(error) => return told(error),
        },
        None => None,
    };
    let product = match engine.core.product(&settings.link, &loan.product_id).await {
        Ok(product) => Some(product),
        Err(error) => return told(error),
    };
    let tenant_day = tenant_day(engine, settings).await?;
    Ok(CoreRead::Fresh(Box::new(Fresh { loan, client, product, tenant_day })))
}

/// How an attempt is allowed: the first, or one that stands on the proof of the one before it (rule A7).
enum Attempt {
    First,
    After { number: i32, proof: ProvenNotPaid },
}

/// Weighs, reserves and writes a batch in one transaction; what it returns is committed and may leave.
async fn prepare(engine: &Engine, claimed: &[Row], reads: &BTreeMap<Uuid, CoreRead>) -> Result<Vec<Send>, VaultError> {
    let now = engine.now();
    let lease_until = engine.in_(engine.limits.lease);
    let write_before = engine.clock.monotonic() + engine.limits.write_within;
    let mut tx = engine.begin().await?;
    let ids: Vec<Uuid> = claimed.iter().map(|r| r.id).collect();
    let fences: BTreeMap<Uuid, i64> = claimed.iter().map(|r| (r.id, r.fence)).collect();
    let mut work = Work::load_in_tx(tx.conn(), &ids).await?;
    // Somebody else's since then: leave it alone.
    let mine: Vec<Uuid> = work.disbursements.values().filter(|d| fences.get(&d.id) == Some(&d.fence)).map(|d| d.id).collect();
    let mut facts = facts::Loaded::load_in_tx(tx.conn(), engine, &work, &mine, reads, now).await?;
    let proofs = proofs_in_tx(tx.conn(), &work, &mine).await?;

    // Who may go, by the checks alone.
    let mut going = Vec::new();
    for id in &mine {
        match weigh(engine, &mut work, &mut facts, reads, *id, now)? {
            Some(order) => going.push((*id, order)),
            None => work.touch(*id),
        }
    }
    let going = reserve_in_tx(tx.conn(), engine, &mut work, &facts, going, now).await?;
    let mut sends = Vec::new();
    let mut proofs = proofs;
    for (id, order) in going {
        if let Some(send) = write_payout(engine, &mut work, &mut facts, &mut proofs, id, &order, lease_until, write_before, now)? {
            sends.push(send);
        }
        work.touch(id);
    }
    facts.write_phones_in_tx(tx.conn(), now).await?;
    work.flush_in_tx(tx.conn(), engine).await?;
    tx.commit_at("pay.prepare").await?;
    Ok(sends)
}

/// The proof of the latest attempt of each disbursement whose veto is clear (rules A7, A8).
async fn proofs_in_tx(conn: &mut pv_database::PgConnection, work: &Work, mine: &[Uuid]) -> Result<BTreeMap<Uuid, ProvenNotPaid>, VaultError> {
    let latest: BTreeMap<Uuid, Uuid> = mine
        .iter()
        .filter_map(|d| work.latest_of(*d))
        .filter(|p| p.state == "not_paid" && p.veto == "clear")
        .map(|p| (p.id, p.disbursement_id))
        .collect();
    let payouts: Vec<Uuid> = latest.keys().copied().collect();
    if payouts.is_empty() {
        return Ok(BTreeMap::new());
    }
    let proofs = payout_store::proofs_in_tx(conn, &payouts).await?;
    Ok(proofs.into_iter().filter_map(|p| latest.get(&p.payout().uuid()).map(|d| (*d, p))).collect())
}

/// Weighs one disbursement in memory. `Some`: it may go. `None`: it stays, and its row says why.
fn weigh(
    engine: &Engine,
    work: &mut Work,
    facts: &mut facts::Loaded,
    reads: &BTreeMap<Uuid, CoreRead>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Order>, VaultError> {
    let Some(d) = work.disbursements.get(&id) else { return Ok(None) };
    let state = d.state()?;
    let live = work.live_of(id).cloned();
    let may_go = match (&live, state) {
        (Some(p), State::Paying) => p.state == "prepared" || p.repeat_wanted,
        (None, State::Received | State::Waiting) => true,
        _ => false,
    };
    if !may_go {
        if let Some(d) = work.disbursements.get_mut(&id) {
            d.due_at = None;
        }
        return Ok(None);
    }
    let mut name_check = true;
    let outcome = match reads.get(&id) {
        Some(CoreRead::Down(why)) => {
            Outcome::Wait { reason: "waiting_core", detail: format!("The core cannot be read: {why}"), until: Some(now + core_backoff(d.tries)) }
        }
        Some(CoreRead::Refused(why)) => Outcome::Hold { reason: "core_refuses", detail: format!("The core does not show this loan: {why}") },
        Some(read) => {
            let weighed = facts.of(engine, d, read, live.as_ref(), now)?;
            name_check = weighed.rules.name_check;
            checks::check(&weighed)
        }
        None => return Ok(None),
    };
    let order = match outcome {
        Outcome::Go(order) => order,
        // Written with a credential that was replaced since: it can never be sent with that one.
        Outcome::Wait { reason: "credential_halted" | "no_credential", .. }
            if live.as_ref().is_some_and(|p| facts.active_credential(p.shortcode_id).is_some_and(|a| a != p.credential_id)) =>
        {
            let detail = "The credential was replaced after the payout was written.".to_owned();
            stays(engine, work, id, live.as_ref(), Outcome::Wait { reason: "changed", detail, until: Some(now) }, now)?;
            return Ok(None);
        }
        stay => {
            stays(engine, work, id, live.as_ref(), stay, now)?;
            return Ok(None);
        }
    };
    // A payout that is written already carries its amount and receiver for ever; another order is another payout.
    let other_approval = match reads.get(&id) {
        Some(CoreRead::Fresh(f)) => d.approval.as_deref() != Some(f.loan.approval_fingerprint().as_str()),
        _ => false,
    };
    let other_credential = live.as_ref().is_some_and(|p| facts.active_credential(p.shortcode_id) != Some(p.credential_id));
    if let Some(p) = &live
        && (other_credential || p.amount() != order.pay || p.msisdn != order.msisdn.to_string() || other_approval)
    {
        let detail = "The loan, the client or our credential was changed after the payout was written.".to_owned();
        stays(engine, work, id, Some(p), Outcome::Wait { reason: "changed", detail, until: Some(now) }, now)?;
        return Ok(None);
    }
    facts.plan(d, &order);
    if let Some(CoreRead::Fresh(fresh)) = reads.get(&id)
        && let Some(d) = work.disbursements.get_mut(&id)
    {
        facts::Loaded::learn(d, fresh);
    }
    if let Some(d) = work.disbursements.get_mut(&id) {
        d.msisdn = Some(order.msisdn.to_string());
        d.amount_minor = Some(order.pay.minor());
        d.gross_minor = Some(order.gross.minor());
        d.floored_minor = order.floored.minor();
        d.name_check = name_check;
    }
    Ok(Some(order))
}

fn core_backoff(tries: i32) -> chrono::Duration {
    chrono::Duration::seconds(2 * 2_i64.pow(u32::try_from(tries.clamp(0, 8)).unwrap_or(0))).min(chrono::Duration::minutes(5))
}

/// It does not go now. What that means depends on whether a payout of it is written already.
fn stays(
    engine: &Engine,
    work: &mut Work,
    id: Uuid,
    live: Option<&payout_store::Row>,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<(), VaultError> {
    if let Some(p) = live {
        if p.state != PayoutState::Prepared.as_str() {
            // A repeat of something that may have entered the rail: it is simply not repeated; the questions go on.
            if let Some(row) = work.payouts.get_mut(&p.id) {
                row.repeat_wanted = false;
            }
            work.touch_payout(p.id);
            if let Some(d) = work.disbursements.get_mut(&id) {
                d.due_at = None;
            }
            return Ok(());
        }
        if let Outcome::Wait { until, detail, reason } = &outcome
            && *reason != "changed"
        {
            // Written, never in the rail, and not now: it waits as it is.
            if let Some(d) = work.disbursements.get_mut(&id) {
                d.reason = Some((*reason).to_owned());
                d.reason_detail = Some(detail.clone());
                Status::ToDo.as_str().clone_into(&mut d.status);
                d.due_at = Some(until.unwrap_or(now + std(engine.limits.waiting_recheck)));
            }
            return Ok(());
        }
        // Something changed: this payout is given up, with its proof, and the disbursement starts its checks anew.
        let why = match &outcome {
            Outcome::Go(_) => String::new(),
            Outcome::Wait { detail, .. } | Outcome::Hold { detail, .. } | Outcome::Refuse { detail, .. } | Outcome::CallOff { detail, .. } => {
                detail.clone()
            }
        };
        work.hear(engine, &News { payout: p.id, event: Event::Withheld { why }, evidence: p.id, trace: None })?;
        if matches!(outcome, Outcome::Wait { .. }) {
            return Ok(());
        }
    }
    rest(engine, work, id, outcome, now);
    Ok(())
}

/// Moves a disbursement without a live payout to where the checks put it.
fn rest(engine: &Engine, work: &mut Work, id: Uuid, outcome: Outcome, now: DateTime<Utc>) {
    let Some(d) = work.disbursements.get_mut(&id) else { return };
    let before = (d.state.clone(), d.reason.clone());
    let (state, reason, detail, due, listed) = match outcome {
        Outcome::Go(_) => return,
        Outcome::Wait { reason, detail, until } => {
            (State::Waiting, reason, detail, Some(until.unwrap_or(now + std(engine.limits.waiting_recheck))), false)
        }
        Outcome::Hold { reason, detail } => (State::Held, reason, detail, None, !matches!(reason, "auto_off" | "old_approval")),
        Outcome::Refuse { reason, detail } => (State::Refused, reason, detail, None, true),
        Outcome::CallOff { reason, detail } => (State::Cancelled, reason, detail, None, false),
    };
    d.rest(state, Some(reason), Some(detail.clone()));
    d.due_at = due;
    d.retry_at = None;
    d.updated_at = now;
    let d = d.clone();
    if before == (d.state.clone(), d.reason.clone()) {
        return;
    }
    if matches!(state, State::Refused | State::Cancelled) {
        work.release_charges(id, now);
    }
    work.lines.push(Line {
        partner: d.partner_id,
        disbursement: d.id,
        lane: "us",
        what: format!("{}: {reason}", state.as_str().replace('_', " ")),
        detail: Some(detail.clone()),
        message: None,
    });
    if listed {
        let kind = if state == State::Refused { "refused" } else { "held" };
        work.items.push(item::about_disbursement(kind, &d, detail));
    }
    let kind = match state {
        State::Refused => "disbursement.refused",
        State::Held => "disbursement.held",
        State::Cancelled => "disbursement.cancelled",
        _ if reason == "waiting_float" => "disbursement.waiting_float",
        _ => return,
    };
    work.events.push(NewEvent::about(&d, kind, serde_json::json!({})));
}

/// c1 for all that go: one batch. Who finds the wallet too short waits for the top-up (requirement L6).
async fn reserve_in_tx(
    conn: &mut pv_database::PgConnection,
    engine: &Engine,
    work: &mut Work,
    facts: &facts::Loaded,
    going: Vec<(Uuid, Order)>,
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, Order)>, VaultError> {
    let wanting: Vec<Uuid> = going
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| work.disbursements.get(id).is_some_and(|d| d.charges != "reserved" && d.charges != "taken"))
        .collect();
    let asked: Vec<QuoteFor> = wanting.iter().filter_map(|id| work.disbursements.get(id)).filter_map(|d| facts.quote_for(d, now)).collect();
    if asked.len() != wanting.len() {
        return Err(VaultError::Broken("a payment goes without a shortcode".into()));
    }
    let quotes = quote::quotes_in_tx(conn, &asked).await?;
    let (mut commands, mut reserved) = (Vec::new(), Vec::new());
    let mut refused: BTreeMap<Uuid, Outcome> = BTreeMap::new();
    for (id, quote) in wanting.iter().zip(quotes) {
        match quote {
            Ok(quote) => {
                let Some(d) = work.disbursements.get_mut(id) else { continue };
                d.charges_generation += 1;
                if quote.from_wallet.is_positive() {
                    let detail = serde_json::to_value(&quote).unwrap_or_default();
                    commands.push(charges_reserved::command(d.disbursement(), d.charges_generation, d.partner(), quote.from_wallet, detail, now));
                    reserved.push((*id, quote));
                } else {
                    grant(d, quote);
                }
            }
            Err(problem) => {
                refused.insert(*id, Outcome::Hold { reason: "no_tariff", detail: problem.detail.to_string() });
            }
        }
    }
    let answers = if commands.is_empty() { Vec::new() } else { pv_ledger::post_in_tx(conn, &*engine.ids, now, &commands).await? };
    for ((id, quote), answer) in reserved.into_iter().zip(answers) {
        match answer {
            pv_ledger::Answer::Posted(_) | pv_ledger::Answer::AlreadyPosted(_) => {
                if let Some(d) = work.disbursements.get_mut(&id) {
                    grant(d, quote);
                }
            }
            pv_ledger::Answer::Insufficient { available, needed } => {
                let detail = format!("The wallet has {available} available; the charges are {needed}. It goes by itself after a top-up.");
                refused.insert(id, Outcome::Wait { reason: "waiting_wallet", detail, until: None });
            }
            other => return Err(VaultError::Broken(format!("the ledger answered {other:?} to a reservation of charges"))),
        }
    }
    let mut kept = Vec::with_capacity(going.len());
    for (id, order) in going {
        match refused.remove(&id) {
            None => kept.push((id, order)),
            Some(outcome) => {
                if let Some(d) = work.disbursements.get_mut(&id).filter(|_| matches!(outcome, Outcome::Wait { .. })) {
                    // The ledger took nothing for this generation: the next reservation uses it.
                    d.charges_generation -= 1;
                }
                let was = work.disbursements.get(&id).and_then(|d| d.reason.clone());
                let live = work.live_of(id).cloned();
                let waits_for_wallet = matches!(outcome, Outcome::Wait { .. });
                stays(engine, work, id, live.as_ref(), outcome, now)?;
                if waits_for_wallet
                    && was.as_deref() != Some("waiting_wallet")
                    && let Some(d) = work.disbursements.get(&id)
                {
                    let event = NewEvent::about(d, "disbursement.waiting_wallet", serde_json::json!({}));
                    work.events.push(event);
                }
                work.touch(id);
            }
        }
    }
    Ok(kept)
}

fn grant(d: &mut Row, quote: Quote) {
    d.quote = Some(Json(quote));
    "reserved".clone_into(&mut d.charges);
}

/// p1 and the payout row for a new attempt, or the row that is there for one that goes again; then the claim of the submission (rule A4).
#[expect(clippy::too_many_arguments, reason = "one place, called once, everything it needs by name")]
fn write_payout(
    engine: &Engine,
    work: &mut Work,
    facts: &mut facts::Loaded,
    proofs: &mut BTreeMap<Uuid, ProvenNotPaid>,
    id: Uuid,
    order: &Order,
    lease_until: DateTime<Utc>,
    write_before: Duration,
    now: DateTime<Utc>,
) -> Result<Option<Send>, VaultError> {
    let Some(d) = work.disbursements.get(&id).cloned() else { return Ok(None) };
    let payout = if let Some(p) = work.live_of(id) {
        p.clone()
    } else {
        let attempt = match (work.latest_of(id), proofs.remove(&id)) {
            (None, _) => Attempt::First,
            (Some(latest), Some(proof)) => Attempt::After { number: latest.attempt + 1, proof },
            (Some(_), None) => {
                // No proof, or the old attempt was not asked about once more yet: no new id (rules A7, A8).
                if let Some(d) = work.disbursements.get_mut(&id) {
                    d.due_at = None;
                }
                return Ok(None);
            }
        };
        let row = new_payout(engine, &d, facts, order, attempt, now)?;
        let shortcode = facts.shortcode_number(row.shortcode_id)?;
        work.ledger.push(prepared::command(row.payout(), row.partner(), &shortcode, row.amount(), now));
        if let Some(d) = work.disbursements.get_mut(&id) {
            d.attempts = row.attempt;
            d.shortcode_id = Some(row.shortcode_id);
            d.rest(State::Paying, None, None);
        }
        work.add_payout(row.clone());
        work.know_shortcode(row.shortcode_id, &shortcode, facts.policy(&d));
        row
    };
    let Some(account) = facts.account(payout.credential_id) else {
        return Ok(None);
    };
    let order = PayoutOrder {
        rail_id: payout.rail_id.clone(),
        msisdn: payout.receiver()?,
        amount: payout.amount(),
        remarks: payout.remarks.clone(),
        result_url: engine.hook_url(&payout.token, "b2c/result"),
        timeout_url: engine.hook_url(&payout.token, "b2c/timeout"),
    };
    let hash = hex::encode(engine.rail.body_hash(&account, &order));
    match &payout.body_hash {
        Some(known) if *known != hash => {
            // The credential or the public address changed: a repeat would not be byte-identical (rule A5). It is not sent.
            let outcome = Outcome::Wait {
                reason: "changed",
                detail: "The credential or our public address changed after the payout was written.".to_owned(),
                until: Some(now),
            };
            stays(engine, work, id, Some(&payout), outcome, now)?;
            return Ok(None);
        }
        Some(_) => {}
        None => {
            if let Some(row) = work.payouts.get_mut(&payout.id) {
                row.body_hash = Some(hash);
            }
        }
    }
    let fence = d.fence;
    work.hear(engine, &News { payout: payout.id, event: Event::Claimed { fence, lease_until }, evidence: payout.id, trace: None })?;
    let number = work.submissions.get(&payout.id).and_then(|s| s.last()).map_or(1, |s| s.number);
    Ok(Some(Send { payout: payout.id, number, account, order, write_before }))
}

fn new_payout(
    engine: &Engine,
    d: &Row,
    facts: &facts::Loaded,
    order: &Order,
    attempt: Attempt,
    now: DateTime<Utc>,
) -> Result<payout_store::Row, VaultError> {
    let (number, prior) = match attempt {
        Attempt::First => (1, None),
        Attempt::After { number, proof } => (number, Some(proof.proof().uuid())),
    };
    let rail_id = engine.id_key.rail_id(d.subject(), number);
    let token = engine.id_key.token(&rail_id);
    let (shortcode_id, credential_id) =
        facts.sender_of(d).ok_or_else(|| VaultError::Broken(format!("disbursement {} goes without a sender", d.id)))?;
    let remarks = d.loan_id.as_ref().map_or_else(|| format!("Payment {}", d.reference.as_deref().unwrap_or_default()), |loan| format!("Loan {loan}"));
    Ok(payout_store::Row {
        id: engine.ids.uuid(now),
        partner_id: d.partner_id,
        disbursement_id: d.id,
        attempt: number,
        prior_proof_id: prior,
        rail: engine.rail.name().to_owned(),
        rail_id,
        token,
        shortcode_id,
        credential_id,
        msisdn: order.msisdn.to_string(),
        amount_minor: order.pay.minor(),
        remarks: remarks.chars().take(90).collect(),
        body_hash: None,
        state: PayoutState::Prepared.as_str().to_owned(),
        conversation_id: None,
        receipt: None,
        party_name: None,
        result_code: None,
        result_detail: None,
        repeat_wanted: false,
        veto: "none".to_owned(),
        veto_tries: 0,
        confirm_wanted: false,
        double_paid: false,
        returned_at: None,
        prepared_at: now,
        first_sent_at: None,
        sent_until: None,
        ended_at: None,
        asks: 0,
        due_at: None,
        fence: 0,
        updated_at: now,
    })
}

/// Sends what is committed, and writes the answers as they come.
async fn send(engine: &Engine, sends: Vec<Send>) -> Result<(), VaultError> {
    let mut calls: Vec<BoxFuture<'_, (SubmissionAnswer, Send)>> = Vec::with_capacity(sends.len());
    for s in sends {
        calls.push(Box::pin(async move { (engine.rail.submit(&s.account, &s.order, s.write_before).await, s) }));
    }
    let mut answers = stream::iter(calls).buffer_unordered(128).ready_chunks(64);
    while let Some(chunk) = answers.next().await {
        let mut news = Vec::with_capacity(chunk.len());
        for (answer, s) in chunk {
            if answer.meaning == SubmissionMeaning::Crashed {
                return Err(VaultError::Crashed);
            }
            let class = answer.trace.code.as_deref().map(|c| engine.rail.classify(c));
            let detail = [answer.trace.code.clone().unwrap_or_default(), answer.trace.message.clone()].join(" ").trim().to_owned();
            news.push(News {
                payout: s.payout,
                event: Event::Answered { number: s.number, meaning: answer.meaning, detail, class },
                evidence: s.payout,
                trace: Some(answer.trace),
            });
        }
        record(engine, &news).await?;
    }
    Ok(())
}

/// Writes answers. If the database does not take them, nothing is lost but the answer: the lease runs out and the rail is asked.
async fn record(engine: &Engine, news: &[News]) -> Result<(), VaultError> {
    let mut tries = 0;
    loop {
        let done = async {
            let mut tx = engine.begin().await?;
            apply::apply_in_tx(tx.conn(), engine, news).await?;
            Ok::<(), VaultError>(tx.commit_at("pay.answer").await?)
        }
        .await;
        match done {
            Err(error) if error.is_retryable() && tries < 3 => tries += 1,
            other => return other,
        }
    }
}

fn std(d: Duration) -> chrono::Duration {
    chrono::Duration::from_std(d).unwrap_or(chrono::Duration::minutes(5))
}

/// Money that is planned or on its way, for caps.
pub(crate) fn sum(amounts: impl IntoIterator<Item = i64>) -> Money {
    Money::from_minor(amounts.into_iter().sum())
}
