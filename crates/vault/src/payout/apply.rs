//! The one place where news about payouts is written: lock, decide, post, write. A batch is one unit of work inside the caller's
//! transaction; state rows, ledger transfers, events and items go together or not at all.
//!
//! Locks are taken in the canonical order: disbursements by id, payouts by id, then the ledger's accounts by id.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    ids::{DisbursementId, PartnerId, PayoutId},
    rail::WireTrace,
};
use pv_ledger::Command;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    machine::{self, Effect, Event, Heard, Pace, Payout, ProofSource, Told},
    movements, store,
};
use crate::{
    Engine, VaultError,
    booking::{self, movements::booked},
    disbursement::{
        machine::{self as disbursement_machine, Consequence, RetryPolicy},
        names,
        pay::facts,
        store as disbursement_store,
    },
    item::{self, NewItem},
    outbox::{self, NewEvent},
    partner::policy::PartnerPolicy,
    wallet::{
        movements::{charges_released, charges_taken, late_charges, wallet},
        quote::{Quote, TariffPayer},
    },
};

/// News about one payout.
#[derive(Debug, Clone)]
pub struct News {
    /// The payout.
    pub payout: Uuid,
    /// What happened.
    pub event: Event,
    /// The message it came in (or the submission, or the ruling): evidence for proofs and postings.
    pub evidence: Uuid,
    /// What stood on the wire, for the answer to a submission.
    pub trace: Option<WireTrace>,
}

/// What became of one piece of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The payout.
    pub payout: Uuid,
    /// What became of it.
    pub heard: Heard,
}

/// Facts about a shortcode and its partner that decisions need.
#[derive(Debug, Clone)]
struct Setting {
    shortcode: String,
    confirm_above: Option<Money>,
}

/// A batch of loaded rows and everything that is to be written with them.
pub(crate) struct Work {
    pub disbursements: BTreeMap<Uuid, disbursement_store::Row>,
    pub payouts: BTreeMap<Uuid, store::Row>,
    pub submissions: BTreeMap<Uuid, Vec<store::SubmissionRow>>,
    pub ledger: Vec<Command>,
    pub events: Vec<NewEvent>,
    pub items: Vec<NewItem>,
    pub lines: Vec<outbox::Line>,
    settings: BTreeMap<Uuid, Setting>,
    new_payouts: BTreeSet<Uuid>,
    touched_payouts: BTreeSet<Uuid>,
    touched_disbursements: BTreeSet<Uuid>,
    touched_submissions: BTreeSet<(Uuid, i32)>,
    proofs: Vec<store::ProofRow>,
    queries: Vec<store::QueryRow>,
    bookings: Vec<booking::store::Row>,
    settled: Vec<(&'static str, Uuid)>,
    halts: Vec<(Uuid, String)>,
    works: BTreeSet<Uuid>,
    rematch: BTreeSet<Uuid>,
    paused: BTreeSet<Uuid>,
    late_charges: BTreeSet<Uuid>,
}

/// Locks, loads and hears a batch of news, and writes everything. Runs inside the caller's transaction.
pub async fn apply_in_tx(conn: &mut PgConnection, engine: &Engine, news: &[News]) -> Result<Vec<Outcome>, VaultError> {
    if news.is_empty() {
        return Ok(Vec::new());
    }
    let payouts: Vec<Uuid> = news.iter().map(|n| n.payout).collect();
    let disbursements = store::disbursements_of_in_tx(conn, &payouts).await?;
    let mut work = Work::load_in_tx(conn, &disbursements).await?;
    let mut outcomes = Vec::with_capacity(news.len());
    for n in news {
        let heard = work.hear(engine, n)?;
        outcomes.push(Outcome { payout: n.payout, heard });
    }
    work.flush_in_tx(conn, engine).await?;
    Ok(outcomes)
}

impl Work {
    /// Locks the disbursements and all their payouts, and loads what decisions need.
    pub async fn load_in_tx(conn: &mut PgConnection, disbursements: &[Uuid]) -> Result<Self, VaultError> {
        let rows = disbursement_store::lock_in_tx(conn, disbursements).await?;
        let ids: Vec<Uuid> = rows.iter().map(|r| r.id).collect();
        let payouts = store::lock_of_disbursements_in_tx(conn, &ids).await?;
        let payout_ids: Vec<Uuid> = payouts.iter().map(|p| p.id).collect();
        let mut submissions: BTreeMap<Uuid, Vec<store::SubmissionRow>> = BTreeMap::new();
        for s in store::submissions_in_tx(conn, &payout_ids).await? {
            submissions.entry(s.payout_id).or_default().push(s);
        }
        let shortcodes: BTreeSet<Uuid> = payouts.iter().map(|p| p.shortcode_id).chain(rows.iter().filter_map(|r| r.shortcode_id)).collect();
        let mut work = Self {
            disbursements: rows.into_iter().map(|r| (r.id, r)).collect(),
            payouts: payouts.into_iter().map(|p| (p.id, p)).collect(),
            submissions,
            ledger: Vec::new(),
            events: Vec::new(),
            items: Vec::new(),
            lines: Vec::new(),
            settings: BTreeMap::new(),
            new_payouts: BTreeSet::new(),
            touched_payouts: BTreeSet::new(),
            touched_disbursements: BTreeSet::new(),
            touched_submissions: BTreeSet::new(),
            proofs: Vec::new(),
            queries: Vec::new(),
            bookings: Vec::new(),
            settled: Vec::new(),
            halts: Vec::new(),
            works: BTreeSet::new(),
            rematch: BTreeSet::new(),
            paused: BTreeSet::new(),
            late_charges: BTreeSet::new(),
        };
        work.learn_shortcodes_in_tx(conn, &shortcodes.into_iter().collect::<Vec<_>>()).await?;
        Ok(work)
    }

