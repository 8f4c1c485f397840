//! Checklist 3, 4 and 9: the state machine, dates, net amount, payment detail, external ids, tranches, top-ups, groups.

use std::collections::BTreeSet;

use pv_sandbox::mifos::{AccountStatus, BusinessDate, DuplicateExternalId, Group, LoanSpec, MifosOptions, ProductSpec, Profile};
use serde_json::json;

use crate::world::{BOTH, World, november};

const NOT_DISBURSABLE: &str = "error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state";

#[test]
fn a_loan_is_approved_disbursed_and_both_are_undone_over_the_wire() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.submitted();
        let path = format!("/loans/{loan}");
        let approve = json!({ "approvedOnDate": "2026-11-19", "expectedDisbursementDate": "2026-11-20", "approvedLoanAmount": 15000, "note": "ok",
            "dateFormat": "yyyy-MM-dd", "locale": "en" });
        let seen = world.post(&format!("{path}?command=approve"), &approve);
        assert_eq!(seen.status, 200);
        assert_eq!(
            seen.body["changes"],
            json!({ "status": { "id": 200, "code": "loanStatusType.approved", "value": "Approved" }, "locale": "en", "dateFormat": "yyyy-MM-dd",
                "approvedOnDate": "2026-11-19", "expectedDisbursementDate": [2026, 11, 20], "approvedLoanAmount": 15000, "principal": 15000 })
        );
        let again = world.post(&format!("{path}?command=approve"), &approve);
        assert_eq!(again.verdict(), (400, "error.msg.loan.approve.account.is.not.submitted.and.pending.state".to_owned()));

        let seen = world.post(&format!("{path}?command=undoapproval"), &json!({}));
        assert_eq!((seen.status, seen.body["changes"]["approvedOnDate"].clone()), (200, json!("")));
        let again = world.post(&format!("{path}?command=undoapproval"), &json!({ "note": "x" }));
        assert_eq!(again.verdict(), (400, "error.msg.loan.undo.approval.account.is.not.approved".to_owned()));
        assert_eq!(world.status_of(loan), 100);

        world.post(&format!("{path}?command=approve"), &approve);
        assert_eq!(world.disburse(loan, "pv-d-1").status, 200);
        assert_eq!(world.status_of(loan), 300);
        let seen = world.post(&format!("{path}?command=undodisbursal"), &json!({}));
        assert_eq!((seen.status, seen.body["changes"]["actualDisbursementDate"].clone()), (200, json!("")));
        assert_eq!(world.status_of(loan), 200);
        let transactions = world.get(&format!("{path}?associations=transactions")).body["transactions"].clone();
        assert!(transactions.as_array().unwrap().iter().all(|entry| entry["manuallyReversed"] == true), "they stay in the list");
        let again = world.post(&format!("{path}?command=undodisbursal"), &json!({}));
        assert_eq!(again.verdict(), (400, "error.msg.loan.undo.disbursal.account.is.not.active".to_owned()));
    }
}

#[test]
fn already_disbursed_and_not_approved_are_the_same_refusal() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (submitted, active, rejected, withdrawn) = (world.submitted(), world.active(), world.submitted(), world.submitted());
        let now = world.now;
        assert_eq!(world.sim.bank_mut().reject(rejected, now), Ok(()));
        assert_eq!(world.sim.bank_mut().withdraw(withdrawn, now), Ok(()));
        for loan in [submitted, active, rejected, withdrawn] {
            assert_eq!(world.disburse(loan, "pv-d-2").verdict(), (400, NOT_DISBURSABLE.to_owned()));
        }
    }
}

#[test]
fn the_answer_to_disburse_names_the_transaction_where_the_release_puts_it() {
    let mut old = World::new(Profile::V1_8);
    let loan = old.approved();
    let body = old.disburse(loan, "pv-d-3").body;
    let transaction = old.sim.bank().transactions(loan)[0].id;
    assert_eq!((body["loanId"].clone(), body["resourceId"].clone()), (json!(loan), json!(transaction)));
    assert!(body.get("subResourceId").is_none() && body.get("subResourceExternalId").is_none());

    let mut new = World::new(Profile::V1_14);
    let loan = new.approved();
    let body = new.disburse(loan, "pv-d-3").body;
    let transaction = new.sim.bank().transactions(loan)[0].id;
    assert_eq!((body["loanId"].clone(), body["resourceId"].clone(), body["subResourceId"].clone()), (json!(loan), json!(loan), json!(transaction)));
    assert_eq!(body["subResourceExternalId"], "pv-d-3");
    assert_eq!(body["changes"]["receiptNumber"], "TKJ7H5X2QP");
    assert_eq!(body["changes"]["status"], json!({ "id": 300, "code": "loanStatusType.active", "value": "Active", "active": true }));
}

