//! Status and balance queries (M-Pesa contract 6.1, 6.2).

use std::collections::BTreeSet;
use std::time::Duration;

use pv_sandbox::daraja::{DarajaOptions, Fault, Shortcode};
use pv_sandbox::wire::Simulator;
use serde_json::json;

use crate::world::{BALANCE, PHONE, SHORTCODE, STATUS, World, balance_query, body, parameter, status_query};

#[test]
fn a_status_result_keeps_the_querys_ids_apart_from_the_payments() {
    let mut world = World::plain();
    let receipt = world.pay_and_settle("pv-1", PHONE, 1500)["TransactionID"].clone();
    let acknowledged = world.ask("pv-1").unwrap().json;
    assert_eq!(acknowledged["ResponseCode"], "0");
    let calls = world.settle();
    assert_eq!(calls[0].request.uri(), "https://hooks.example.co.ke/h/9f2c/status/result");
    let result = body(&calls[0])["Result"].clone();
    assert_eq!(result["ResultCode"], 0);
    assert_eq!(result["OriginatorConversationID"], acknowledged["OriginatorConversationID"]);
    assert_eq!(result["ConversationID"], acknowledged["ConversationID"]);
    assert_ne!(result["OriginatorConversationID"], "pv-1");
    assert_ne!(result["TransactionID"], receipt);
    assert_eq!(parameter(&result, "ReceiptNo").unwrap(), receipt);
    assert_eq!(parameter(&result, "OriginatorConversationID").unwrap(), "pv-1");
    assert_eq!(parameter(&result, "TransactionStatus").unwrap(), "Completed");
    assert_eq!(parameter(&result, "Amount").unwrap(), 1500);
    assert_eq!(parameter(&result, "CreditPartyName").unwrap(), "254700000001 - TEST BORROWER");
    assert_eq!(parameter(&result, "DebitPartyCharges").unwrap(), "Fee For B2C Payment|KES|5.00");
    assert_eq!(parameter(&result, "FinalisedTime").unwrap(), "20260103140501");
    assert_eq!(parameter(&result, "TransactionReason").unwrap(), serde_json::Value::Null);
}

#[test]
fn a_payment_is_found_by_id_by_receipt_and_by_both() {
    let mut world = World::plain();
    let receipt = world.pay_and_settle("pv-1", PHONE, 1500)["TransactionID"].as_str().unwrap().to_owned();
    for query in [status_query("pv-1", ""), status_query("", &receipt), status_query("pv-1", &receipt)] {
        assert_eq!(world.post(STATUS, &query).unwrap().status, 200);
        let result = body(&world.settle()[0])["Result"].clone();
        assert_eq!(parameter(&result, "TransactionStatus").unwrap(), "Completed");
    }
    let by_hand = world.sim.pay_by_hand(world.now, SHORTCODE, PHONE, 5_000).unwrap();
    world.post(STATUS, &status_query("", &by_hand)).unwrap();
    let result = body(&world.settle()[0])["Result"].clone();
    assert_eq!(parameter(&result, "ReasonType").unwrap(), "Business Payment to Customer");
}

#[test]
fn both_spellings_of_the_keys_occur() {
    let mut world = World::plain();
    world.pay_and_settle("pv-1", PHONE, 1500);
    let mut spellings = BTreeSet::new();
    for _ in 0..20 {
        let result = world.ask_and_settle("pv-1");
        for pair in result["ResultParameters"]["ResultParameter"].as_array().unwrap() {
            let key = pair["Key"].as_str().unwrap();
            if key.starts_with("Conversation") || key.starts_with("Originator") {
                spellings.insert(key.to_owned());
            }
        }
    }
    assert_eq!(spellings.len(), 4, "{spellings:?}");
}

#[test]
fn a_payment_in_the_queue_has_a_status_that_is_not_final() {
    let mut seen = BTreeSet::new();
    for seed in 0..12 {
        let mut world = World::new(seed, DarajaOptions { loose_typing_per_mille: 0, ..DarajaOptions::default() });
        world.sim.options_mut().query_delay = Duration::ZERO;
        world.pay("pv-1", PHONE, 100).unwrap();
        world.ask("pv-1").unwrap();
        world.wait(1);
        let calls = world.sim.take_due(world.now);
        seen.insert(parameter(&body(&calls[0])["Result"], "TransactionStatus").unwrap().to_string());
    }
    let words: BTreeSet<String> = ["Initiated", "Authorized", "Pending Authorized"].map(|word| format!("\"{word}\"")).into();
    assert_eq!(seen, words);
}

#[test]
fn failed_and_returned_payments_have_their_words() {
    let mut world = World::plain();
    world.pay_and_settle("pv-failed", "254700000904", 100);
    let result = world.ask_and_settle("pv-failed");
    let word = parameter(&result, "TransactionStatus").unwrap();
    assert!(word == "Declined" || word == "Cancelled", "{word}");
    assert_eq!(parameter(&result, "ReceiptNo").unwrap(), serde_json::Value::Null);
    world.pay_and_settle("pv-back", PHONE, 100);
    world.sim.send_back(world.now, "pv-back").unwrap();
    assert_eq!(parameter(&world.ask_and_settle("pv-back"), "TransactionStatus").unwrap(), "Reversed");
}

