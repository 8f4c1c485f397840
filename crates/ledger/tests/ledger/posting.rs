//! Posting: balances, replays, rollbacks, facts, books.

use chrono::Duration;
use pv_kernel::ids::TransferId;
use pv_ledger::{AccountKind, AccountRef, Answer, BATCH_CAP, Command, Ended, Invalid, LedgerError, NewAccount, open_accounts_in_tx, post_in_tx};
use serde_json::json;

use crate::support::{
    Counter, Ledger, accounts, bank, charge, clearing, end, first_partner, income, kes, key, now, second_partner, subject, suspense, top_up,
    transfer, utility, wallet,
};

#[tokio::test]
async fn a_batch_is_answered_one_by_one_and_in_order() {
    let ledger = Ledger::new().await;
    let answers = ledger
        .post(&[
            top_up(1, 1_000),
            charge(2, 300).hold(),
            charge(3, 800).hold(),
            charge(4, 700).post(),
            end(2, 5).post(),
            end(2, 6).void(),
            end(99, 7).void(),
            charge(8, 1).post(),
        ])
        .await;
    let Answer::Posted(by) = answers[4] else { panic!("{answers:?}") };
    assert!(matches!(answers[0], Answer::Posted(_)));
    assert!(matches!(answers[1], Answer::Posted(_)));
    assert_eq!(answers[2], Answer::Insufficient { available: kes(700), needed: kes(800) });
    assert!(matches!(answers[3], Answer::Posted(_)));
    assert_eq!(answers[5], Answer::HoldEnded { as_: Ended::Post, by });
    assert_eq!(answers[6], Answer::NoSuchHold);
    assert_eq!(answers[7], Answer::Insufficient { available: kes(0), needed: kes(1) });
    assert_eq!(ledger.balance(&clearing(first_partner())).await.posted, kes(1_000));
    ledger.assert_clean().await;
}

#[tokio::test]
async fn a_hold_counts_at_once_and_a_void_frees_it() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 500), charge(2, 500).hold()]).await;
    let held = ledger.balance(&wallet(first_partner())).await;
    assert_eq!((held.posted, held.held, held.available), (kes(500), kes(500), kes(0)));
    assert_eq!(ledger.balance(&clearing(first_partner())).await.posted, kes(0));
    ledger.must_post(&[end(2, 3).void()]).await;
    let free = ledger.balance(&wallet(first_partner())).await;
    assert_eq!((free.posted, free.held, free.available), (kes(500), kes(0), kes(500)));
    assert_eq!(ledger.post(&[end(2, 4).post()]).await, [ledger_ended(&ledger, Ended::Void, 3).await]);
}

async fn ledger_ended(ledger: &Ledger, as_: Ended, own: u128) -> Answer {
    let id = sqlx::query_scalar("select id from ledger_transfers where subject = $1").bind(subject(own)).fetch_one(ledger.db.worker()).await.unwrap();
    Answer::HoldEnded { as_, by: TransferId(id) }
}

#[tokio::test]
async fn posting_a_batch_again_changes_nothing() {
    let ledger = Ledger::new().await;
    let batch = [top_up(1, 1_000), charge(2, 400).hold(), end(2, 3).post(), charge(4, 600).post(), top_up(5, 1)];
    let first = ledger.must_post(&batch).await;
    let before = ledger.balance(&wallet(first_partner())).await;
    let again: Vec<Answer> = first.iter().map(|answer| Answer::AlreadyPosted(answer.transfer().unwrap())).collect();
    assert_eq!(ledger.post(&batch).await, again);
    // One by one, and backwards.
    for (command, answer) in batch.iter().zip(&again).rev() {
        assert_eq!(ledger.post(std::slice::from_ref(command)).await, [*answer]);
    }
    assert_eq!(ledger.balance(&wallet(first_partner())).await, before);
    assert_eq!(ledger.count("select count(*) from ledger_transfers").await, 5);
    ledger.assert_clean().await;
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let ledger = Ledger::new().await;
    let mut tx = ledger.begin().await;
    post_in_tx(tx.conn(), &ledger.ids, now(), &[top_up(1, 1_000), charge(2, 10).hold()]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(ledger.count("select count(*) from ledger_transfers").await, 0);
    assert_eq!(ledger.balance(&wallet(first_partner())).await.available, kes(0));
    assert_eq!(ledger.balance(&bank()).await.posted, kes(0));
    ledger.must_post(&[top_up(1, 1_000)]).await;
}

#[tokio::test]
async fn a_key_with_other_content_is_a_conflict_and_the_first_stands() {
    let ledger = Ledger::new().await;
    let first = ledger.must_post(&[top_up(1, 1_000)]).await[0].transfer().unwrap();
    let conflict = Answer::KeyConflict { existing: first };
    let other_way = transfer(1, wallet(first_partner()), bank(), 1_000).fact();
    assert_eq!(ledger.post(&[top_up(1, 1_001), other_way, charge(1, 1_000).hold()]).await, [conflict; 3]);
    // Another generation is another transfer.
    let second = transfer(1, bank(), wallet(first_partner()), 1_001);
    let second = Command::Post(pv_ledger::Posting { key: key(1).generation(2), ..second });
    ledger.must_post(&[second]).await;
    assert_eq!(ledger.balance(&wallet(first_partner())).await.posted, kes(2_001));
}

#[tokio::test]
async fn a_fact_may_overdraw_and_then_commands_are_refused() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 100), charge(2, 250).fact()]).await;
    assert_eq!(ledger.balance(&wallet(first_partner())).await.available, kes(-150));
    assert_eq!(ledger.post(&[charge(3, 1).post()]).await, [Answer::Insufficient { available: kes(-150), needed: kes(1) }]);
    ledger.assert_clean().await;
}

