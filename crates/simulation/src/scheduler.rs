//! Picks what happens next, one thing at a time, from the seed alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use pv_database::Db;
use pv_kernel::{Money, ids::DisbursementId};
use pv_sandbox::{
    daraja::{DarajaFaults, Outage, OutageForm, OutageTarget, ResultParts, result_body},
    mifos::CommandOutcome,
};
use pv_vault::{
    VaultError,
    disbursement::{
        commands,
        sighting::{self, Sighting},
    },
    engine::{Step, Worked},
    message::{self, Inbound, Kind},
    partner::{credential, webhook},
    stop::{self, StopTarget},
    wallet::adjust,
};
use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

use crate::{
    SeedReport,
    chance::Chance,
    house::{self, Town},
    invariants,
    wire::Network,
    world::Pending,
};

/// A step under way whose call is parked.
struct Under {
    process: usize,
    step: Step,
    task: JoinHandle<Result<Worked, VaultError>>,
    go: Option<oneshot::Sender<()>>,
}

/// One run.
pub struct Run<'a> {
    db: &'a Db,
    chance: Chance,
    town: Town,
    under: Vec<Under>,
    inbox: Vec<Pending>,
    /// What happened, for people.
    pub story: Vec<String>,
    /// What was violated.
    pub violations: Vec<String>,
    crashes: usize,
    storm: u64,
    bad_credential: Vec<bool>,
}

/// Runs a seed from dawn to rest.
pub async fn run(db: &Db, seed: u64) -> Result<SeedReport, VaultError> {
    let mut chance = Chance::new(seed, 1);
    let houses = 1 + usize::try_from(chance.below(2)).unwrap_or(0);
    let town = house::build(db, seed, houses).await?;
    let storm = chance.below(4);
    let mut run = Run {
        db,
        chance,
        bad_credential: vec![false; town.houses.len()],
        town,
        under: Vec::new(),
        inbox: Vec::new(),
        story: Vec::new(),
        violations: Vec::new(),
        crashes: 0,
        storm,
    };
    run.faults();
    run.loans().await?;
    for _ in 0..(120 + run.chance.below(120)) {
        run.something().await?;
    }
    run.quiet().await?;
    let books = invariants::check(db, &run.town).await?;
    run.violations.extend(books.violations);
    if !run.violations.is_empty() {
        run.ledger_of_events().await?;
    }
    Ok(SeedReport { seed, violations: run.violations, loans: books.loans, paid: books.paid, crashes: run.crashes, story: run.story })
}