    /// Loads what decisions need about shortcodes that were not known when the batch was loaded.
    pub async fn learn_shortcodes_in_tx(&mut self, conn: &mut PgConnection, shortcodes: &[Uuid]) -> Result<(), VaultError> {
        let rows: Vec<(Uuid, String, Json<PartnerPolicy>)> =
            sqlx::query_as("select s.id, s.shortcode, p.policy from mpesa_shortcodes s join partners p on p.id = s.partner_id where s.id = any($1)")
                .bind(shortcodes)
                .fetch_all(conn)
                .await?;
        for (id, shortcode, policy) in rows {
            self.settings.insert(id, Setting { shortcode, confirm_above: policy.0.confirm_above });
        }
        Ok(())
    }

    fn setting(&self, shortcode: Uuid) -> Result<Setting, VaultError> {
        self.settings.get(&shortcode).cloned().ok_or_else(|| VaultError::Broken(format!("shortcode {shortcode} is not loaded")))
    }

    /// The live payout of a disbursement, if there is one.
    pub fn live_of(&self, disbursement: Uuid) -> Option<&store::Row> {
        self.payouts.values().find(|p| p.disbursement_id == disbursement && machine::State::parse(&p.state).is_some_and(machine::State::is_live))
    }

    /// The latest attempt of a disbursement.
    pub fn latest_of(&self, disbursement: Uuid) -> Option<&store::Row> {
        self.payouts.values().filter(|p| p.disbursement_id == disbursement).max_by_key(|p| p.attempt)
    }

    /// Adds a payout that is being prepared in this unit of work.
    pub fn add_payout(&mut self, row: store::Row) {
        self.new_payouts.insert(row.id);
        self.payouts.insert(row.id, row);
    }

    /// Marks a disbursement as changed.
    pub fn touch(&mut self, disbursement: Uuid) {
        self.touched_disbursements.insert(disbursement);
    }

    /// Marks a payout as changed outside its machine.
    pub fn touch_payout(&mut self, payout: Uuid) {
        self.touched_payouts.insert(payout);
    }

    /// Learns about a shortcode that was loaded elsewhere.
    pub fn know_shortcode(&mut self, id: Uuid, number: &str, policy: &PartnerPolicy) {
        self.settings.entry(id).or_insert_with(|| Setting { shortcode: number.to_owned(), confirm_above: policy.confirm_above });
    }