#[test]
fn what_is_paid_out_is_less_than_the_debt() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let text = world.get(&format!("/loans/{loan}")).text;
        assert!(text.contains("\"netDisbursalAmount\":14550.000000") && text.contains("\"approvedPrincipal\":15000.000000"), "{text}");
        let template = world.get(&format!("/loans/{loan}/transactions/template?command=disburse")).text;
        assert!(template.contains("\"amount\":15000.000000,\"netDisbursalAmount\":14550.000000"), "{template}");
        world.disburse(loan, "pv-d-4");
        let kinds: Vec<i64> = world.sim.bank().transactions(loan).iter().map(|entry| entry.kind.id()).collect();
        assert_eq!(kinds, [1, 5], "the fee is taken at the disbursement");
        let seen = world.get(&format!("/loans/{loan}"));
        assert_eq!(seen.body["summary"]["principalOutstanding"].as_f64(), Some(15000.0));
        assert_eq!(seen.body["timeline"]["actualDisbursementDate"], json!([2026, 11, 20]));
    }
}

#[test]
fn a_net_amount_sent_as_the_gross_one_makes_a_smaller_loan_and_more_than_approved_is_refused() {
    let mut world = World::new(Profile::V1_14);
    let (small, large) = (world.approved(), world.approved());
    let mut body = world.disburse_body("small");
    body["transactionAmount"] = json!("14550.00");
    assert_eq!(world.post(&format!("/loans/{small}?command=disburse"), &body).status, 200);
    assert_eq!(world.sim.bank().loan(small).unwrap().principal(), 1_455_000);
    body["transactionAmount"] = json!(15000.01);
    body["externalId"] = json!("large");
    let seen = world.post(&format!("/loans/{large}?command=disburse"), &body);
    assert_eq!(seen.verdict(), (403, "error.msg.loan.disburse.amount.must.be.less.than.approved.amount".to_owned()));
    assert_eq!(seen.body["userMessageGlobalisationCode"], "validation.msg.domain.rule.violation");
}

#[test]
fn the_payment_detail_is_lost_without_a_payment_type() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (without, with) = (world.approved(), world.approved());
        let mut body = world.disburse_body("a");
        body.as_object_mut().unwrap().remove("paymentTypeId");
        assert_eq!(world.post(&format!("/loans/{without}?command=disburse"), &body).status, 200);
        assert_eq!(world.sim.bank().transactions(without)[0].payment, None);
        world.disburse(with, "b");
        let seen = world.get(&format!("/loans/{with}?associations=transactions"));
        let detail = &seen.body["transactions"][0]["paymentDetailData"];
        assert_eq!((detail["receiptNumber"].clone(), detail["paymentType"]["name"].clone()), (json!("TKJ7H5X2QP"), json!("M-Pesa")));
        body["paymentTypeId"] = json!(999);
        let third = world.approved();
        body["externalId"] = json!("c");
        assert_eq!(world.post(&format!("/loans/{third}?command=disburse"), &body).verdict(), (404, "error.msg.payment.type.invalid".to_owned()));
        body["paymentTypeId"] = json!(1);
        assert_eq!(world.post(&format!("/loans/{third}?command=disburse"), &body).status, 403, "cash needs an open teller");
    }
}

#[test]
fn an_external_id_is_unique_over_all_loans_and_stays_taken_after_an_undo() {
    for (mode, verdict) in [
        (DuplicateExternalId::Validation, (400, "validation.msg.loan.transaction.externalId.value.must.be.unique")),
        (DuplicateExternalId::Integrity, (403, "error.msg.data.integrity.issue")),
    ] {
        let mut world = World::new(Profile::V1_14);
        world.sim.bank_mut().options_mut().duplicate_external_id = mode;
        let (first, second) = (world.approved(), world.approved());
        assert_eq!(world.disburse(first, "same").status, 200);
        let taken = (verdict.0, verdict.1.to_owned());
        assert_eq!(world.disburse(second, "same").verdict(), taken);
        world.post(&format!("/loans/{first}?command=undodisbursal"), &json!({}));
        assert_eq!(world.disburse(first, "same").verdict(), taken);
        assert_eq!(world.disburse(first, "other").status, 200);
    }
}