impl Run<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.town.time.now()
    }

    fn tell(&mut self, what: impl Into<String>) {
        let line = format!("{} {}", self.now().format("%d %H:%M:%S%.3f"), what.into());
        if self.story.len() < 4000 {
            self.story.push(line);
        }
    }

    /// Turns the dials of the whole world by the storm of the seed: 0 is calm.
    fn faults(&mut self) {
        let scale = |per_mille: u16, storm: u64| u16::try_from(u64::from(per_mille) * storm / 3).unwrap_or(0);
        let s = self.storm;
        let f = DarajaFaults::stormy();
        let mut w = self.town.world.lock();
        w.daraja.set_faults(DarajaFaults {
            refused_before: scale(f.refused_before, s),
            error_after: scale(f.error_after, s),
            dropped_before: scale(f.dropped_before, s),
            dropped_after: scale(f.dropped_after, s),
            throttled: scale(f.throttled, s),
            token_revoked: scale(f.token_revoked, s),
            slow: scale(f.slow, s),
            result_lost: scale(f.result_lost, s),
            result_twice: scale(f.result_twice, s),
            result_delayed: scale(f.result_delayed, s),
            result_early: scale(f.result_early, s),
            pending: scale(f.pending, s),
            timeout_then_result: scale(f.timeout_then_result, s),
            timeout_then_silence: scale(f.timeout_then_silence, s),
            unlisted_code: scale(f.unlisted_code, s),
            ambiguous_code: scale(f.ambiguous_code, s),
            status_result_lost: scale(f.status_result_lost, s),
            status_error: scale(f.status_error, s),
            status_unknown: scale(f.status_unknown, s),
            balance_result_lost: scale(f.balance_result_lost, s),
            balance_failed: scale(f.balance_failed, s),
            ..f
        });
        // M-Pesa may not find a payment that it has just taken (contract 6.1).
        w.daraja.options_mut().index_delay = Duration::from_secs([0, 20, 90].get(usize::try_from(s).unwrap_or(0).min(2)).copied().unwrap_or(0));
        for m in w.mifos.values_mut() {
            if let Some(o) = Some(m.bank_mut().options_mut()) {
                o.dials.dropped_before = scale(60, s);
                o.dials.dropped_after = scale(80, s);
                o.dials.unavailable = scale(40, s);
                o.dials.server_error = scale(30, s);
                o.dials.locked = scale(40, s);
                o.dials.key_stuck = scale(10, s);
                o.dials.parked = scale(10, s);
                o.hooks.lost = scale(200, s);
                o.hooks.doubled = scale(200, s);
                o.hooks.longest = Duration::from_secs(20 * s);
            }
        }
        w.damza.faults_mut().answer_lost = scale(100, s);
        w.damza.faults_mut().down = scale(150, s);
        drop(w);
        if let Ok(mut d) = self.town.dials.lock() {
            d.network = Network { refused: scale(40, s), cut: scale(60, s) };
        }
    }

    /// Loans are made; some are approved at once.
    async fn loans(&mut self) -> Result<(), VaultError> {
        let count = 2 + self.chance.below(4);
        for n in 0..count {
            let house = usize::try_from(self.chance.below(self.town.houses.len() as u64)).unwrap_or(0);
            let shillings = 500 + i64::try_from(self.chance.below(400)).unwrap_or(0) * 50;
            if let Some(loan) = house::make_loan(&mut self.town, house, n, shillings)
                && self.chance.happens(700)
            {
                self.approve(house, loan).await?;
            }
        }
        Ok(())
    }

    async fn approve(&mut self, house: usize, loan: u64) -> Result<(), VaultError> {
        let now = self.now();
        let Some(h) = self.town.houses.get(house).cloned() else { return Ok(()) };
        let done = {
            let mut w = self.town.world.lock();
            w.mifos.get_mut(&h.host).is_some_and(|m| m.bank_mut().approve(loan, now).is_ok())
        };
        if done {
            self.tell(format!("staff approve loan {loan} at {}", h.host));
            // Some partners use the documented webhook, some ask by name, most have the stock hook and the poll.
            if self.chance.happens(250) {
                self.webhook(house, loan).await?;
            }
            if self.chance.happens(100) {
                let engine = self.engine(0);
                let done = commands::start_loan(&engine, &self.town.operator, h.core, &loan.to_string()).await;
                self.survive(0, done)?;
            }
        }
        Ok(())
    }

    async fn webhook(&mut self, house: usize, loan: u64) -> Result<(), VaultError> {
        let Some(h) = self.town.houses.get(house).cloned() else { return Ok(()) };
        let body = serde_json::json!({ "eventType": "loan_approved", "partnerId": h.partner, "loanId": loan.to_string(), "clientId": "1", "webhookToken": h.webhook_token });
        let inbound = Inbound {
            kind: Kind::LoanWebhook,
            token: h.core.to_string(),
            peer: "127.0.0.1".into(),
            trusted: true,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        };
        self.store(0, &inbound).await
    }

    fn engine(&self, process: usize) -> std::sync::Arc<pv_vault::Engine> {
        let index = process % self.town.processes.len().max(1);
        match self.town.processes.get(index) {
            Some(p) => p.quick.clone(),
            None => unreachable!("a town has processes"),
        }
    }

    /// Stores a message through a process; a process that dies on it answers nothing, and nobody repeats it.
    async fn store(&mut self, process: usize, inbound: &Inbound) -> Result<(), VaultError> {
        let engine = self.engine(process);
        match message::store_inbound(&engine, inbound).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_crash() => {
                self.crashed(process);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A refusal is an answer, and a process may die on a person's command: neither is a fault of the run.
    fn survive(&mut self, process: usize, done: Result<(), VaultError>) -> Result<(), VaultError> {
        match done {
            Err(VaultError::Refused(_)) => Ok(()),
            Err(VaultError::Db(error)) if error.is_retryable() => Ok(()),
            Err(error) if error.is_crash() => {
                self.crashed(process);
                Ok(())
            }
            other => other,
        }
    }

    fn crashed(&mut self, process: usize) {
        self.crashes += 1;
        self.tell(format!("process {process} dies"));
        // Everything it had under way is gone with it.
        self.under.retain(|u| {
            if u.process == process {
                u.task.abort();
            }
            u.process != process
        });
        if let Some(p) = self.town.processes.get(process) {
            p.fate.lives();
        }
    }

    /// One thing happens.
    async fn something(&mut self) -> Result<(), VaultError> {
        self.take_due();
        match self.chance.below(100) {
            0..=44 => self.step().await?,
            45..=59 => self.deliver().await?,
            60..=67 => self.resume().await?,
            68..=84 => self.time_passes(),
            85..=88 => self.staff().await?,
            89..=91 => self.person().await?,
            92..=93 => self.forger().await?,
            94..=95 => self.outage(),
            96 => self.stop().await?,
            97 => self.money().await?,
            98 => self.credential_goes_bad(),
            _ => self.sightings_by_poll().await?,
        }
        Ok(())
    }

    fn take_due(&mut self) {
        let now = self.now();
        let due = self.town.world.lock().take_due(now);
        self.inbox.extend(due);
    }

    fn time_passes(&mut self) {
        let millis = match self.chance.below(20) {
            0..=9 => 100 + self.chance.below(2_000),
            10..=15 => 2_000 + self.chance.below(10_000),
            16..=17 => 30_000 + self.chance.below(120_000),
            18 => 300_000 + self.chance.below(600_000),
            _ => 600_000 + self.chance.below(4_500_000),
        };
        self.town.time.advance(Duration::from_millis(millis));
    }

    /// A step of some process runs, until it ends, dies, or parks a call.
    async fn step(&mut self) -> Result<(), VaultError> {
        let process = usize::try_from(self.chance.below(2)).unwrap_or(0);
        let slow = self.chance.happens(300);
        let pool = [
            Step::Weigh,
            Step::Weigh,
            Step::Intake,
            Step::Intake,
            Step::Pay,
            Step::Pay,
            Step::Pay,
            Step::Ask,
            Step::Ask,
            Step::Book,
            Step::Book,
            Step::Poll,
            Step::Balance,
            Step::Sequence,
            Step::Notify,
            Step::Text,
            Step::Fold,
            Step::Watch,
        ];
        let step = self.chance.pick(&pool).copied().unwrap_or(Step::Pay);
        let crash = self.storm > 0 && self.chance.happens(60);
        let points = i64::try_from(self.chance.below(9)).unwrap_or(0);
        let Some(p) = self.town.processes.get(process) else { return Ok(()) };
        if crash {
            p.fate.dies_after(points);
        }
        let engine = if slow { p.slow.clone() } else { p.quick.clone() };
        let task = tokio::spawn(async move { engine.run(step).await });
        self.watch(Under { process, step, task, go: None }).await
    }

    /// A parked call goes on.
    async fn resume(&mut self) -> Result<(), VaultError> {
        if self.under.is_empty() {
            return self.step().await;
        }
        let index = usize::try_from(self.chance.below(self.under.len() as u64)).unwrap_or(0);
        let mut u = self.under.remove(index);
        if let Some(go) = u.go.take() {
            let _gone = go.send(());
        }
        self.watch(u).await
    }

    /// Waits until a step ends or parks. Only one runs at a time: what happens next is the seed's choice, not the machine's.
    async fn watch(&mut self, mut u: Under) -> Result<(), VaultError> {
        tokio::select! {
            biased;
            done = &mut u.task => {
                match done {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) if error.is_crash() => self.crashed(u.process),
                    Ok(Err(VaultError::Db(error))) if error.is_retryable() => self.tell(format!("{} is run again: {error}", u.step.name())),
                    Ok(Err(VaultError::Ledger(error))) if error.is_retryable() => self.tell(format!("{} is run again: {error}", u.step.name())),
                    Ok(Err(error)) => {
                        self.tell(format!("step {} fails: {error}", u.step.name()));
                        self.violations.push(format!("step {} fails: {error}", u.step.name()));
                    }
                    Err(join) => self.violations.push(format!("step {} panics: {join}", u.step.name())),
                }
            }
            parked = self.town.parked.recv() => {
                u.go = parked.map(|p| p.0);
                self.under.push(u);
            }
        }
        Ok(())
    }

    /// Something from outside arrives; or is lost, or comes twice.
    async fn deliver(&mut self) -> Result<(), VaultError> {
        if self.inbox.is_empty() {
            return self.step().await;
        }
        let index = usize::try_from(self.chance.below(self.inbox.len() as u64)).unwrap_or(0);
        let pending = self.inbox.remove(index);
        if self.storm > 0 && self.chance.happens(40) {
            self.tell(format!("lost on the way: {}", pending.delivery.what));
            return Ok(());
        }
        if self.storm > 0 && self.chance.happens(50) {
            self.inbox.push(pending.clone());
        }
        let process = usize::try_from(self.chance.below(2)).unwrap_or(0);
        if self.storm > 0
            && self.chance.happens(30)
            && let Some(p) = self.town.processes.get(process)
        {
            p.fate.dies_after(i64::try_from(self.chance.below(2)).unwrap_or(0));
        }
        self.arrive(process, &pending).await
    }

    async fn arrive(&mut self, process: usize, pending: &Pending) -> Result<(), VaultError> {
        let request = &pending.delivery.request;
        self.tell(format!("arrives: {}", pending.delivery.what));
        if request.method() == http::Method::POST
            && let Some(inbound) = self.inbound(request).await?
        {
            self.store(process, &inbound).await?;
        }
        let now = self.now();
        self.town.world.lock().delivered(now, pending, Some(200));
        Ok(())
    }

    /// What the door makes of a request: path to kind and token.
    async fn inbound(&self, request: &http::Request<bytes::Bytes>) -> Result<Option<Inbound>, VaultError> {
        let path = request.uri().path().to_owned();
        let headers: Vec<(String, String)> =
            request.headers().iter().filter_map(|(k, v)| Some((k.as_str().to_owned(), v.to_str().ok()?.to_owned()))).collect();
        let make = |kind, token: String| Inbound {
            kind,
            token,
            peer: "196.201.214.200".into(),
            trusted: true,
            headers: headers.clone(),
            body: request.body().to_vec(),
        };
        if let Some(rest) = path.strip_prefix("/h/") {
            let Some((token, tail)) = rest.split_once('/') else { return Ok(None) };
            let kind = match tail {
                "b2c/result" => Kind::B2cResult,
                "b2c/timeout" => Kind::B2cTimeout,
                "status/result" => Kind::StatusResult,
                "status/timeout" => Kind::StatusTimeout,
                "balance/result" => Kind::BalanceResult,
                "balance/timeout" => Kind::BalanceTimeout,
                _ => return Ok(None),
            };
            return Ok(Some(make(kind, token.to_owned())));
        }
        let Some(token) = path.strip_prefix("/api/mifos/webhook/loan-approval/").map(|t| t.trim_end_matches('/')) else { return Ok(None) };
        let engine = self.engine(0);
        let mut tx = self.db.begin(pv_database::Scope::Worker).await?;
        let owner = webhook::find_core_by_token(tx.conn(), &engine.keys, token, self.now()).await?;
        Ok(owner.map(|o| make(Kind::LoanHook, o.core_id.to_string())))
    }

    /// People at the core do what people do.
    async fn staff(&mut self) -> Result<(), VaultError> {
        let house = usize::try_from(self.chance.below(self.town.houses.len() as u64)).unwrap_or(0);
        let Some(h) = self.town.houses.get(house).cloned() else { return Ok(()) };
        let Some(loan) = self.chance.pick(&h.loans).copied() else { return Ok(()) };
        let now = self.now();
        let choice = self.chance.below(10);
        if choice < 5 {
            return self.approve(house, loan).await;
        }
        let told = {
            let mut w = self.town.world.lock();
            let Some(m) = w.mifos.get_mut(&h.host) else { return Ok(()) };
            let bank = m.bank_mut();
            match choice {
                5 => bank.undo_approval(loan, now).ok().map(|()| "undo the approval of"),
                6 => bank
                    .loan(loan)
                    .and_then(|l| l.client_id)
                    .filter(|c| bank.edit_client_phone(*c, Some("0799000111")))
                    .map(|_| "edit the phone of the client of"),
                7 => bank.disburse_by_hand(loan, "CASH", now).ok().map(|_| "disburse by hand"),
                8 => bank.reject(loan, now).ok().map(|()| "reject"),
                _ => bank.edit_loan_amount(loan, 77_700).ok().map(|()| "edit the amount of"),
            }
        };
        if let Some(what) = told {
            self.tell(format!("staff {what} loan {loan} at {}", h.host));
        }
        Ok(())
    }

    /// A person at our side retries, cancels or approves something.
    async fn person(&mut self) -> Result<(), VaultError> {
        let partners: Vec<Uuid> = self.town.houses.iter().map(|h| h.partner.uuid()).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar("select id from disbursements where partner_id = any($1) order by created_at, id")
            .bind(&partners)
            .fetch_all(self.db.worker())
            .await?;
        let Some(id) = self.chance.pick(&ids).copied().map(DisbursementId) else { return Ok(()) };
        let engine = self.engine(0);
        let op = self.town.operator.clone();
        let (what, done) = match self.chance.below(4) {
            0 => ("cancels", commands::cancel(&engine, &op, id, "the seed says so").await.map(|_| ())),
            1 => ("approves", commands::approve(&engine, &op, id, "the seed says so").await.map(|_| ())),
            _ => ("retries", commands::retry(&engine, &op, id, "the seed says so").await.map(|_| ())),
        };
        if done.is_ok() {
            self.tell(format!("a person {what} {id}"));
        }
        self.survive(0, done)
    }

    /// Somebody forges a success: at an unknown path, from a wrong address, with another amount.
    async fn forger(&mut self) -> Result<(), VaultError> {
        let partners: Vec<Uuid> = self.town.houses.iter().map(|h| h.partner.uuid()).collect();
        let rows: Vec<(String, String, String, String, i64, Option<String>)> = sqlx::query_as(
            "select p.token, p.rail_id, p.msisdn, s.shortcode, p.amount_minor, p.conversation_id from payouts p join mpesa_shortcodes s on s.id = p.shortcode_id
             where p.partner_id = any($1) order by p.prepared_at, p.id",
        )
        .bind(&partners)
        .fetch_all(self.db.worker())
        .await?;
        let Some((token, rail_id, msisdn, shortcode, amount, conversation)) = self.chance.pick(&rows).cloned() else { return Ok(()) };
        let conversation = conversation.unwrap_or_else(|| "AG_20261120_00000000000000000000".to_owned());
        let how = self.chance.below(3);
        let cents = if how == 2 { amount + 100 } else { amount };
        let receipt = format!("FAKE{:06}", self.chance.below(1_000_000));
        let now = self.now();
        let parts = {
            let w = self.town.world.lock();
            let Some(balances) = w.daraja.balances(&shortcode) else { return Ok(()) };
            ResultParts::b2c_success((&rail_id, &conversation, &receipt), cents, &format!("{msisdn} - TEST BORROWER"), now, balances)
        };
        let body = result_body(&parts).to_vec();
        let token = if how == 0 { "0123456789abcdef0123456789abcdef".to_owned() } else { token };
        self.tell(format!(
            "a forger claims success for {rail_id} ({})",
            ["unknown path", "wrong address", "another amount"].get(usize::try_from(how).unwrap_or(0)).unwrap_or(&"?")
        ));
        self.store(0, &Inbound { kind: Kind::B2cResult, token, peer: "203.0.113.9".into(), trusted: how == 2, headers: Vec::new(), body }).await
    }

    fn outage(&mut self) {
        if self.storm == 0 {
            return;
        }
        let from = self.now();
        let until = from + chrono::Duration::seconds(20 + i64::try_from(self.chance.below(600)).unwrap_or(0));
        let which = self.chance.below(2);
        let host = self.chance.pick(&self.town.houses).map(|h| h.host.clone());
        let mut w = self.town.world.lock();
        if which == 0 {
            w.daraja.outage(Outage { target: OutageTarget::Host, from, until, form: OutageForm::Closed });
        } else if let Some(m) = host.and_then(|h| w.mifos.get_mut(&h)) {
            m.down(from, until);
        }
    }

    async fn stop(&mut self) -> Result<(), VaultError> {
        let engine = self.engine(0);
        let op = self.town.operator.clone();
        let Some(h) = self.chance.pick(&self.town.houses).cloned() else { return Ok(()) };
        if self.chance.happens(500) {
            self.tell("STOP is pressed");
            let done = stop::set(&engine, &op, StopTarget::Partner(h.partner), "the seed says so").await.map(|_| ());
            return self.survive(0, done);
        }
        self.lift_stops().await
    }

    async fn lift_stops(&mut self) -> Result<(), VaultError> {
        let engine = self.engine(0);
        let op = self.town.operator.clone();
        let Ok(stops) = stop::list(&engine, &op).await else { return Ok(()) };
        for s in stops {
            if s.lifted_at.is_none() && s.partner_id.is_some_and(|p| self.town.houses.iter().any(|h| h.partner == p)) {
                let done = stop::lift(&engine, &op, s.id, "the seed says so").await.map(|_| ());
                self.survive(0, done)?;
            }
        }
        Ok(())
    }

    /// Money comes: into a wallet, or into a float.
    async fn money(&mut self) -> Result<(), VaultError> {
        let Some(h) = self.chance.pick(&self.town.houses).cloned() else { return Ok(()) };
        if self.chance.happens(500) {
            let reference = format!("seed-{}", self.chance.draw());
            return self.top_up(&h, 5_000, &reference).await;
        }
        let now = self.now();
        let _funded = self.town.world.lock().daraja.fund(now, &h.number, 1_000_000);
        Ok(())
    }

    async fn top_up(&mut self, h: &house::House, minor: i64, reference: &str) -> Result<(), VaultError> {
        let engine = self.engine(0);
        let a = adjust::Adjustment {
            partner: h.partner,
            amount: Money::from_minor(minor),
            reference: reference.to_owned(),
            reason: "the seed says so".into(),
        };
        let done = adjust::adjust(&engine, &self.town.operator, &a).await.map(|_| ());
        self.survive(0, done)
    }

    /// Somebody changes the initiator's password at the portal and tells nobody.
    fn credential_goes_bad(&mut self) {
        if self.storm < 2 {
            return;
        }
        let index = usize::try_from(self.chance.below(self.town.houses.len() as u64)).unwrap_or(0);
        let Some(number) = self.town.houses.get(index).map(|h| h.number.clone()) else { return };
        self.tell(format!("the initiator password of {number} is changed at the portal"));
        let _done = self.town.world.lock().daraja.reset_operator(&number, "vaultapi", "Changed#2026");
        if let Some(bad) = self.bad_credential.get_mut(index) {
            *bad = true;
        }
    }

    async fn mend_credentials(&mut self) -> Result<(), VaultError> {
        let engine = self.engine(0);
        for (index, h) in self.town.houses.clone().into_iter().enumerate() {
            if self.bad_credential.get(index).copied().unwrap_or(false) {
                self.tell(format!("the new password of {} is stored", h.number));
                let _done = self.town.world.lock().daraja.reset_operator(&h.number, "vaultapi", "Changed#2026");
                house::credential(&engine, &self.town.operator, h.shortcode, &h.number, "Changed#2026").await?;
            }
            let list = credential::list(&engine, &self.town.operator, h.shortcode).await?;
            if let Some(active) = list.iter().find(|c| c.is_active && c.halted_at.is_some()) {
                credential::lift_halt(&engine, &self.town.operator, active.id.into(), "the seed says so").await?;
            }
        }
        Ok(())
    }

    /// The same loan is reported once more by another way.
    async fn sightings_by_poll(&mut self) -> Result<(), VaultError> {
        let Some(h) = self.chance.pick(&self.town.houses).cloned() else { return Ok(()) };
        let Some(loan) = self.chance.pick(&h.loans).copied() else { return Ok(()) };
        let engine = self.engine(1);
        let s = Sighting {
            partner: h.partner.uuid(),
            core_id: h.core.uuid(),
            loan_id: loan.to_string(),
            way: "poll",
            claimed: None,
            asked_by: None,
            create: true,
        };
        let done = async {
            let mut tx = engine.begin().await?;
            sighting::upsert_in_tx(tx.conn(), &engine, &[s]).await?;
            Ok::<(), VaultError>(tx.commit().await?)
        }
        .await;
        self.survive(1, done)
    }

    /// The storm is over: everything that can come to rest does.
    async fn quiet(&mut self) -> Result<(), VaultError> {
        self.tell("the storm is over");
        for p in &self.town.processes {
            p.fate.lives();
        }
        for u in std::mem::take(&mut self.under) {
            // Frozen for long, they come back now: their deadlines hold them off (rule A4).
            let mut u = u;
            if let Some(go) = u.go.take() {
                let _gone = go.send(());
            }
            self.finish(u).await;
        }
        self.storm = 0;
        self.faults();
        let now = self.now();
        {
            let mut w = self.town.world.lock();
            w.daraja.set_faults(DarajaFaults::default());
            for h in &self.town.houses {
                let _funded = w.daraja.fund(now, &h.number, 100_000_000);
            }
            let parked: Vec<(String, u64)> = w
                .mifos
                .iter()
                .flat_map(|(host, m)| {
                    m.bank().commands().filter(|c| matches!(c.outcome, CommandOutcome::Parked)).map(|c| (host.clone(), c.id)).collect::<Vec<_>>()
                })
                .collect();
            for (host, command) in parked {
                if let Some(m) = w.mifos.get_mut(&host) {
                    let _done = m.bank_mut().checker_approve(command, now);
                }
            }
        }
        self.lift_stops().await?;
        self.mend_credentials().await?;
        for h in self.town.houses.clone() {
            self.top_up(&h, 1_000_000, "rest").await?;
        }
        let end = self.now() + chrono::Duration::hours(30);
        for _ in 0..600 {
            self.round().await?;
            match self.next_moment().await? {
                Some(next) if next <= end => self.town.time.advance_to(next.max(self.now() + chrono::Duration::milliseconds(1))),
                _ => break,
            }
        }
        Ok(())
    }

    async fn finish(&mut self, mut u: Under) {
        loop {
            tokio::select! {
                biased;
                done = &mut u.task => {
                    match done {
                        Ok(Err(error)) if error.is_crash() => self.crashes += 1,
                        Ok(Err(error)) if !may_run_again(&error) => self.violations.push(format!("step {} fails: {error}", u.step.name())),
                        Ok(_) | Err(_) => {}
                    }
                    return;
                }
                parked = self.town.parked.recv() => {
                    if let Some(p) = parked {
                        let _gone = p.0.send(());
                    }
                }
            }
        }
    }

    /// Everything that is due happens once.
    async fn round(&mut self) -> Result<(), VaultError> {
        for _ in 0..20 {
            self.take_due();
            for pending in std::mem::take(&mut self.inbox) {
                self.arrive(0, &pending).await?;
            }
            let mut taken = 0;
            for step in [Step::Weigh, Step::Poll, Step::Intake, Step::Pay, Step::Ask, Step::Book, Step::Balance] {
                let engine = self.engine(0);
                match engine.run(step).await {
                    Ok(worked) => taken += if step == Step::Balance { 0 } else { worked.taken },
                    Err(VaultError::Db(error)) if error.is_retryable() => taken += 1,
                    Err(error) => {
                        self.violations.push(format!("step {} fails at rest: {error}", step.name()));
                        return Ok(());
                    }
                }
            }
            if taken == 0 {
                break;
            }
        }
        for step in [Step::Watch, Step::Sequence, Step::Notify, Step::Text, Step::Fold] {
            let engine = self.engine(0);
            if let Err(error) = engine.run(step).await {
                self.violations.push(format!("step {} fails at rest: {error}", step.name()));
            }
        }
        Ok(())
    }

    /// The timelines of all disbursements that a violation names, for the story of the affected loan.
    async fn ledger_of_events(&mut self) -> Result<(), VaultError> {
        let partners: Vec<Uuid> = self.town.houses.iter().map(|h| h.partner.uuid()).collect();
        let lines: Vec<TimelineRow> = sqlx::query_as(
            "select disbursement_id, at, lane, what, detail from disbursement_events where partner_id = any($1) order by disbursement_id, id",
        )
        .bind(&partners)
        .fetch_all(self.db.worker())
        .await?;
        let named = self.violations.join(" ");
        for TimelineRow { disbursement_id: id, at, lane, what, detail } in lines {
            if named.contains(&id.to_string()) {
                self.story.push(format!("{id} {} {lane}: {what} {}", at.format("%d %H:%M:%S%.3f"), detail.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// The next moment at which anything is due.
    async fn next_moment(&self) -> Result<Option<DateTime<Utc>>, VaultError> {
        let partners: Vec<Uuid> = self.town.houses.iter().map(|h| h.partner.uuid()).collect();
        let due: Option<DateTime<Utc>> = sqlx::query_scalar(
            "select min(t) from (
                 select min(due_at) as t from disbursements where partner_id = any($1)
                 union all select min(due_at) from payouts where partner_id = any($1)
                 union all select min(due_at) from bookings where partner_id = any($1)
                 union all select min(due_at) from loan_sightings where partner_id = any($1)
                 union all select min(due_at) from sms_notifications where partner_id = any($1)
                 union all select min(due_at) from messages where partner_id = any($1)
                 union all select min(next_balance_at) from mpesa_shortcodes where partner_id = any($1)
                     and exists (select from disbursements d where d.partner_id = mpesa_shortcodes.partner_id and d.reason = 'waiting_float' and d.state = 'waiting')) x",
        )
        .bind(&partners)
        .fetch_one(self.db.worker())
        .await?;
        let world = self.town.world.lock().next_due();
        Ok(due.into_iter().chain(world).min())
    }
}

/// A line of a timeline.
#[derive(sqlx::FromRow)]
struct TimelineRow {
    disbursement_id: Uuid,
    at: DateTime<Utc>,
    lane: String,
    what: String,
    detail: Option<String>,
}

/// The step left nothing behind and is simply run again.
fn may_run_again(error: &VaultError) -> bool {
    match error {
        VaultError::Db(error) => error.is_retryable(),
        VaultError::Ledger(error) => error.is_retryable(),
        _ => false,
    }
}