    /// c3: the disbursement is over and was not paid.
    pub fn release_charges(&mut self, disbursement: Uuid, now: DateTime<Utc>) {
        let Some(d) = self.disbursements.get_mut(&disbursement).filter(|d| d.charges == "reserved") else { return };
        "released".clone_into(&mut d.charges);
        if d.quote.as_ref().is_some_and(|q| q.0.from_wallet.is_positive()) {
            self.ledger.push(charges_released::command(DisbursementId(d.id), d.charges_generation, now));
        }
        self.touched_disbursements.insert(disbursement);
    }

    fn machine_of(&self, payout: Uuid) -> Result<Payout, VaultError> {
        let row = self.payouts.get(&payout).ok_or_else(|| VaultError::Broken(format!("payout {payout} is not loaded")))?;
        let setting = self.setting(row.shortcode_id)?;
        let sibling_paid = self.payouts.values().any(|p| p.disbursement_id == row.disbursement_id && p.id != row.id && p.state == "paid");
        let submissions = self.submissions.get(&payout).map(Vec::as_slice).unwrap_or_default();
        row.machine(&setting.shortcode, submissions, sibling_paid, setting.confirm_above)
    }

    /// Hears one piece of news in memory.
    pub fn hear(&mut self, engine: &Engine, news: &News) -> Result<Heard, VaultError> {
        let now = engine.now();
        let pace = Pace { first_ask: engine.limits.first_ask, longest_ask: engine.limits.longest_ask, token_life: engine.rail.limits().token_life };
        let before = self.machine_of(news.payout)?;
        let decision = machine::decide(&before, &news.event, &pace, now);
        tracing::debug!(payout = %news.payout, before = before.state.as_str(), after = decision.payout.state.as_str(), heard = ?decision.heard, "payout");
        self.take_submissions(engine, news, &decision.payout, now)?;
        if let Some(row) = self.payouts.get_mut(&news.payout) {
            row.take(&decision.payout, now);
            self.touched_payouts.insert(news.payout);
        }
        let line = describe(&news.event, &before, &decision.payout);
        for effect in decision.effects {
            self.carry_out(engine, news, effect, now)?;
        }
        if let (Some((lane, what, detail)), Some(row)) = (line, self.payouts.get(&news.payout)) {
            self.lines.push(outbox::Line {
                partner: row.partner_id,
                disbursement: row.disbursement_id,
                lane,
                what,
                detail,
                message: Some(news.evidence),
            });
        }
        Ok(decision.heard)
    }

    fn take_submissions(&mut self, engine: &Engine, news: &News, after: &Payout, now: DateTime<Utc>) -> Result<(), VaultError> {
        let row = self.payouts.get(&news.payout).ok_or_else(|| VaultError::Broken("payout not loaded".into()))?;
        let (partner, payout) = (row.partner_id, row.id);
        let known = self.submissions.entry(payout).or_default();
        for s in &after.submissions {
            if let Some(k) = known.iter_mut().find(|k| k.number == s.number) {
                if k.state != s.state.as_str() || k.renewed != s.renewed {
                    s.state.as_str().clone_into(&mut k.state);
                    k.renewed = s.renewed;
                    self.touched_submissions.insert((payout, s.number));
                }
            } else {
                known.push(store::SubmissionRow {
                    id: engine.id(),
                    partner_id: partner,
                    payout_id: payout,
                    number: s.number,
                    fence: s.fence,
                    state: s.state.as_str().to_owned(),
                    started_at: now,
                    lease_until: s.lease_until,
                    answered_at: None,
                    http_status: None,
                    code: None,
                    message: None,
                    conversation_id: None,
                    request_body: None,
                    response_body: None,
                    renewed: s.renewed,
                });
                self.touched_submissions.insert((payout, s.number));
            }
        }
        if let (Event::Answered { number, meaning, .. }, Some(trace)) = (&news.event, &news.trace)
            && let Some(k) = known.iter_mut().find(|k| k.number == *number)
        {
            k.answered_at = Some(now);
            k.http_status = trace.http_status.map(i32::from);
            k.code.clone_from(&trace.code);
            k.message = Some(bounded(&trace.message, 500));
            k.request_body = Some(bounded(&trace.request, 4000));
            k.response_body = Some(bounded(&trace.response, 4000));
            if let pv_kernel::rail::SubmissionMeaning::Accepted { conversation_id } = meaning {
                k.conversation_id = Some(conversation_id.clone());
            }
            self.touched_submissions.insert((payout, *number));
        }
        Ok(())
    }

