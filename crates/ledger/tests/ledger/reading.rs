//! Balances, statements, holds: the same before, while and after the fold goes through.

use chrono::Duration;
use pv_kernel::ids::AccountId;
use pv_ledger::{
    AccountRef, Answer, Book, Command, Cursor, Posting, TransferKind, balance, balance_as_of, balances, held, pending, statement, transfers_of,
};
use uuid::Uuid;

use crate::support::{Ledger, bank, charge, clearing, day, end, first_partner, kes, key, now, subject, suspense, top_up, transfer, utility, wallet};

async fn story(ledger: &Ledger) {
    ledger.must_post(&[top_up(1, 1_000), charge(2, 300).hold(), charge(3, 200).hold()]).await;
    ledger.must_post(&[end(2, 4).post(), charge(5, 50).post(), transfer(6, clearing(first_partner()), bank(), 40).hold()]).await;
    ledger.must_post(&[end(3, 7).void(), transfer(8, utility(), suspense(), 900).fact()]).await;
}

#[tokio::test]
async fn balances_are_the_same_at_every_place_of_the_fold() {
    let ledger = Ledger::new().await;
    story(&ledger).await;
    let mut folded = 0;
    loop {
        let mut tx = ledger.begin().await;
        let all = balances(tx.conn(), Book::Platform).await.unwrap();
        let of = |account: AccountRef| all.iter().find(|found| found.account == account.id()).unwrap().balance;
        assert_eq!((of(bank()).posted, of(bank()).held), (kes(-1_000), kes(0)), "{folded} folded");
        let clearing = of(clearing(first_partner()));
        assert_eq!((clearing.posted, clearing.held, clearing.available), (kes(350), kes(40), kes(310)), "{folded} folded");
        assert_eq!(of(wallet(first_partner())).available, kes(650));
        assert_eq!(all.iter().map(|found| found.balance.posted.minor()).sum::<i64>(), 0);
        for found in &all {
            assert_eq!(balance(tx.conn(), found.account).await.unwrap(), Some(found.balance), "{}", found.name);
        }
        assert_eq!(held(tx.conn(), crate::support::clearing(first_partner()).id()).await.unwrap(), kes(40));
        drop(tx);
        let report = ledger.fold(1).await;
        folded += report.taken;
        if !report.more {
            break;
        }
    }
    assert_eq!(folded, 8);
    let report = ledger.fold(1).await;
    assert_eq!((report.taken, report.entries, report.more), (0, 0, false));
}

#[tokio::test]
async fn an_account_that_was_never_opened_has_no_balance() {
    let ledger = Ledger::new().await;
    let mut tx = ledger.begin().await;
    let nowhere = AccountId(Uuid::nil());
    assert_eq!(balance(tx.conn(), nowhere).await.unwrap(), None);
    assert_eq!(held(tx.conn(), nowhere).await.unwrap(), kes(0));
}

#[tokio::test]
async fn pending_lists_the_holds_of_a_book_that_have_not_ended() {
    let ledger = Ledger::new().await;
    story(&ledger).await;
    for _ in 0..3 {
        let mut tx = ledger.begin().await;
        let open = pending(tx.conn(), Book::Platform).await.unwrap();
        assert_eq!(open.iter().map(|hold| (hold.key.clone(), hold.amount)).collect::<Vec<_>>(), [(key(6), kes(40))]);
        assert_eq!(pending(tx.conn(), Book::Partner(first_partner())).await.unwrap(), []);
        drop(tx);
        ledger.fold(4).await;
    }
}

#[tokio::test]
async fn a_balance_as_of_a_day_follows_the_business_time() {
    let ledger = Ledger::new().await;
    let on = |n: i64, posting: Posting| Posting { at: day(n), ..posting };
    let top_up = |n: u128, amount| transfer(n, bank(), wallet(first_partner()), amount);
    ledger.must_post(&[on(1, top_up(1, 100)).fact(), on(3, top_up(2, 30)).fact()]).await;
    ledger.fold(1).await;
    // Learned late: it happened on day 2.
    ledger.must_post(&[on(2, top_up(3, 7)).fact(), on(2, charge(4, 9)).hold()]).await;
    for _ in 0..2 {
        let mut tx = ledger.begin().await;
        for (at, posted) in [(day(1) - Duration::seconds(1), 0), (day(1), 100), (day(2), 107), (day(3), 137), (day(9), 137)] {
            assert_eq!(balance_as_of(tx.conn(), wallet(first_partner()).id(), at).await.unwrap(), kes(posted), "{at}");
            assert_eq!(balance_as_of(tx.conn(), bank().id(), at).await.unwrap(), kes(-posted), "{at}");
        }
        drop(tx);
        ledger.fold(100).await;
    }
}

#[tokio::test]
async fn a_statement_is_paged_both_ways_with_its_running_balance() {
    let ledger = Ledger::new().await;
    ledger.must_post(&(1..=7).map(|n| top_up(n, 10)).collect::<Vec<Command>>()).await;
    ledger.must_post(&[charge(8, 25).hold(), end(8, 9).post()]).await;
    ledger.fold(5).await;
    ledger.fold(100).await;
    let account = wallet(first_partner()).id();
    let mut tx = ledger.begin().await;

    let newest = statement(tx.conn(), account, Cursor::Newest, 3).await.unwrap();
    let line = |row: &pv_ledger::StatementRow| (row.position, row.delta.minor(), row.balance.minor());
    assert_eq!(newest.rows.iter().map(line).collect::<Vec<_>>(), [(8, -25, 45), (7, 10, 70), (6, 10, 60)]);
    assert_eq!(newest.rows[0].transfer.kind, TransferKind::Post);
    assert_eq!(newest.rows[0].other, clearing(first_partner()).id());
    assert_eq!(newest.next, Some(Cursor::Before(6)));

    let mut seen = Vec::new();
    let mut next = Some(Cursor::After(0));
    while let Some(cursor) = next {
        let page = statement(tx.conn(), account, cursor, 3).await.unwrap();
        seen.extend(page.rows.iter().map(|row| row.position));
        next = page.next;
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8]);
    let last = statement(tx.conn(), account, Cursor::Before(3), 3).await.unwrap();
    assert_eq!((last.rows.len(), last.next), (2, None));
}

#[tokio::test]
async fn all_transfers_of_a_subject_are_found() {
    let ledger = Ledger::new().await;
    let of = |movement: &'static str, posting: Posting| Posting { key: pv_ledger::Key::new(subject(7), movement), ..posting };
    let answers = ledger
        .must_post(&[of("topped up", transfer(1, bank(), wallet(first_partner()), 5)).fact(), of("taken", charge(1, 5)).post(), top_up(2, 1)])
        .await;
    let mut tx = ledger.begin().await;
    let found = transfers_of(tx.conn(), &[subject(7)]).await.unwrap();
    let expected: Vec<_> = answers.iter().take(2).filter_map(Answer::transfer).collect();
    assert_eq!(found.iter().map(|transfer| transfer.id).collect::<Vec<_>>(), expected);
    assert_eq!(found[0].recorded_at, now());
    assert!(found[0].fact && !found[1].fact);
    assert_eq!(transfers_of(tx.conn(), &[]).await.unwrap(), []);
}
