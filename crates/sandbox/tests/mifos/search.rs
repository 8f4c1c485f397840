//! Checklist 8: search with LIKE, 50 rows, empty status for savings, shared numbers; clients and their accounts.

use pv_sandbox::mifos::{ClientSpec, Profile};
use serde_json::{Value, json};

use crate::world::{BOTH, World, november};

fn kinds(rows: &Value) -> Vec<String> {
    rows.as_array().map(|rows| rows.iter().filter_map(|row| row["entityType"].as_str().map(str::to_owned)).collect()).unwrap_or_default()
}

#[test]
fn one_number_may_be_a_loan_and_a_savings_account() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.active();
        let account = world.sim.bank_mut().add_savings(world.client, None).unwrap();
        assert_eq!(loan, account, "separate ranges, same number");
        let rows = world.get("/search?query=000000001&exactMatch=true").body;
        assert_eq!(kinds(&rows), ["LOAN", "SAVING"]);
        assert_eq!(rows[0]["entityStatus"]["id"], 300);
        assert_eq!(rows[1]["entityStatus"], json!({ "id": 0, "code": "", "value": "" }), "read the account for its status");
        assert_eq!(rows[0]["parentName"], "Achieng Otieno");
        assert_eq!(kinds(&world.get("/search?query=000000001&exactMatch=true&resource=loans").body), ["LOAN"]);
    }
}

#[test]
fn both_modes_are_like_so_wildcards_of_a_payer_match() {
    let mut world = World::new(Profile::V1_14);
    world.active();
    assert_eq!(world.get("/search?query=00000000_&exactMatch=true&resource=loans").body.as_array().map(Vec::len), Some(1));
    assert_eq!(world.get("/search?query=%25&exactMatch=true&resource=loans").body.as_array().map(Vec::len), Some(1));
    assert_eq!(world.get("/search?query=0001&exactMatch=true&resource=loans").body, json!([]));
    assert_eq!(world.get("/search?query=0001&resource=loans").body.as_array().map(Vec::len), Some(1), "the default is contains");
}

#[test]
fn clients_are_found_by_phone_name_and_national_id_and_several_may_share_a_phone() {
    let mut world = World::new(Profile::V1_8);
    let twin = ClientSpec { national_id: Some("22334455".to_owned()), ..ClientSpec::new("Juma", "Odhiambo", "0712000111", november(1)) };
    world.sim.bank_mut().add_client(twin);
    let rows = world.get("/search?query=0712000111&exactMatch=true").body;
    assert_eq!((kinds(&rows), rows[0]["entityMobileNo"].clone()), (vec!["CLIENT".to_owned(), "CLIENT".to_owned()], json!("0712000111")));
    assert_eq!(kinds(&world.get("/search?query=aCHIENG&resource=clients").body), ["CLIENT"]);
    let rows = world.get("/search?query=22334455&exactMatch=true").body;
    assert_eq!((kinds(&rows), rows[0]["parentName"].clone()), (vec!["CLIENTIDENTIFIER".to_owned()], json!("Juma Odhiambo")));
    assert_eq!(world.post("/v2/clients/search", &json!({})).status, 404);
    let mut new = World::new(Profile::V1_14);
    let seen = new.post("/v2/clients/search", &json!({ "request": { "text": "0712000111" }, "page": 0, "size": 20 }));
    assert_eq!(
        (seen.status, seen.body["totalElements"].clone(), seen.body["content"][0]["accountNumber"].clone()),
        (200, json!(1), json!("000000101"))
    );
}

#[test]
fn a_search_answers_at_most_fifty_rows() {
    let mut world = World::new(Profile::V1_14);
    for _ in 0..60 {
        world.submitted();
    }
    assert_eq!(world.get("/search?query=0&resource=loans").body.as_array().map(Vec::len), Some(50));
}

#[test]
fn a_client_is_read_with_its_free_text_phone_and_its_accounts() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let (client, loan) = (world.client, world.active());
        let account = world.sim.bank_mut().add_savings(client, None).unwrap();
        assert!(world.sim.bank_mut().edit_client_phone(client, Some("+254 712 000 111")));
        let read = world.get(&format!("/clients/{client}")).body;
        assert_eq!(
            (read["mobileNo"].clone(), read["displayName"].clone(), read["officeName"].clone()),
            (json!("+254 712 000 111"), json!("Achieng Otieno"), json!("Kisumu"))
        );
        let accounts = world.get(&format!("/clients/{client}/accounts")).body;
        assert_eq!((accounts["loanAccounts"][0]["id"].clone(), accounts["savingsAccounts"][0]["id"].clone()), (json!(loan), json!(account)));
        assert!(accounts.get("shareAccounts").is_none(), "empty groups are left out");
        assert!(world.sim.bank_mut().edit_client_phone(client, None));
        assert!(world.get(&format!("/clients/{client}")).body.get("mobileNo").is_none());
        assert_eq!(world.get("/clients?status=active").body["totalFilteredRecords"], 1);
        assert_eq!(world.get("/clients?status=300").status, 400, "here the status is text");
    }
}