    fn carry_out(&mut self, engine: &Engine, news: &News, effect: Effect, now: DateTime<Utc>) -> Result<(), VaultError> {
        let row = self.payouts.get(&news.payout).cloned().ok_or_else(|| VaultError::Broken("payout not loaded".into()))?;
        let setting = self.setting(row.shortcode_id)?;
        let (payout, partner, amount) = (row.payout(), row.partner(), row.amount());
        match effect {
            Effect::PostPaid => {
                self.ledger.push(movements::paid::command(payout, news.evidence, now));
                self.tariff(&row, &setting, now);
            }
            Effect::VoidHold => self.ledger.push(movements::not_paid::command(payout, news.evidence, now)),
            Effect::PostLate => {
                self.ledger.push(movements::late_success::command(payout, partner, &setting.shortcode, amount, news.evidence, now));
                self.tariff(&row, &setting, now);
            }
            Effect::PostDouble => {
                self.ledger.push(movements::double_paid::command(payout, partner, &setting.shortcode, amount, news.evidence, now));
                self.tariff(&row, &setting, now);
            }
            Effect::Prove { grade, source, detail } => self.proofs.push(proof(engine, &row, news.evidence, grade.as_str(), source, detail, now)),
            Effect::Ask { purpose } => self.queries.push(store::QueryRow {
                id: engine.id(),
                partner_id: row.partner_id,
                shortcode_id: row.shortcode_id,
                credential_id: None,
                kind: "status".to_owned(),
                payout_id: Some(row.id),
                receipt: None,
                purpose: purpose.as_str().to_owned(),
                token: engine.ids.hex_token(),
                state: "wanted".to_owned(),
                conversation_id: None,
                asked_at: now,
                acknowledged_at: None,
                answered_at: None,
                code: None,
                answer: None,
                message: None,
                ledger_minor: None,
            }),
            Effect::HaltCredential { code } => {
                self.items.push(item::credential_halted(&row, &code));
                self.halts.push((row.credential_id, code));
            }
            Effect::CredentialWorks => {
                self.works.insert(row.credential_id);
            }
            Effect::Rematch => {
                self.rematch.insert(row.id);
            }
            Effect::StopSiblings => self.stop_siblings(engine, &row, news, now)?,
            Effect::PauseShortcode => {
                self.paused.insert(row.shortcode_id);
            }
            Effect::Incident { kind, detail, page } => self.items.push(item::about_payout(kind, &row, detail, page)),
            Effect::Settled { kind } => self.settled.push((kind, row.id)),
            Effect::Tell(told) => {
                if matches!(told, Told::Paid { .. }) {
                    self.compare_names(&row);
                }
                self.tell(engine, &row, &told, now)?;
            }
        }
        Ok(())
    }

    /// A sibling that has not entered the rail is withheld: the loan is paid (rule A10).
    fn stop_siblings(&mut self, engine: &Engine, row: &store::Row, news: &News, _now: DateTime<Utc>) -> Result<(), VaultError> {
        let siblings: Vec<Uuid> = self
            .payouts
            .values()
            .filter(|p| p.disbursement_id == row.disbursement_id && p.id != row.id && p.state == "prepared")
            .map(|p| p.id)
            .collect();
        for sibling in siblings {
            let event = Event::Withheld { why: "another attempt was paid".to_owned() };
            self.hear(engine, &News { payout: sibling, event, evidence: news.evidence, trace: None })?;
        }
        Ok(())
    }

