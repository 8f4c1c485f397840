//! Many at once: nothing is overdrawn, nothing is written twice, nothing is skipped by the fold.

use std::{sync::Arc, time::Duration};

use pv_ledger::{Answer, Command, Ended, LedgerError, post_in_tx};

use crate::support::{Counter, Ledger, bank, charge, clearing, end, first_partner, income, kes, now, second_partner, top_up, transfer, wallet};

/// Posts as a step of the product would: again, when it lost a race.
async fn post_until_settled(ledger: &Ledger, stream: u64, commands: &[Command]) -> Vec<Answer> {
    let ids = Counter::stream(stream);
    loop {
        let mut tx = ledger.begin().await;
        match post_in_tx(tx.conn(), &ids, now(), commands).await {
            Ok(answers) => {
                tx.commit().await.unwrap();
                return answers;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                tx.rollback().await.unwrap();
            }
        }
    }
}

/// Runs one task for each batch, all at once, and gathers their answers.
async fn all_at_once(ledger: &Arc<Ledger>, batches: Vec<Vec<Command>>) -> Vec<Vec<Answer>> {
    let tasks: Vec<_> = (1u64..)
        .zip(batches)
        .map(|(stream, batch)| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move { post_until_settled(&ledger, stream, &batch).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn written(answers: &[Vec<Answer>]) -> usize {
    answers.iter().flatten().filter(|answer| matches!(answer, Answer::Posted(_))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_on_one_wallet_never_overdraw_it() {
    let ledger = Arc::new(Ledger::new().await);
    ledger.must_post(&[top_up(1, 1_000)]).await;
    let batches = (0..40u128).map(|n| vec![charge(100 + 2 * n, 30).hold(), charge(101 + 2 * n, 20).post()]).collect();
    let answers = all_at_once(&ledger, batches).await;
    let taken: i64 =
        answers.iter().map(|pair| i64::from(matches!(pair[0], Answer::Posted(_))) * 30 + i64::from(matches!(pair[1], Answer::Posted(_))) * 20).sum();
    let left = ledger.balance(&wallet(first_partner())).await;
    assert_eq!(left.available, kes(1_000 - taken));
    assert!((0..20).contains(&left.available.minor()), "{left:?}");
    ledger.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_command_from_many_tasks_is_written_once() {
    let ledger = Arc::new(Ledger::new().await);
    let unbounded = || transfer(2, bank(), income(), 7).fact();
    let answers = all_at_once(&ledger, (0..16).map(|_| vec![top_up(1, 50), unbounded()]).collect()).await;
    assert_eq!(written(&answers), 2);
    assert!(answers.iter().flatten().all(|answer| answer.transfer().is_some()), "{answers:?}");
    assert_eq!(ledger.balance(&wallet(first_partner())).await.posted, kes(50));
    assert_eq!(ledger.balance(&income()).await.posted, kes(7));
    ledger.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_that_many_want_to_end_ends_once() {
    let ledger = Arc::new(Ledger::new().await);
    // One on a bounded account, where the lock decides; one between unbounded ones, where the unique index does.
    ledger.must_post(&[top_up(1, 50), charge(2, 50).hold(), transfer(3, clearing(first_partner()), bank(), 9).hold()]).await;
    let ends = |n: u128| {
        if n.is_multiple_of(2) { vec![end(2, 100 + n).post(), end(3, 200 + n).void()] } else { vec![end(2, 100 + n).void(), end(3, 200 + n).post()] }
    };
    let answers = all_at_once(&ledger, (0..12).map(ends).collect()).await;
    assert_eq!(written(&answers), 2);
    let over = |answer: &&Answer| matches!(answer, Answer::HoldEnded { .. });
    assert_eq!(answers.iter().flatten().filter(over).count(), 22);
    ledger.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_over_many_accounts_in_any_order_do_not_deadlock() {
    let ledger = Arc::new(Ledger::new().await);
    let both = |n: u128| {
        let (one, other) = if n.is_multiple_of(2) { (first_partner(), second_partner()) } else { (second_partner(), first_partner()) };
        vec![transfer(100 + n, bank(), wallet(one), 1).fact(), transfer(300 + n, bank(), wallet(other), 1).fact()]
    };
    let answers = all_at_once(&ledger, (0..40).map(both).collect()).await;
    assert_eq!(written(&answers), 80);
    assert_eq!(ledger.balance(&wallet(second_partner())).await.posted, kes(40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_taken_between_read_and_write_is_answered_and_the_rest_of_the_batch_stands() {
    let ledger = Arc::new(Ledger::new().await);
    ledger.must_post(&[top_up(1, 100)]).await;
    let taken = || transfer(2, bank(), income(), 7).fact();
    let other = || transfer(3, bank(), income(), 8).fact();
    let mut first = ledger.begin().await;
    let theirs = post_in_tx(first.conn(), &ledger.ids, now(), &[taken(), other()]).await.unwrap();
    let waiting = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            let mut tx = ledger.begin().await;
            let different = transfer(3, bank(), income(), 9).fact();
            let answers = post_in_tx(tx.conn(), &ledger.ids, now(), &[charge(4, 60).post(), taken(), different, charge(5, 60).hold()]).await;
            tx.commit().await.unwrap();
            answers.unwrap()
        }
    });
    wait_for_a_lock(&ledger).await;
    first.commit().await.unwrap();
    let answers = waiting.await.unwrap();
    assert!(matches!(answers[0], Answer::Posted(_)));
    assert_eq!(answers[1], Answer::AlreadyPosted(theirs[0].transfer().unwrap()));
    assert_eq!(answers[2], Answer::KeyConflict { existing: theirs[1].transfer().unwrap() });
    assert_eq!(answers[3], Answer::Insufficient { available: kes(40), needed: kes(60) });
    assert_eq!(ledger.balance(&wallet(first_partner())).await.posted, kes(40));
    ledger.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_built_on_a_lost_key_asks_to_run_again() {
    let ledger = Arc::new(Ledger::new().await);
    let hold = || transfer(2, bank(), income(), 7).hold();
    let mut first = ledger.begin().await;
    post_in_tx(first.conn(), &ledger.ids, now(), &[hold()]).await.unwrap();
    let waiting = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            let mut tx = ledger.begin().await;
            let lost = post_in_tx(tx.conn(), &ledger.ids, now(), &[hold(), end(2, 3).post()]).await;
            tx.rollback().await.unwrap();
            lost
        }
    });
    wait_for_a_lock(&ledger).await;
    first.commit().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(LedgerError::Race)));
    let again = ledger.post(&[hold(), end(2, 3).post()]).await;
    assert!(matches!(again.as_slice(), [Answer::AlreadyPosted(_), Answer::Posted(_)]), "{again:?}");
    ledger.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_of_an_unbounded_hold_at_the_same_moment_are_a_race() {
    let ledger = Arc::new(Ledger::new().await);
    ledger.must_post(&[transfer(2, bank(), income(), 7).hold()]).await;
    let mut first = ledger.begin().await;
    let by = post_in_tx(first.conn(), &ledger.ids, now(), &[end(2, 3).void()]).await.unwrap()[0].transfer().unwrap();
    let waiting = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            let mut tx = ledger.begin().await;
            post_in_tx(tx.conn(), &ledger.ids, now(), &[end(2, 4).post()]).await
        }
    });
    wait_for_a_lock(&ledger).await;
    first.commit().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(LedgerError::Race)));
    assert_eq!(ledger.post(&[end(2, 4).post()]).await, [Answer::HoldEnded { as_: Ended::Void, by }]);
}