#[tokio::test]
async fn accounts_of_two_books_never_meet() {
    let ledger = Ledger::new().await;
    let mixed = transfer(1, bank(), utility(), 5).fact();
    assert_eq!(ledger.post(&[mixed]).await, [Answer::Invalid(Invalid::BooksMix)]);
    assert_eq!(ledger.count("select count(*) from ledger_transfers").await, 0);
}

/// Inserts a row of the platform's book by hand and gives the name of the constraint that refused it.
async fn by_hand(ledger: &Ledger, kind: &str, debit: &AccountRef, credit: &AccountRef, amount: i64, resolves: Option<TransferId>) -> Option<String> {
    let refused = sqlx::query(
        "insert into ledger_transfers (id, book, subject, movement, generation, kind, debit, credit, amount, resolves, fact, at, recorded_at)
         values ($1, 'P', $1, 'by hand', 1, $2, $3, $4, $5, $6, false, $7, $7)",
    )
    .bind(subject(1_000))
    .bind(kind)
    .bind(debit.id().uuid())
    .bind(credit.id().uuid())
    .bind(amount)
    .bind(resolves.map(TransferId::uuid))
    .bind(now())
    .execute(ledger.db.worker())
    .await;
    refused.err().and_then(|error| error.as_database_error().and_then(|db| db.constraint().map(String::from)))
}

#[tokio::test]
async fn the_database_itself_refuses_mixed_books_and_false_ends_of_holds() {
    let ledger = Ledger::new().await;
    let answers = ledger.must_post(&[top_up(1, 100), charge(2, 30).hold()]).await;
    let (posted, hold) = (answers[0].transfer(), answers[1].transfer());
    let (wallet, clearing) = (wallet(first_partner()), clearing(first_partner()));
    let account = Some("ledger_transfers_account".to_owned());
    let differs = Some("ledger_transfers_hold".to_owned());
    assert_eq!(by_hand(&ledger, "posted", &bank(), &utility(), 5, None).await, account);
    assert_eq!(by_hand(&ledger, "posted", &AccountRef::platform("nowhere"), &bank(), 5, None).await, account);
    assert_eq!(by_hand(&ledger, "post", &wallet, &clearing, 29, hold).await, differs);
    assert_eq!(by_hand(&ledger, "void", &clearing, &wallet, 30, hold).await, differs);
    assert_eq!(by_hand(&ledger, "post", &wallet, &clearing, 100, posted).await, differs);
    assert_eq!(by_hand(&ledger, "post", &wallet, &clearing, 30, Some(TransferId(subject(404)))).await, differs);
    assert_eq!(by_hand(&ledger, "void", &wallet, &clearing, 30, hold).await, None);
}

#[tokio::test]
async fn both_books_are_posted_in_one_batch() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 70), transfer(2, utility(), suspense(), 900).fact(), transfer(3, suspense(), utility(), 900).hold()]).await;
    assert_eq!(ledger.balance(&suspense()).await.available, kes(0));
    assert_eq!(ledger.post(&[transfer(4, suspense(), utility(), 1).post()]).await, [Answer::Insufficient { available: kes(0), needed: kes(1) }]);
    ledger.assert_clean().await;
}

#[tokio::test]
async fn an_account_that_was_never_opened_refuses_its_command_only() {
    let ledger = Ledger::new().await;
    let nowhere = AccountRef::platform("nowhere");
    let answers = ledger.post(&[transfer(1, bank(), nowhere.clone(), 5).fact(), top_up(2, 5)]).await;
    assert_eq!(answers[0], Answer::UnknownAccount(nowhere.id()));
    assert!(matches!(answers[1], Answer::Posted(_)));
}