    /// The receiver's name as M-Pesa knows it is compared with the client's (rule A18).
    fn compare_names(&mut self, row: &store::Row) {
        let Some(d) = self.disbursements.get(&row.disbursement_id).filter(|d| d.name_check) else { return };
        let (Some(registered), Some(client)) = (&row.party_name, &d.client_name) else { return };
        if !names::can_be_same(registered, client) {
            let detail = format!("Payment {} went to a phone that M-Pesa knows as {registered}; the client is {client}.", row.rail_id);
            let mut item = item::about_payout("name_mismatch", row, detail, false);
            item.subject = facts::phone_subject(row.partner_id, &row.msisdn);
            self.items.push(item);
        }
    }

    fn tariff(&mut self, row: &store::Row, setting: &Setting, now: DateTime<Utc>) {
        let quote = self.disbursements.get(&row.disbursement_id).and_then(|d| d.quote.as_ref()).map(|q| &q.0);
        if let Some(quote) = quote.filter(|q| q.tariff_payer == TariffPayer::Rail) {
            self.ledger.extend(movements::paid::tariff(row.payout(), row.partner(), &setting.shortcode, quote.tariff, now));
        }
    }

    /// Tells the disbursement, and carries out what follows.
    fn tell(&mut self, engine: &Engine, payout: &store::Row, told: &Told, now: DateTime<Utc>) -> Result<(), VaultError> {
        let policy = RetryPolicy { minutes: engine.limits.retry_minutes, funded_recheck: engine.limits.waiting_recheck };
        let d = self.disbursements.get_mut(&payout.disbursement_id).ok_or_else(|| VaultError::Broken("disbursement not loaded".into()))?;
        let before = d.standing()?;
        let (after, consequences) = disbursement_machine::hear(&before, told, payout.state()?, &policy, now);
        let charges_generation = d.charges_generation;
        if let Told::Paid { .. } = told
            && before.state != disbursement_machine::State::Paid
            && d.amount_minor != Some(payout.amount_minor)
        {
            // An older attempt was paid after the loan had changed: what was paid is what counts.
            let detail =
                format!("{} was paid with {}; the loan now asks for {}.", payout.rail_id, payout.amount(), d.amount().unwrap_or(Money::ZERO));
            self.items.push(item::about_payout("paid_other_amount", payout, detail, true));
            d.amount_minor = Some(payout.amount_minor);
            d.msisdn = Some(payout.msisdn.clone());
            d.floored_minor = 0;
        }
        d.take(after);
        d.updated_at = now;
        let d = d.clone();
        self.touched_disbursements.insert(d.id);
        for c in consequences {
            match c {
                Consequence::TakeCharges => {
                    if d.quote.as_ref().is_some_and(|q| q.0.from_wallet.is_positive()) {
                        self.ledger.push(charges_taken::command(DisbursementId(d.id), charges_generation, now));
                    }
                }
                Consequence::ReleaseCharges => {
                    if d.quote.as_ref().is_some_and(|q| q.0.from_wallet.is_positive()) {
                        self.ledger.push(charges_released::command(DisbursementId(d.id), charges_generation, now));
                    }
                }
                Consequence::LateCharges => {
                    let taken: Option<Money> = d.quote.as_ref().map(|q: &Json<Quote>| q.0.from_wallet).filter(|m| m.is_positive());
                    self.ledger.extend(taken.map(|m| late_charges::command(DisbursementId(d.id), d.partner(), m, now)));
                    self.late_charges.insert(d.partner_id);
                }
                Consequence::Book => self.bookings.push(booking::store::Row::due(engine, &d, payout, now)?),
                Consequence::NothingToBook => {
                    self.ledger.extend(booked::commands(d.disbursement(), d.partner(), "p5_nothing_to_book", payout.amount(), Money::ZERO, now));
                }
                Consequence::WantNewAttempt => {
                    let news = News { payout: payout.id, event: Event::NewAttemptWanted, evidence: payout.id, trace: None };
                    self.hear(engine, &news)?;
                }
                Consequence::Publish(kind) => self.events.push(NewEvent::about(&d, kind, serde_json::json!({ "payout": PayoutId(payout.id) }))),
                Consequence::Item { kind, detail } => self.items.push(item::about_disbursement(kind, &d, detail)),
                Consequence::Settled(kind) => self.settled.push((kind, d.id)),
            }
        }
        Ok(())
    }

