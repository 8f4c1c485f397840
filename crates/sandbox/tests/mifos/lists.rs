//! Lists with their filters and pages by release, what reads include, products and payment types.

use pv_sandbox::mifos::{LoanSpec, ProductSpec, Profile};
use serde_json::{Value, json};

use crate::world::{BOTH, World, november};

fn ids(seen: &Value) -> Vec<u64> {
    seen["pageItems"].as_array().map(|items| items.iter().filter_map(|item| item["id"].as_u64()).collect()).unwrap_or_default()
}

#[test]
fn each_release_ignores_one_of_the_two_status_filters() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (submitted, approved, active) = (world.submitted(), world.approved(), world.active());
        let status = ids(&world.get("/loans?status=200&orderBy=id&limit=100").body);
        let sql = ids(&world.get("/loans?sqlSearch=l.loan_status_id%3D200&orderBy=id&limit=100").body);
        let (filtered, everybody) = (vec![approved], vec![submitted, approved, active]);
        assert_eq!((status, sql), if profile == Profile::V1_8 { (everybody, filtered) } else { (filtered, everybody) });
        let both = world.get("/loans?status=200&sqlSearch=l.loan_status_id%3D200&limit=100&offset=0&orderBy=id&sortOrder=ASC").body;
        assert_eq!(ids(&both), [approved]);
    }
}

#[test]
fn text_as_status_is_a_500_on_the_new_line() {
    assert_eq!(World::new(Profile::V1_14).get("/loans?status=approved").status, 500);
    assert_eq!(World::new(Profile::V1_8).get("/loans?status=approved").status, 200);
}

#[test]
fn lists_page_only_when_asked_and_the_old_line_stops_at_200() {
    for profile in BOTH {
        let mut world = World::new(profile);
        for _ in 0..205 {
            world.submitted();
        }
        let all = world.get("/loans?orderBy=id").body;
        assert_eq!(all["totalFilteredRecords"], 205);
        assert_eq!(ids(&all).len(), if profile == Profile::V1_8 { 200 } else { 205 });
        assert_eq!(ids(&world.get("/loans?limit=3&offset=2&orderBy=id&sortOrder=ASC").body), [3, 4, 5]);
        assert_eq!(ids(&world.get("/loans?limit=2&orderBy=id&sortOrder=DESC").body), [205, 204]);
        assert_eq!(ids(&world.get("/loans?offset=200&limit=0&orderBy=id").body).len(), 205, "an offset without a limit counts for nothing");
        let client = ids(&world.get("/loans?clientId=999&limit=500").body).len();
        assert_eq!(client, if profile == Profile::V1_8 { 205 } else { 0 });
    }
}

#[test]
fn loans_are_found_by_external_id_and_account_number() {
    for profile in BOTH {
        let mut world = World::new(profile);
        world.submitted();
        let spec = LoanSpec { external_id: Some("LN-734".to_owned()), ..world.spec() };
        let loan = world.sim.bank_mut().add_loan(spec).unwrap();
        assert_eq!(ids(&world.get("/loans?externalId=LN-734").body), [loan]);
        assert_eq!(ids(&world.get(&format!("/loans?accountNo={loan:09}")).body), [loan]);
        if profile == Profile::V1_14 {
            assert_eq!(world.get("/loans/external-id/LN-734").body["id"], loan);
            assert_eq!(world.get("/loanproducts/external-id/bias-01").body["name"], "Biashara Loan");
            assert_eq!(world.get("/clients/external-id/M-118").body["mobileNo"], "0712000111");
        }
    }
}

#[test]
fn products_say_their_state_and_their_strategy_by_release() {
    let mut old = World::new(Profile::V1_8);
    let mut new = World::new(Profile::V1_14);
    assert_eq!(old.get("/loanproducts").body[0]["transactionProcessingStrategyId"], 1);
    assert_eq!(new.get("/loanproducts").body[0]["transactionProcessingStrategyCode"], "mifos-standard-strategy");
    let closed = new.sim.bank_mut().add_product(ProductSpec { close_date: Some(november(19)), ..ProductSpec::simple("Old") });
    assert_eq!(new.get(&format!("/loanproducts/{closed}")).body["status"], "loanProduct.inActive");
    assert_eq!(new.get("/loanproducts").body[0]["status"], "loanProduct.active");
}

#[test]
fn nothing_is_included_unless_asked() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        let bare = world.get(&format!("/loans/{loan}")).body;
        assert!(bare.get("transactions").is_none() && bare.get("repaymentSchedule").is_none());
        let all = world.get(&format!("/loans/{loan}?associations=all&exclude=charges")).body;
        assert!(all.get("transactions").is_some() && all.get("charges").is_none());
        let periods = all["repaymentSchedule"]["periods"].as_array().unwrap();
        let principal: f64 = periods.iter().filter_map(|period| period["principalDue"].as_f64()).sum();
        assert_eq!((periods.len(), principal), (6, 15000.0));
    }
}

#[test]
fn payment_types_are_listed_and_created() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let seen = world.post("/paymenttypes", &json!({ "name": "Airtel", "description": "Airtel Money", "isCashPayment": false, "position": 4 }));
        let id = seen.body["resourceId"].clone();
        let list = world.get("/paymenttypes").body;
        let found = list.as_array().unwrap().iter().find(|kind| kind["id"] == id).unwrap();
        assert_eq!((found["name"].clone(), found["position"].clone(), found["isCashPayment"].clone()), (json!("Airtel"), json!(4), json!(false)));
    }
}
