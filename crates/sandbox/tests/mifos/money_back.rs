//! Checklist 3 and 4, the way back: repayments by status and release, surplus, reversal, savings.

use std::collections::BTreeSet;

use pv_sandbox::mifos::{AccountStatus, LoanStatus, Profile};
use serde_json::json;

use crate::world::{BOTH, World, november};

/// What the loan of `World::active` owes: 15,000 and six months at 2.5 %, flat.
const OWED: i64 = 17_250;

#[test]
fn a_repayment_pays_interest_before_principal_and_is_answered_with_its_transaction() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        let seen = world.repay(loan, 3000, "pv-r-1");
        let transaction = world.sim.bank().loan(loan).unwrap().repayments().next().unwrap().id;
        assert_eq!((seen.status, seen.body["resourceId"].clone()), (200, json!(transaction)));
        assert_eq!(seen.body["changes"]["transactionAmount"], "3000", "a string");
        let read = world.get(&format!("/loans/{loan}/transactions/{transaction}")).body;
        // Instalments are 2,500 and 375: the first is paid whole, of the second 125 of interest.
        assert_eq!((read["principalPortion"].as_f64(), read["interestPortion"].as_f64()), (Some(2500.0), Some(500.0)));
        assert_eq!(read.get("externalLoanId"), None);
        assert_eq!(read.get("loanId").is_some(), profile == Profile::V1_14);
    }
}

#[test]
fn exact_payment_closes_and_more_overpays_and_a_reversal_reopens() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let exact = world.active();
        assert_eq!(world.repay(exact, OWED, "all").status, 200);
        assert_eq!(world.status_of(exact), 600);
        let over = world.active();
        let transaction = world.repay(over, OWED + 100, "more").body["resourceId"].clone();
        assert_eq!(world.status_of(over), 700);
        assert!(world.get(&format!("/loans/{over}")).text.contains("\"totalOverpaid\":100.000000"));
        let undo =
            json!({ "transactionDate": "2026-11-20", "transactionAmount": 0, "note": "wrong account", "dateFormat": "yyyy-MM-dd", "locale": "en" });
        assert_eq!(world.post(&format!("/loans/{over}/transactions/{transaction}?command=undo"), &undo).status, 200);
        assert_eq!(world.status_of(over), 300);
        let read = world.get(&format!("/loans/{over}/transactions/{transaction}")).body;
        assert_eq!((read["manuallyReversed"].clone(), read["externalId"].clone()), (json!(true), json!("more")));
        assert_eq!(world.repay(over, 10, "more").status, 400, "the reversed one keeps its external id");
    }
}

#[test]
fn closed_and_overpaid_loans_take_money_only_on_the_new_line() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        world.repay(loan, OWED, "all");
        let seen = world.repay(loan, 50, "late");
        if profile == Profile::V1_8 {
            assert_eq!(seen.verdict(), (400, "error.msg.loan.repayment.or.waiver.account.is.not.active".to_owned()));
            assert_eq!(world.status_of(loan), 600);
        } else {
            assert_eq!((seen.status, world.status_of(loan)), (200, 700));
            assert_eq!((world.repay(loan, 50, "later").status, world.status_of(loan)), (200, 700));
        }
    }
}

#[test]
fn other_states_refuse_money_with_the_code_of_the_release() {
    for (profile, code) in [
        (Profile::V1_8, "error.msg.loan.repayment.or.waiver.account.is.not.active"),
        (Profile::V1_14, "error.msg.loan.must.be.active.fully.paid.or.overpaid"),
    ] {
        let mut world = World::new(profile);
        let (submitted, approved, written_off) = (world.submitted(), world.approved(), world.active());
        let now = world.now;
        world.sim.bank_mut().write_off(written_off, now).unwrap();
        for loan in [submitted, approved, written_off] {
            assert_eq!(world.repay(loan, 100, "x").verdict(), (400, code.to_owned()));
        }
        let body = world.repay_body(100, "rec");
        assert_eq!(world.post(&format!("/loans/{written_off}/transactions?command=recoverypayment"), &body).status, 200);
        assert_eq!(world.status_of(written_off), 601);
    }
}