    /// Writes everything. Called once.
    pub async fn flush_in_tx(self, conn: &mut PgConnection, engine: &Engine) -> Result<(), VaultError> {
        let now = engine.now();
        let new: Vec<&store::Row> = self.new_payouts.iter().filter_map(|id| self.payouts.get(id)).collect();
        let changed: Vec<&store::Row> = self.touched_payouts.difference(&self.new_payouts).filter_map(|id| self.payouts.get(id)).collect();
        store::insert_in_tx(conn, &new).await?;
        store::update_in_tx(conn, &changed).await?;
        let submissions: Vec<&store::SubmissionRow> =
            self.submissions.values().flatten().filter(|s| self.touched_submissions.contains(&(s.payout_id, s.number))).collect();
        store::upsert_submissions_in_tx(conn, &submissions).await?;
        store::insert_proofs_in_tx(conn, &self.proofs).await?;
        let disbursements: Vec<&disbursement_store::Row> = self.touched_disbursements.iter().filter_map(|id| self.disbursements.get(id)).collect();
        disbursement_store::update_in_tx(conn, &disbursements).await?;
        booking::store::insert_in_tx(conn, &self.bookings).await?;
        store::want_queries_in_tx(conn, &self.queries).await?;
        outbox::emit_in_tx(conn, engine, now, &self.events).await?;
        outbox::lines_in_tx(conn, engine, now, &self.lines).await?;
        item::open_in_tx(conn, engine, now, &self.items).await?;
        item::settle_in_tx(conn, now, &self.settled).await?;
        for (credential, code) in &self.halts {
            sqlx::query("update mpesa_credentials set halted_at = $2, halt_code = $3, careful = true where id = $1 and halted_at is null")
                .bind(credential)
                .bind(now)
                .bind(code)
                .execute(&mut *conn)
                .await?;
        }
        if !self.works.is_empty() {
            let works: Vec<Uuid> = self.works.iter().copied().collect();
            sqlx::query(
                "with proven as (update mpesa_credentials set careful = false where id = any($1) and careful and halted_at is null returning partner_id)
                 update disbursements d set due_at = $2 from proven where d.partner_id = proven.partner_id and d.state = 'waiting' and d.reason = 'credential_careful'",
            )
            .bind(&works)
            .bind(now)
            .execute(&mut *conn)
            .await?;
            // A credential that works settles the items about it and about the versions before it.
            sqlx::query(
                "update items i set closed_at = $2, closed_by = 'system', resolution = 'the credential works again'
                 from mpesa_credentials w join mpesa_credentials c on c.shortcode_id = w.shortcode_id
                 where w.id = any($1) and w.halted_at is null and i.kind = 'credential_halted' and i.subject = c.id and i.closed_at is null",
            )
            .bind(&works)
            .bind(now)
            .execute(&mut *conn)
            .await?;
        }
        // The ledger last: a wallet that many payments share is locked only until the commit that follows.
        if !self.ledger.is_empty() {
            let answers = pv_ledger::post_in_tx(conn, &*engine.ids, now, &self.ledger).await?;
            for (command, answer) in self.ledger.iter().zip(&answers) {
                if answer.transfer().is_none() {
                    return Err(VaultError::Broken(format!("the ledger answered {answer:?} to {:?}", command.key())));
                }
            }
        }
        for partner in &self.late_charges {
            wallet_below_zero_in_tx(conn, engine, PartnerId(*partner)).await?;
        }
        for shortcode in &self.paused {
            crate::stop::pause_shortcode_in_tx(conn, engine, *shortcode, "a payment was made twice; see the open item").await?;
        }
        if !self.rematch.is_empty() {
            let payouts: Vec<Uuid> = self.rematch.iter().copied().collect();
            sqlx::query("update messages set due_at = $2 where payout_id = any($1) and state = 'unmatched'")
                .bind(&payouts)
                .bind(now)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}

/// A fact may drive a wallet below zero (rule B6): then it is on the list until somebody tops it up.
pub(crate) async fn wallet_below_zero_in_tx(conn: &mut PgConnection, engine: &Engine, partner: PartnerId) -> Result<(), VaultError> {
    let balance = pv_ledger::balance(conn, wallet(partner).id()).await?.map_or(Money::ZERO, |b| b.posted);
    let now = engine.now();
    if balance.minor() < 0 {
        let link = format!("/api/wallet/balance?partner_id={partner}");
        let mut item = item::about("wallet_negative", Some(partner.uuid()), partner.uuid(), link, format!("The wallet stands at {balance}."), false);
        item.amount_minor = Some(balance.minor());
        item::open_in_tx(conn, engine, now, &[item]).await
    } else {
        item::settle_in_tx(conn, now, &[("wallet_negative", partner.uuid())]).await
    }
}

fn proof(engine: &Engine, row: &store::Row, evidence: Uuid, grade: &str, source: ProofSource, detail: String, now: DateTime<Utc>) -> store::ProofRow {
    store::ProofRow {
        id: engine.id(),
        partner_id: row.partner_id,
        disbursement_id: row.disbursement_id,
        attempt: row.attempt,
        payout_id: row.id,
        grade: grade.to_owned(),
        source: source.as_str().to_owned(),
        message_id: evidence,
        detail: bounded(&detail, 500),
        at: now,
    }
}

fn bounded(text: &str, most: usize) -> String {
    text.chars().take(most).filter(|c| *c != '\0').collect()
}

/// One line of the timeline: lane, what, detail.
fn describe(event: &Event, before: &Payout, after: &Payout) -> Option<(&'static str, String, Option<String>)> {
    let state = (before.state != after.state).then(|| after.state.as_str().replace('_', " "));
    match event {
        Event::Claimed { .. } => {
            let number = after.submissions.last().map_or(1, |s| s.number);
            let what = if number == 1 {
                format!("payout {} sent", after.rail_id)
            } else {
                format!("payout {} sent again under the same id (submission {number})", after.rail_id)
            };
            Some(("us→M-Pesa", what, None))
        }
        Event::Answered { meaning, detail, .. } => {
            let what = match meaning {
                pv_kernel::rail::SubmissionMeaning::Accepted { conversation_id } => format!("accepted as {conversation_id}"),
                pv_kernel::rail::SubmissionMeaning::NotAccepted { .. } => "not accepted; goes again under the same id".to_owned(),
                pv_kernel::rail::SubmissionMeaning::Refused => "refused".to_owned(),
                pv_kernel::rail::SubmissionMeaning::Duplicate => "the rail has this id already".to_owned(),
                pv_kernel::rail::SubmissionMeaning::Ambiguous => "no usable answer".to_owned(),
                pv_kernel::rail::SubmissionMeaning::Crashed => return None,
            };
            Some(("M-Pesa", what, Some(detail.clone()).filter(|d| !d.is_empty())))
        }
        Event::Result { notice, trusted, .. } => {
            let what = match (&after.receipt, after.state) {
                (Some(receipt), machine::State::Paid) => format!("paid, receipt {receipt}"),
                _ => format!("result {}: {}", notice.code, notice.description),
            };
            Some(("M-Pesa", what, (!trusted).then(|| "from an address that is not M-Pesa's: not believed, asked instead".to_owned())))
        }
        Event::Status { notice, .. } => Some(("M-Pesa", format!("asked: {:?}", notice.fate).to_lowercase(), Some(notice.description.clone()))),
        Event::TimeoutNotice => Some(("M-Pesa", "gave up queueing; not a failure, we ask".to_owned(), None)),
        Event::Ruled { paid, grade, .. } => Some(("person", format!("ruled {} ({})", if *paid { "paid" } else { "not paid" }, grade.as_str()), None)),
        Event::Withheld { why } => Some(("us", "not sent".to_owned(), Some(why.clone()))),
        Event::Due { .. } | Event::NewAttemptWanted => state.map(|s| ("us", s, None)),
    }
}
