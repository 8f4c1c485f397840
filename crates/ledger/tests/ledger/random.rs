//! Random batches against the naive model: the pure decision many times, the whole way through PostgreSQL some times.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::Config};
use pv_kernel::ids::TransferId;
use pv_ledger::{Answer, Command, TransferKind, decide::decide};
use uuid::Uuid;

use crate::{
    model::{Model, batches, players},
    support::{Ledger, kes},
};

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_batch_is_decided_as_its_commands_one_by_one(batches in batches()) {
        let mut model = Model::default();
        let mut next = 0u128;
        for batch in batches {
            let ids: Vec<TransferId> = batch.iter().map(|_| { next += 1; TransferId(Uuid::from_u128(next)) }).collect();
            let plan = decide(model.state(), &ids, &batch);
            let expected: Vec<Answer> = batch.iter().zip(&ids).map(|(command, id)| model.answer(command, *id)).collect();
            prop_assert_eq!(plan.answers, expected);
        }
    }

    #[test]
    fn commands_never_take_a_wallet_further_down_than_its_facts(batches in batches()) {
        let mut model = Model::default();
        let wallet = players()[0].id();
        let mut facts = 0;
        for (n, command) in (1u128..).zip(batches.concat()) {
            let written = matches!(model.answer(&command, TransferId(Uuid::from_u128(n))), Answer::Posted(_));
            if let Command::Post(posting) = &command && written && posting.fact && posting.debit.id() == wallet {
                facts += posting.amount.minor();
            }
            prop_assert!(model.posted(wallet) - model.held(wallet) >= -facts);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 12, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_database_answers_as_the_model_and_verifies_clean(batches in batches(), folds in prop::collection::vec(0..9i64, 8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::new().await;
            let mut model = Model::default();
            for (batch, fold) in batches.iter().zip(&folds) {
                let answers = ledger.post(batch).await;
                for (command, answer) in batch.iter().zip(&answers) {
                    let id = if let Answer::Posted(id) = answer { *id } else { TransferId(Uuid::nil()) };
                    assert_eq!(model.answer(command, id), *answer, "{command:?}");
                }
                if *fold > 0 {
                    ledger.fold(*fold).await;
                }
                for account in players() {
                    let balance = ledger.balance(&account).await;
                    assert_eq!((balance.posted, balance.held), (kes(model.posted(account.id())), kes(model.held(account.id()))), "{account}");
                }
                ledger.assert_clean().await;
            }
            // The same again changes nothing.
            let rows = ledger.count("select count(*) from ledger_transfers").await;
            let mut written_now = Vec::new();
            for answer in ledger.post(&batches.concat()).await {
                // A command refused then may be good now; a written one is never written again.
                if let Answer::Posted(id) = answer {
                    written_now.push(id);
                }
                assert!(answer.transfer().is_none_or(|id| model.ids.contains(&id) || written_now.contains(&id)));
            }
            let known: i64 = sqlx::query_scalar("select count(*) from ledger_transfers where id = any($1)")
                .bind(model.ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
                .fetch_one(ledger.db.worker())
                .await
                .unwrap();
            assert_eq!(known, rows);
            while ledger.fold(7).await.more {}
            ledger.assert_clean().await;
        });
    }
}

#[test]
fn the_random_commands_reach_every_kind_of_row() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut kinds: BTreeMap<TransferKind, usize> = BTreeMap::new();
    for _ in 0..50 {
        let mut model = Model::default();
        let commands = batches().new_tree(&mut runner).unwrap().current().concat();
        for (n, command) in (1u128..).zip(&commands) {
            model.answer(command, TransferId(Uuid::from_u128(n)));
        }
        for (kind, count) in model.kinds() {
            *kinds.entry(kind).or_default() += count;
        }
    }
    for kind in [TransferKind::Posted, TransferKind::Pending, TransferKind::Post, TransferKind::Void] {
        assert!(kinds.get(&kind).is_some_and(|count| *count > 10), "{kinds:?}");
    }
}