#[test]
fn one_receipt_may_stand_on_two_loans() {
    let mut world = World::new(Profile::V1_8);
    let (first, second) = (world.approved(), world.approved());
    assert_eq!((world.disburse(first, "a").status, world.disburse(second, "b").status), (200, 200));
}

#[test]
fn dates_of_a_disbursement_are_judged_by_the_tenants_day() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let path = format!("/loans/{loan}?command=disburse");
        let mut body = world.disburse_body("d");
        body["actualDisbursementDate"] = json!("2026-11-19");
        assert_eq!(world.post(&path, &body).verdict(), (403, "error.msg.loan.disbursal.cannot.be.before.approval.date".to_owned()));
        body["actualDisbursementDate"] = json!("2026-11-21");
        assert_eq!(world.post(&path, &body).verdict(), (403, "error.msg.loan.disbursal.cannot.be.a.future.date".to_owned()));
        // Half past nine in the evening in Nairobi is already the 21st in Kolkata.
        world.now = "2026-11-20T18:30:00Z".parse().unwrap();
        world.sim.bank_mut().options_mut().zone = chrono_tz::Africa::Nairobi;
        assert_eq!(world.post(&path, &body).code(), "error.msg.loan.disbursal.cannot.be.a.future.date");
        world.sim.bank_mut().options_mut().zone = chrono_tz::Asia::Kolkata;
        assert_eq!(world.post(&path, &body).status, 200);
    }
}

#[test]
fn the_business_date_rules_over_the_calendar() {
    let mut world = World::new(Profile::V1_14);
    assert_eq!(world.get("/businessdate").body, json!([]));
    let loan = world.approved();
    world.sim.bank_mut().options_mut().business_date = BusinessDate::Fixed(november(19));
    assert_eq!(world.disburse(loan, "x").code(), "error.msg.loan.disbursal.cannot.be.a.future.date");
    assert_eq!(world.get("/businessdate").body, json!([{ "description": "Business Date", "type": "BUSINESS_DATE", "date": [2026, 11, 19] }]));
}

#[test]
fn holidays_and_days_off_refuse_unless_the_switch_is_on() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (first, second) = (world.approved(), world.approved());
        world.sim.bank_mut().options_mut().holidays = BTreeSet::from([november(20)]);
        assert_eq!(world.disburse(first, "a").verdict(), (403, "error.msg.loan.application.disbursement.date.on.holiday".to_owned()));
        world.sim.bank_mut().options_mut().transactions_on_holiday = true;
        assert_eq!(world.disburse(first, "a").status, 200);
        world.sim.bank_mut().options_mut().non_working_days = vec![chrono::Weekday::Fri];
        assert_eq!(world.disburse(second, "b").verdict(), (403, "error.msg.loan.application.disbursement.date.on.non.working.day".to_owned()));
        world.sim.bank_mut().options_mut().transactions_on_non_working_day = true;
        assert_eq!(world.disburse(second, "b").status, 200);
    }
}

#[test]
fn other_rules_of_a_disbursement_have_their_own_codes() {
    let mut world = World::new(Profile::V1_14);
    let late = LoanSpec { expected_disbursement: november(20), ..world.spec() };
    let loan = world.sim.bank_mut().add_loan(late).unwrap();
    let now = world.now;
    world.sim.bank_mut().approve(loan, now).unwrap();
    let client = world.client;
    world.sim.bank_mut().set_client_status(client, AccountStatus::Closed);
    assert_eq!(world.disburse(loan, "a").verdict(), (403, "error.msg.client.not.active.exception".to_owned()));
    world.sim.bank_mut().set_client_status(client, AccountStatus::Active);
    world.now = "2026-12-21T08:00:00Z".parse().unwrap();
    let mut body = world.disburse_body("a");
    body["actualDisbursementDate"] = json!("2026-12-21");
    let seen = world.post(&format!("/loans/{loan}?command=disburse"), &body);
    assert_eq!(seen.verdict(), (403, "error.msg.loan.disbursal.cannot.be.after.expected.first.repayment.date".to_owned()));

    let mut world = World::new(Profile::V1_14);
    let synced = world.sim.bank_mut().add_product(ProductSpec { sync_expected_with_disbursement_date: true, ..ProductSpec::simple("Synced") });
    let spec = LoanSpec { product_id: synced, expected_disbursement: november(25), ..world.spec() };
    let loan = world.sim.bank_mut().add_loan(spec).unwrap();
    world.sim.bank_mut().approve(loan, now).unwrap();
    assert_eq!(world.disburse(loan, "a").code(), "error.msg.actual.disbursement.date.does.not.match.with.expected.disbursal.date");
}