#[tokio::test]
async fn the_fold_waits_for_an_older_transaction_and_skips_nothing() {
    let ledger = Ledger::new().await;
    let mut late = ledger.begin().await;
    post_in_tx(late.conn(), &ledger.ids, now(), &[transfer(1, bank(), income(), 5).fact()]).await.unwrap();
    ledger.must_post(&[top_up(2, 50)]).await;
    assert_eq!(ledger.fold(100).await.taken, 0);
    assert_eq!(ledger.balance(&bank()).await.posted, kes(-50));
    late.commit().await.unwrap();
    assert_eq!(ledger.fold(100).await.taken, 2);
    assert_eq!(ledger.balance(&bank()).await.posted, kes(-55));
    ledger.assert_clean().await;
}

#[tokio::test]
async fn an_older_transaction_may_end_a_younger_ones_hold() {
    for limit in [1, 2, 100] {
        let ledger = Ledger::new().await;
        ledger.must_post(&[top_up(1, 50)]).await;
        let mut older = ledger.begin().await;
        post_in_tx(older.conn(), &ledger.ids, now(), &[transfer(2, bank(), income(), 5).fact()]).await.unwrap();
        ledger.must_post(&[charge(3, 20).hold()]).await;
        let ended = post_in_tx(older.conn(), &ledger.ids, now(), &[end(3, 4).post()]).await.unwrap();
        assert!(matches!(ended[0], Answer::Posted(_)));
        older.commit().await.unwrap();
        loop {
            let more = ledger.fold(limit).await.more;
            ledger.assert_clean().await;
            if !more {
                break;
            }
        }
        assert_eq!(ledger.count("select count(*) from ledger_open_holds").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_folds_at_once_take_each_transfer_once() {
    let ledger = Arc::new(Ledger::new().await);
    for batch in 0..5u128 {
        ledger.must_post(&(0..20).map(|n| top_up(batch * 20 + n + 1, 1)).collect::<Vec<_>>()).await;
    }
    let folds: Vec<_> = (0..8)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.fold(15).await.taken })
        })
        .collect();
    let mut taken = 0;
    for fold in folds {
        taken += fold.await.unwrap();
    }
    assert_eq!(taken, 100);
    ledger.assert_clean().await;
}

/// Waits until some session of this database waits for a lock.
async fn wait_for_a_lock(ledger: &Ledger) {
    for _ in 0..2_000 {
        let waiting = ledger.count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
        if waiting > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody waits for a lock");
}