#[test]
fn an_unknown_transaction_is_2032_and_so_is_a_fresh_one_for_a_while() {
    let mut world = World::plain();
    let result = world.ask_and_settle("pv-none");
    assert_eq!(result["ResultCode"], 2032);
    assert!(result.get("ResultParameters").is_none());
    assert_eq!(result["ReferenceData"]["ReferenceItem"], json!({"Key": "Occasion"}));

    world.sim.options_mut().index_delay = Duration::from_secs(30);
    world.pay_and_settle("pv-1", PHONE, 100);
    assert_eq!(world.ask_and_settle("pv-1")["ResultCode"], 2032);
    world.wait(30);
    assert_eq!(world.ask_and_settle("pv-1")["ResultCode"], 0);
}

#[test]
fn another_shortcodes_payment_is_not_shown() {
    let mut world = World::plain();
    world.sim.add_shortcode(Shortcode::b2c("600222", "SOMEBODY ELSE", 0));
    "600222".clone_into(world.sim.options_mut().apps[0].shortcodes.first_mut().unwrap());
    world.sim.options_mut().apps[0].shortcodes.push(SHORTCODE.to_owned());
    world.pay_and_settle("pv-1", PHONE, 100);
    let mut query = status_query("pv-1", "");
    query["PartyA"] = json!("600222");
    world.post(STATUS, &query).unwrap();
    assert_eq!(body(&world.settle()[0])["Result"]["ResultCode"], 2032);
}

#[test]
fn a_status_query_can_fail_be_lost_or_find_nothing() {
    let mut world = World::plain();
    world.sim.script("pv-1", vec![Fault::StatusError, Fault::StatusLost, Fault::StatusUnknown, Fault::StatusNormal]);
    world.pay_and_settle("pv-1", PHONE, 100);
    assert!(world.ask("pv-1").unwrap().status >= 500);
    assert_eq!(world.ask("pv-1").unwrap().status, 200);
    assert!(world.settle().is_empty());
    assert_eq!(world.ask_and_settle("pv-1")["ResultCode"], 2032);
    assert_eq!(world.ask_and_settle("pv-1")["ResultCode"], 0);
}

#[test]
fn a_wrong_credential_in_a_query_is_2001_and_counts_towards_the_lock() {
    let mut world = World::plain();
    let mut query = status_query("pv-1", "");
    query["SecurityCredential"] = json!("AAAA");
    for code in [2001, 2001, 2001, 8006] {
        world.post(STATUS, &query).unwrap();
        assert_eq!(body(&world.settle()[0])["Result"]["ResultCode"], code);
    }
    assert_eq!(world.pay_and_settle("pv-1", PHONE, 100)["ResultCode"], 8006);
}

#[test]
fn the_balance_string_has_six_fields_and_shows_negative_and_reserved_money() {
    let mut world = World::plain();
    let mut shortcode = Shortcode::b2c(SHORTCODE, "PAYMENT VAULT TEST", 84_360_050);
    shortcode.working_cents = 52_000_000;
    shortcode.working_reserved_cents = 40_000_000;
    shortcode.charges_cents = -198_000;
    world.sim.add_shortcode(shortcode);
    world.pay_and_settle("pv-1", PHONE, 1500);
    assert_eq!(world.post(BALANCE, &balance_query()).unwrap().status, 200);
    let calls = world.settle();
    assert_eq!(calls[0].request.uri(), "https://hooks.example.co.ke/h/9f2c/balance/result");
    let result = body(&calls[0])["Result"].clone();
    let text = parameter(&result, "AccountBalance").unwrap().as_str().unwrap().to_owned();
    let accounts: BTreeSet<&str> = text.split('&').collect();
    let expected: BTreeSet<&str> = [
        "Working Account|KES|520000.00|120000.00|400000.00|0.00",
        "Utility Account|KES|842100.50|842100.50|0.00|0.00",
        "Charges Paid Account|KES|-1985.00|-1985.00|0.00|0.00",
    ]
    .into();
    assert_eq!(accounts, expected);
    assert!(parameter(&result, "BOCompletedTime").is_some());
}

#[test]
fn a_failed_balance_result_carries_parameters_and_a_reference_without_value() {
    let mut world = World::plain();
    world.sim.faults_mut().balance_failed = 1000;
    world.post(BALANCE, &balance_query()).unwrap();
    let result = body(&world.settle()[0])["Result"].clone();
    assert_ne!(result["ResultCode"], 0);
    assert_eq!(parameter(&result, "ActionType").unwrap(), "AccountBalance");
    assert!(parameter(&result, "ErrorMsg").is_some() && parameter(&result, "BOCompletedTime").is_some());
    assert!(result["ReferenceData"]["ReferenceItem"].get("Value").is_none());
    world.sim.faults_mut().balance_result_lost = 1000;
    world.post(BALANCE, &balance_query()).unwrap();
    assert!(world.settle().is_empty());
}