#[test]
fn on_a_multi_disbursement_product_the_same_disbursement_succeeds_twice() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let product = world.sim.bank_mut().add_product(ProductSpec::multi_disburse("Tranches"));
        let spec = LoanSpec { product_id: product, ..world.spec() };
        let loan = world.sim.bank_mut().add_loan(spec).unwrap();
        let now = world.now;
        world.sim.bank_mut().approve(loan, now).unwrap();
        assert_eq!((world.disburse(loan, "first").status, world.disburse(loan, "second").status), (200, 200));
        assert_eq!(world.sim.bank().loan(loan).unwrap().figures.disbursed, 3_000_000, "the money went out twice");
        let flags = world.get(&format!("/loanproducts/{product}")).body;
        assert_eq!((flags["multiDisburseLoan"].clone(), flags["disallowExpectedDisbursements"].clone()), (json!(true), json!(true)));
    }
}

#[test]
fn planned_tranches_are_paid_one_by_one_and_then_no_more() {
    let mut world = World::new(Profile::V1_14);
    let product = world.sim.bank_mut().add_product(ProductSpec { multi_disburse: true, ..ProductSpec::simple("Planned") });
    let spec = LoanSpec { product_id: product, tranches: vec![(november(20), 1_000_000), (november(25), 500_000)], ..world.spec() };
    let loan = world.sim.bank_mut().add_loan(spec).unwrap();
    let now = world.now;
    world.sim.bank_mut().approve(loan, now).unwrap();
    for (turn, status) in [("a", 200), ("b", 200), ("c", 400)] {
        let mut body = world.disburse_body(turn);
        body.as_object_mut().unwrap().remove("transactionAmount");
        assert_eq!(world.post(&format!("/loans/{loan}?command=disburse"), &body).status, status, "tranche {turn}");
    }
    let details = world.get(&format!("/loans/{loan}?associations=multiDisburseDetails")).body["disbursementDetails"].clone();
    assert_eq!(details.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_top_up_closes_the_older_loan_and_its_share_comes_off() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let old = world.active();
        let owed = world.sim.bank().loan(old).unwrap().figures.outstanding();
        let spec = LoanSpec { principal: 3_000_000, top_up_of: Some(old), ..world.spec() };
        let loan = world.sim.bank_mut().add_loan(spec).unwrap();
        let now = world.now;
        world.sim.bank_mut().approve(loan, now).unwrap();
        let seen = world.get(&format!("/loans/{loan}"));
        assert_eq!((seen.body["isTopup"].clone(), seen.body["closureLoanId"].clone()), (json!(true), json!(old)));
        assert!(seen.text.contains("\"netDisbursalAmount\":29550.000000"), "not final before the disbursement: {}", seen.text);
        let mut body = world.disburse_body("top");
        body["transactionAmount"] = json!(30000);
        assert_eq!(world.post(&format!("/loans/{loan}?command=disburse"), &body).status, 200);
        assert_eq!(world.status_of(old), 600);
        assert_eq!(world.sim.bank().loan(loan).unwrap().net_disbursal(), 3_000_000 - 45_000 - owed);
        let undo = world.post(&format!("/loans/{loan}?command=undodisbursal"), &json!({}));
        assert_eq!(undo.verdict(), (400, "error.msg.loan.undo.disbursal.not.allowed.on.topup.loan".to_owned()));
    }
}