#[test]
fn a_receipt_books_twice_but_an_external_id_does_not() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        assert_eq!((world.repay(loan, 100, "a").status, world.repay(loan, 100, "b").status), (200, 200));
        assert_eq!(world.repay(loan, 100, "a").verdict(), (400, "validation.msg.loan.transaction.externalId.value.must.be.unique".to_owned()));
        assert_eq!(world.sim.bank().loan(loan).unwrap().repayments().count(), 2);
    }
}

#[test]
fn dates_and_amounts_of_a_repayment_are_checked() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.active();
    let path = format!("/loans/{loan}/transactions?command=repayment");
    let mut body = world.repay_body(0, "x");
    assert_eq!(world.post(&path, &body).verdict(), (400, "validation.msg.loan.transaction.transactionAmount.not.greater.than.zero".to_owned()));
    body["transactionAmount"] = json!(100);
    body["transactionDate"] = json!("2026-11-21");
    assert_eq!(world.post(&path, &body).verdict(), (403, "error.msg.loan.transaction.cannot.be.a.future.date".to_owned()));
    body["transactionDate"] = json!("2026-11-19");
    assert_eq!(world.post(&path, &body).verdict(), (403, "error.msg.loan.transaction.cannot.be.before.disbursement.date".to_owned()));
    body["transactionDate"] = json!("2026-11-20");
    world.sim.bank_mut().options_mut().holidays = BTreeSet::from([november(20)]);
    assert_eq!(world.post(&path, &body).verdict(), (403, "error.msg.loan.application.repayment.date.on.holiday".to_owned()));
}

#[test]
fn a_positive_adjustment_replaces_the_transaction() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        let first = world.repay(loan, 3000, "a").body["resourceId"].clone();
        let body = world.repay_body(300, "b");
        let seen = world.post(&format!("/loans/{loan}/transactions/{first}?command=modify"), &body);
        assert_eq!(seen.status, 200);
        let standing: Vec<i64> = world.sim.bank().loan(loan).unwrap().repayments().map(|entry| entry.amount).collect();
        assert_eq!(standing, [30_000]);
        let disbursement = world.sim.bank().transactions(loan)[0].id;
        assert_eq!(world.post(&format!("/loans/{loan}/transactions/{disbursement}?command=undo"), &body).status, 403);
    }
}

#[test]
fn a_surplus_can_be_given_back() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.active();
    world.repay(loan, OWED + 100, "over");
    let body = world.repay_body(100, "back");
    assert_eq!(world.post(&format!("/loans/{loan}/transactions?command=creditBalanceRefund"), &body).status, 200);
    assert_eq!(world.status_of(loan), 600);
}

#[test]
fn templates_quote_the_next_instalment_and_the_settlement() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        let path = format!("/loans/{loan}/transactions/template?command=");
        assert!(world.get(&format!("{path}repayment")).text.contains("\"amount\":2875.000000"));
        assert!(world.get(&format!("{path}prepayLoan")).text.contains("\"amount\":17250.000000"));
        world.repay(loan, OWED, "all");
        assert_eq!(world.get(&format!("{path}repayment")).status, if profile == Profile::V1_8 { 200 } else { 500 });
    }
}

#[test]
fn a_transaction_is_found_by_its_external_id_on_the_new_line_only() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.active();
    world.repay(loan, 100, "find-me");
    assert_eq!(world.get(&format!("/loans/{loan}/transactions/external-id/find-me")).body["amount"].as_f64(), Some(100.0));
    assert_eq!(world.get(&format!("/loans/{loan}/transactions/external-id/nobody")).status, 404);
    assert_eq!(world.get(&format!("/loans/{loan}/transactions?size=1&page=1")).body["totalElements"], 3);
    let mut old = World::new(Profile::V1_8);
    let loan = old.active();
    old.repay(loan, 100, "find-me");
    assert_eq!(old.get(&format!("/loans/{loan}/transactions/external-id/find-me")).status, 404);
    assert_eq!(old.get(&format!("/loans/{loan}/transactions")).status, 404);
}

