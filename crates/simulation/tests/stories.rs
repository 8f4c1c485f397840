//! Whole stories of the house with a calm world: what must hold however the hints come.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;

use pv_database::temp::{Template, TestDatabase};
use pv_sandbox::daraja::PaymentState;
use pv_simulation::house::{self, Town};
use pv_vault::{
    Engine,
    disbursement::{
        commands, poll,
        sighting::{self, Sighting},
    },
    engine::Step,
    message::{self, Inbound, Kind},
    partner::core_link,
};

/// Runs the steps of all processes at the same time until nothing is left to do.
async fn work(town: &Town, rounds: usize) {
    for _ in 0..rounds {
        let pending = {
            let mut w = town.world.lock();
            w.take_due(town.time.now())
        };
        for p in pending {
            let path = p.delivery.request.uri().path().to_owned();
            let Some((token, tail)) = path.strip_prefix("/h/").and_then(|r| r.split_once('/')) else { continue };
            let kind = match tail {
                "b2c/result" => Kind::B2cResult,
                "status/result" => Kind::StatusResult,
                "balance/result" => Kind::BalanceResult,
                _ => continue,
            };
            let body = p.delivery.request.body().to_vec();
            let inbound = Inbound { kind, token: token.into(), peer: "196.201.214.200".into(), trusted: true, headers: Vec::new(), body };
            message::store_inbound(&town.processes[0].quick, &inbound).await.unwrap();
        }
        let mut tasks = Vec::new();
        for process in &town.processes {
            for step in [Step::Weigh, Step::Intake, Step::Pay, Step::Pay, Step::Ask, Step::Book] {
                let engine: Arc<Engine> = process.quick.clone();
                tasks.push(tokio::spawn(async move {
                    for attempt in 0..5 {
                        match engine.run(step).await {
                            Ok(_) => return,
                            Err(pv_vault::VaultError::Db(e)) if e.is_retryable() && attempt < 4 => eprintln!("{} again: {e}", step.name()),
                            Err(pv_vault::VaultError::Ledger(e)) if e.is_retryable() && attempt < 4 => eprintln!("{} again: {e}", step.name()),
                            Err(e) => panic!("{}: {e}", step.name()),
                        }
                    }
                }));
            }
        }
        for t in tasks {
            t.await.unwrap();
        }
        town.time.advance(std::time::Duration::from_millis(700));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_loans_each_reported_four_ways_at_the_same_instant_are_paid_once_each() {
    let database = TestDatabase::create(&Template::payvault()).await;
    let mut town = house::build(&database.db(), 900_001, 2).await.unwrap();
    for h in town.houses.clone() {
        let funds = pv_vault::wallet::adjust::Adjustment {
            partner: h.partner,
            amount: pv_kernel::Money::from_minor(1_000_000),
            reference: "more".into(),
            reason: "for fifty loans".into(),
        };
        pv_vault::wallet::adjust::adjust(&town.processes[0].quick, &town.operator, &funds).await.unwrap();
    }
    // Twenty-five loans a host: the same loan numbers on both.
    for house in 0..2 {
        for n in 0..25 {
            let loan = house::make_loan(&mut town, house, n, 1_000 + i64::try_from(n).unwrap()).unwrap();
            let host = town.houses[house].host.clone();
            let now = town.time.now();
            town.world.lock().mifos.get_mut(&host).unwrap().bank_mut().approve(loan, now).unwrap();
        }
    }
    let mut tasks = Vec::new();
    for h in town.houses.clone() {
        for loan in h.loans.clone() {
            for way in 0..4_usize {
                let engine = town.processes[way % 2].quick.clone();
                let (h, op) = (h.clone(), town.operator.clone());
                tasks.push(tokio::spawn(async move {
                    match way {
                        0 => {
                            let body = format!(r#"{{"eventType":"loan_approved","loanId":"{loan}","webhookToken":"{}"}}"#, h.webhook_token);
                            let inbound = Inbound {
                                kind: Kind::LoanWebhook,
                                token: h.core.to_string(),
                                peer: "::1".into(),
                                trusted: true,
                                headers: Vec::new(),
                                body: body.into_bytes(),
                            };
                            message::store_inbound(&engine, &inbound).await.unwrap();
                        }
                        1 => commands::start_loan(&engine, &op, h.core, &loan.to_string()).await.unwrap(),
                        2 => {
                            let hook = Sighting {
                                partner: h.partner.uuid(),
                                core_id: h.core.uuid(),
                                loan_id: loan.to_string(),
                                way: "hook",
                                claimed: None,
                                asked_by: None,
                                create: true,
                            };
                            let mut tx = engine.begin().await.unwrap();
                            sighting::upsert_in_tx(tx.conn(), &engine, &[hook]).await.unwrap();
                            tx.commit().await.unwrap();
                        }
                        _ => {
                            let settings = core_link::load_for(&engine, &op, h.core).await.unwrap();
                            poll::one(&engine, &settings).await.unwrap();
                        }
                    }
                }));
            }
        }
    }
    for t in tasks {
        t.await.unwrap();
    }
    work(&town, 60).await;
    let left: Vec<(String, Option<String>, Option<String>, i64)> = sqlx::query_as(
        "select d.state, b.state, coalesce(b.last_error, d.reason), count(*) from disbursements d left join bookings b on b.disbursement_id = d.id
         where d.state <> 'paid' or b.state <> 'booked' group by 1, 2, 3",
    )
    .fetch_all(database.db().worker())
    .await
    .unwrap();
    assert!(left.is_empty(), "not at rest: {left:?}");
    {
        let w = town.world.lock();
        let paid = w.daraja.payments().filter(|p| p.state == PaymentState::Paid).count();
        assert_eq!(w.daraja.payments().count(), 50, "one payout for each loan");
        assert_eq!(paid, 50);
        for h in &town.houses {
            let bank = w.mifos[&h.host].bank();
            assert!(h.loans.iter().all(|l| bank.loan(*l).unwrap().disbursements().count() == 1), "each booked once at {}", h.host);
        }
    }
    let (disbursements, with_proofs): (i64, i64) =
        sqlx::query_as("select (select count(*) from disbursements where state = 'paid'), (select count(*) from payout_proofs)")
            .fetch_one(database.db().worker())
            .await
            .unwrap();
    assert_eq!((disbursements, with_proofs), (50, 0));
    let report = pv_vault::reconciliation::verify::verify(&town.processes[0].quick).await.unwrap();
    assert!(report.is_clean(), "{}", report.render());
}