#[test]
fn a_top_up_that_does_not_cover_the_older_loan_is_refused() {
    let mut world = World::new(Profile::V1_14);
    let (old, now) = (world.active(), world.now);
    let spec = LoanSpec { top_up_of: Some(old), ..world.spec() };
    let loan = world.sim.bank_mut().add_loan(spec).unwrap();
    world.sim.bank_mut().approve(loan, now).unwrap();
    assert_eq!(world.disburse(loan, "a").code(), "error.msg.loan.amount.less.than.outstanding.of.loan.to.be.closed");
    world.sim.bank_mut().write_off(old, now).unwrap();
    assert_eq!(world.disburse(loan, "a").code(), "error.msg.loan.to.be.closed.with.topup.is.not.active");
}

#[test]
fn a_group_loan_may_have_no_client() {
    let mut world = World::new(Profile::V1_14);
    let spec = LoanSpec { client_id: None, group: Some(Group { id: 31, name: "Umoja".to_owned() }), ..world.spec() };
    let loan = world.sim.bank_mut().add_loan(spec).unwrap();
    let now = world.now;
    world.sim.bank_mut().approve(loan, now).unwrap();
    let seen = world.get(&format!("/loans/{loan}")).body;
    assert_eq!((seen["group"]["name"].clone(), seen["loanType"]["id"].clone(), seen.get("clientId")), (json!("Umoja"), json!(2), None));
    let done = world.disburse(loan, "g").body;
    assert_eq!((done["groupId"].clone(), done.get("clientId")), (json!(31), None));
}

#[test]
fn disbursed_to_savings_there_is_no_cash_leg() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let account = world.sim.bank_mut().add_savings(world.client, None).unwrap();
        let spec = LoanSpec { linked_savings: Some(account), ..world.spec() };
        let loan = world.sim.bank_mut().add_loan(spec).unwrap();
        let now = world.now;
        world.sim.bank_mut().approve(loan, now).unwrap();
        let path = format!("/loans/{loan}?command=disburseToSavings");
        let body = world.disburse_body("s");
        assert_eq!(world.post(&path, &body).code(), "error.msg.parameter.unsupported", "payment detail is refused here");
        let seen = world.post(&path, &json!({ "actualDisbursementDate": "2026-11-20", "dateFormat": "yyyy-MM-dd", "locale": "en" }));
        assert_eq!((seen.status, seen.body["resourceId"].clone(), seen.body.get("subResourceId")), (200, json!(loan), None));
        assert_eq!(world.sim.bank().savings(account).unwrap().balance, 1_455_000);
        assert_eq!(world.post(&format!("/loans/{loan}?command=undodisbursal"), &json!({})).status, 200);
        assert_eq!(world.sim.bank().savings(account).unwrap().balance, 0);
    }
}

#[test]
fn tampering_leaves_no_trace_but_the_gap() {
    let mut world = World::with(MifosOptions { users: vec![pv_sandbox::mifos::UserOptions::integration("pv", "x")], ..MifosOptions::default() });
    let loan = world.approved();
    world.disburse(loan, "gone");
    let transaction = world.sim.bank().transactions(loan)[0].id;
    assert!(world.sim.bank_mut().tamper_receipt(loan, transaction, "FORGED"));
    assert!(world.sim.bank_mut().tamper_amount(loan, transaction, 1));
    assert!(world.get(&format!("/loans/{loan}?associations=transactions")).text.contains("FORGED"));
    assert!(world.sim.bank_mut().delete_transaction(loan, transaction));
    assert!(!world.sim.bank_mut().delete_transaction(loan, transaction));
    assert_eq!(world.get(&format!("/loans/{loan}/transactions/external-id/gone")).status, 404);
    assert_eq!(world.status_of(loan), 300, "the status still says disbursed");
}

#[test]
fn after_an_undo_the_new_amount_counts() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (loan, now) = (world.active(), world.now);
        let bank = world.sim.bank_mut();
        bank.undo_disbursal(loan, now).unwrap();
        bank.edit_loan_amount(loan, 1_200_000).unwrap();
        bank.disburse_by_hand(loan, "AGAIN", now).unwrap();
        assert_eq!(bank.loan(loan).unwrap().figures.disbursed, 1_200_000);
        assert!(bank.edit_loan_amount(loan, 1).is_err(), "not after the disbursement");
    }
}