#[test]
fn a_deposit_needs_a_payment_type_and_refuses_an_external_id() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let account = world.sim.bank_mut().add_savings(world.client, Some("SV-66")).unwrap();
        let path = format!("/savingsaccounts/{account}/transactions?command=deposit");
        let mut body = json!({ "transactionDate": "2026-11-20", "transactionAmount": 500, "paymentTypeId": world.mpesa, "receiptNumber": "TLK9P0QW12",
            "accountNumber": "254712000111", "note": "paybill", "dateFormat": "yyyy-MM-dd", "locale": "en" });
        let seen = world.post(&path, &body);
        assert_eq!(seen.status, 200);
        assert_eq!(seen.body["changes"], json!({ "receiptNumber": "TLK9P0QW12", "accountNumber": "254712000111", "paymentTypeId": world.mpesa }));
        let transaction = seen.body["resourceId"].clone();
        let read = world.get(&format!("/savingsaccounts/{account}/transactions/{transaction}")).body;
        assert_eq!((read["paymentDetailData"]["receiptNumber"].clone(), read["runningBalance"].as_f64()), (json!("TLK9P0QW12"), Some(500.0)));

        body["externalId"] = json!("x");
        assert_eq!(world.post(&path, &body).verdict(), (400, "error.msg.parameter.unsupported".to_owned()));
        body.as_object_mut().unwrap().remove("externalId");
        body.as_object_mut().unwrap().remove("paymentTypeId");
        assert_eq!(world.post(&path, &body).verdict(), (400, "validation.msg.savingsaccount.transaction.paymentTypeId.cannot.be.blank".to_owned()));
        body["paymentTypeId"] = json!(world.mpesa);
        body["transactionDate"] = json!("2026-11-21");
        assert_eq!(world.post(&path, &body).verdict(), (400, "error.msg.savingsaccount.transaction.in.the.future".to_owned()));

        assert_eq!(world.get("/savingsaccounts?externalId=SV-66").body["pageItems"][0]["id"], account);
        let undo = world.post(&format!("/savingsaccounts/{account}/transactions/{transaction}?command=undo"), &json!({}));
        assert_eq!((undo.status, world.sim.bank().savings(account).unwrap().balance), (200, 0));

        world.sim.bank_mut().set_savings_status(account, AccountStatus::Closed, false);
        body["transactionDate"] = json!("2026-11-20");
        assert_eq!(world.post(&path, &body).verdict(), (400, "error.msg.savingsaccount.transaction.account.is.not.active".to_owned()));
    }
}

#[test]
fn savings_are_searched_and_taken_out() {
    let mut world = World::new(Profile::V1_14);
    let account = world.sim.bank_mut().add_savings(world.client, None).unwrap();
    let body = json!({ "transactionDate": "2026-11-20", "transactionAmount": 500, "paymentTypeId": world.mpesa, "dateFormat": "yyyy-MM-dd", "locale": "en" });
    let path = format!("/savingsaccounts/{account}/transactions");
    for _ in 0..3 {
        world.post(&format!("{path}?command=deposit"), &body);
    }
    assert_eq!(world.post(&format!("{path}?command=withdrawal"), &body).status, 200);
    let found = world.get(&format!(
        "{path}/search?fromDate=2026-11-20&toDate=2026-11-20&types=1&limit=2&offset=0&orderBy=id&sortOrder=DESC&dateFormat=yyyy-MM-dd&locale=en"
    ));
    assert_eq!((found.body["totalElements"].clone(), found.body["content"].as_array().map(Vec::len)), (json!(3), Some(2)));
    let mut large = body;
    large["transactionAmount"] = json!(5000);
    assert_eq!(world.post(&format!("{path}?command=withdrawal"), &large).code(), "error.msg.savingsaccount.transaction.insufficient.account.balance");
}

#[test]
fn staff_book_and_undo_repayments_by_hand() {
    let mut world = World::new(Profile::V1_8);
    let (loan, now) = (world.active(), world.now);
    let bank = world.sim.bank_mut();
    let transaction = bank.repay_by_hand(loan, OWED * 100, "CASH1", now).unwrap();
    assert_eq!(bank.loan(loan).unwrap().status, LoanStatus::Closed);
    bank.undo_repayment(loan, transaction, now).unwrap();
    assert_eq!(bank.loan(loan).unwrap().status, LoanStatus::Active);
}