#[tokio::test]
async fn a_correction_names_an_existing_transfer() {
    let ledger = Ledger::new().await;
    let wrong = ledger.must_post(&[top_up(1, 500)]).await[0].transfer().unwrap();
    let reverse = |n, corrected| transfer(n, wallet(first_partner()), bank(), 500).corrects(corrected).fact();
    let nobody = TransferId(subject(404));
    assert_eq!(ledger.post(&[reverse(2, nobody)]).await, [Answer::Invalid(Invalid::CorrectsUnknown)]);
    ledger.must_post(&[reverse(3, wrong)]).await;
    assert_eq!(ledger.balance(&bank()).await.posted, kes(0));
    ledger.assert_clean().await;
}

#[tokio::test]
async fn two_partners_never_meet_in_one_transfer() {
    let ledger = Ledger::new().await;
    let across = transfer(1, wallet(first_partner()), wallet(second_partner()), 5).fact();
    assert_eq!(ledger.post(&[across]).await, [Answer::Invalid(Invalid::PartnersMix)]);
}

#[tokio::test]
async fn a_batch_over_the_cap_is_refused_whole_and_one_at_the_cap_is_taken() {
    let ledger = Ledger::new().await;
    let mut batch: Vec<Command> = (0..=BATCH_CAP as u128).map(|n| top_up(n + 1, 1)).collect();
    let mut tx = ledger.begin().await;
    let error = post_in_tx(tx.conn(), &ledger.ids, now(), &batch).await.unwrap_err();
    assert!(matches!(error, LedgerError::TooMany { given: 2_001, cap: 2_000 }));
    batch.truncate(BATCH_CAP);
    ledger.must_post(&batch).await;
    assert_eq!(ledger.balance(&wallet(first_partner())).await.posted, kes(2_000));
    assert_eq!(post_in_tx(tx.conn(), &ledger.ids, now(), &[]).await.unwrap(), []);
}

#[tokio::test]
async fn accounts_open_once_and_keep_what_they_are() {
    let ledger = Ledger::new().await;
    let mut tx = ledger.begin().await;
    assert_eq!(open_accounts_in_tx(tx.conn(), &accounts(), now() + Duration::days(1)).await.unwrap(), 0);
    let other = NewAccount::new(bank(), AccountKind::Liability);
    assert!(matches!(open_accounts_in_tx(tx.conn(), &[other], now()).await, Err(LedgerError::AccountDiffers { .. })));
    let nameless = NewAccount::new(AccountRef::platform(""), AccountKind::Asset);
    assert!(matches!(open_accounts_in_tx(tx.conn(), &[nameless], now()).await, Err(LedgerError::AccountName { .. })));
}

#[tokio::test]
async fn details_and_evidence_are_kept_with_the_transfer() {
    let ledger = Ledger::new().await;
    let detail = json!({"tariff": "13.00", "fee": "5.00"});
    ledger
        .must_post(&[top_up(1, 50), charge(2, 18).evidence(subject(77)).detail(detail.clone()).hold(), end(2, 3).evidence(subject(78)).post()])
        .await;
    let mut tx = ledger.begin().await;
    let found = pv_ledger::transfers_of(tx.conn(), &[subject(2), subject(3)]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].detail.as_ref(), found[0].evidence), (Some(&detail), Some(subject(77))));
    assert_eq!((found[1].resolves, found[1].evidence, found[1].amount), (Some(found[0].id), Some(subject(78)), kes(18)));
    assert_eq!(found[1].partner, Some(first_partner()));
}

#[tokio::test]
async fn ids_rise_within_a_batch_whatever_the_generator_says() {
    struct Falling(Counter);
    impl pv_kernel::Ids for Falling {
        fn uuid(&self, at: chrono::DateTime<chrono::Utc>) -> uuid::Uuid {
            let mut random = [0u8; 10];
            self.0.fill(&mut random);
            pv_kernel::clock::uuid_v7(at, random.map(|byte| 255 - byte))
        }
        fn fill(&self, bytes: &mut [u8]) {
            self.0.fill(bytes);
        }
    }
    let ledger = Ledger::new().await;
    let mut tx = ledger.begin().await;
    let batch = [top_up(1, 5), charge(2, 5).post(), top_up(3, 1), transfer(4, clearing(first_partner()), income(), 5).post()];
    let answers = post_in_tx(tx.conn(), &Falling(Counter::default()), now(), &batch).await.unwrap();
    let ids: Vec<TransferId> = answers.iter().filter_map(Answer::transfer).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.is_sorted(), "{ids:?}");
}
