//! B2C payments that go their ordinary ways: accounts, phones, tariff, limits, credentials, ids.

use pv_sandbox::daraja::{Account, DarajaOptions, Fault, Initiator, PaymentState, Shortcode, ShortcodeKind, encrypt_credential};
use pv_sandbox::phones::Phones;
use serde_json::json;

use crate::world::{B2C, PHONE, RESULT_URL, SHORTCODE, World, body, order, parameter};

#[test]
fn a_payment_is_acknowledged_then_paid_after_two_seconds() {
    let mut world = World::plain();
    let sent = world.now;
    let answer = world.pay("pv-1", PHONE, 1500).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!((answer.json["ResponseCode"].as_str(), answer.json["OriginatorConversationID"].as_str()), (Some("0"), Some("pv-1")));
    let conversation = answer.json["ConversationID"].as_str().unwrap();
    assert!(conversation.starts_with("AG_20260103_") && conversation.len() == 32, "{conversation}");
    assert_eq!(world.phones.balance(PHONE), 0, "the acknowledgement moves nothing");

    let calls = world.settle();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].request.uri(), RESULT_URL);
    assert_eq!(calls[0].at - sent, chrono::TimeDelta::seconds(2));
    let result = body(&calls[0])["Result"].clone();
    assert_eq!((result["ResultType"].as_i64(), result["ResultCode"].as_i64()), (Some(0), Some(0)));
    assert_eq!(result["ConversationID"], conversation);
    assert_eq!(parameter(&result, "TransactionAmount").unwrap(), 1500);
    assert_eq!(parameter(&result, "ReceiverPartyPublicName").unwrap(), "254700000001 - TEST BORROWER");
    assert_eq!(parameter(&result, "TransactionCompletedDateTime").unwrap(), "03.01.2026 14:05:01");
    assert_eq!(parameter(&result, "B2CUtilityAccountAvailableFunds").unwrap(), 998_500);
    assert_eq!(parameter(&result, "B2CChargesPaidAccountAvailableFunds").unwrap(), -5);
    let receipt = result["TransactionID"].as_str().unwrap();
    assert_eq!(parameter(&result, "TransactionReceipt").unwrap(), receipt);
    assert!(receipt.starts_with("UA3") && receipt.len() == 10, "{receipt}");
    assert!(receipt.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));

    let phone = world.phones.phone(PHONE).unwrap();
    assert_eq!((phone.balance_cents, phone.received.len(), phone.received[0].receipt.as_str()), (150_000, 1, receipt));
    assert!(phone.inbox[0].text.starts_with(&format!("{receipt} Confirmed. You have received Ksh1,500.00 from")));
    let statement = world.sim.statement(SHORTCODE);
    assert_eq!((statement.len(), statement[0].delta_cents, statement[0].balance_cents), (1, -150_000, 99_850_000));
    assert_eq!(world.sim.statement_of(SHORTCODE, Account::ChargesPaid)[0].delta_cents, -500);
    assert_eq!(world.sim.callbacks()[0].status, Some(200));
}

#[test]
fn version_one_makes_an_id_of_its_own_and_never_recognises_a_repeat() {
    let mut world = World::plain();
    for _ in 0..2 {
        let answer = world.post("/mpesa/b2c/v1/paymentrequest", &order("ignored", PHONE, 100)).unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(answer.json["OriginatorConversationID"], "ignored");
    }
    world.settle();
    assert_eq!(world.phones.balance(PHONE), 20_000);
}

#[test]
fn the_result_comes_85_seconds_later_when_so_configured() {
    let mut world = World::plain();
    world.sim.options_mut().callback_delay = std::time::Duration::from_millis(83_500);
    let sent = world.now;
    world.pay("pv-1", PHONE, 100).unwrap();
    assert_eq!(world.settle()[0].at - sent, chrono::TimeDelta::seconds(85));
}

#[test]
fn the_order_of_the_parameters_varies() {
    let mut world = World::plain();
    let mut orders = std::collections::BTreeSet::new();
    for index in 0..10 {
        let result = world.pay_and_settle(&format!("pv-{index}"), PHONE, 100);
        let list = result["ResultParameters"]["ResultParameter"].as_array().unwrap().clone();
        orders.insert(list.iter().map(|pair| pair["Key"].to_string()).collect::<String>());
    }
    assert!(orders.len() > 5, "{}", orders.len());
}

#[test]
fn an_id_is_refused_for_ever_whatever_became_of_it() {
    let mut world = World::plain();
    world.pay_and_settle("pv-paid", PHONE, 100);
    world.pay_and_settle("pv-failed", "254700000904", 100);
    world.pay("pv-waiting", PHONE, 100).unwrap();
    world.wait(60);
    for id in ["pv-paid", "pv-failed", "pv-waiting"] {
        let answer = world.pay(id, PHONE, 100).unwrap();
        assert_eq!((answer.status, answer.json["errorCode"].as_str()), (500, Some("500.002.1001")));
        assert!(answer.json["errorMessage"].as_str().unwrap().starts_with("Duplicate OriginatorConversationID"));
    }
    world.wait(300 * 24 * 3600);
    world.sign_in();
    assert_eq!(world.pay("pv-paid", PHONE, 100).unwrap().status, 500);
    world.settle();
    assert_eq!(world.phones.balance(PHONE), 20_000, "pv-paid and pv-waiting, once each");
    world.sim.options_mut().duplicate_as_200 = true;
    let answer = world.pay("pv-paid", PHONE, 100).unwrap();
    assert_eq!((answer.status, answer.json["ResponseCode"].as_str()), (200, Some("1")));
}

#[test]
fn the_worlds_own_rules_give_their_codes() {
    let phones = Phones::strict();
    for number in [PHONE, "254700000002", "254700000003"] {
        phones.register(number, "TEST BORROWER");
    }
    phones.register_without_mpesa("254700000004");
    phones.set_balance("254700000003", 49_999_000);
    let mut options = DarajaOptions { loose_typing_per_mille: 0, ..DarajaOptions::default() };
    options.shortcodes = vec![Shortcode::b2c("600111", "PAYMENT VAULT TEST", 60_000_000)];
    let mut world = World::plain();
    world.sim = pv_sandbox::daraja::DarajaSim::new(phones.clone(), 1, options);
    world.phones = phones;
    world.sign_in();
    let cases = [
        ("below the minimum", PHONE, 9, 2),
        ("above the maximum", PHONE, 250_001, 3),
        ("first half of the day's limit", PHONE, 250_000, 0),
        ("second half of the day's limit", PHONE, 250_000, 0),
        ("past the day's limit", PHONE, 10, 4),
        ("past the maximum balance", "254700000003", 11, 8),
        ("no M-Pesa on the line", "254700000004", 10, 2040),
        ("nobody has the number", "254700000005", 10, 2040),
        ("more than the utility account holds", "254700000002", 100_001, 1),
        ("all that is left", "254700000002", 100_000, 0),
    ];
    for (index, (why, number, shillings, code)) in cases.into_iter().enumerate() {
        let result = world.pay_and_settle(&format!("pv-{index}"), number, shillings);
        assert_eq!(result["ResultCode"].as_i64(), Some(code), "{why}");
        if code != 0 {
            assert!(result["TransactionID"].as_str().unwrap().starts_with("UA3"));
            assert_eq!(world.sim.payment(&format!("pv-{index}")).unwrap().state, PaymentState::NotPaid);
        }
    }
    assert_eq!(world.sim.balances(SHORTCODE).unwrap().utility_cents, 0);
}

#[test]
fn failures_share_the_days_placeholder_or_show_a_receipt_that_means_nothing() {
    let mut world = World::plain();
    let shown: Vec<String> =
        (0..20).map(|index| world.pay_and_settle(&format!("pv-{index}"), "254700000904", 100)["TransactionID"].to_string()).collect();
    let placeholders = shown.iter().filter(|id| id.as_str() == "\"UA30000000\"").count();
    assert!((1..20).contains(&placeholders), "{shown:?}");
    assert!(world.sim.payments().all(|payment| payment.receipt.is_none()));
}

#[test]
fn an_ordinary_paybill_cannot_pay_and_an_operator_needs_the_role() {
    let mut world = World::plain();
    let mut paybill = Shortcode::b2c("600111", "COLLECTOR", 10_000_000);
    paybill.kind = ShortcodeKind::Paybill;
    world.sim.add_shortcode(paybill);
    assert_eq!(world.pay_and_settle("pv-1", PHONE, 100)["ResultCode"], 2028);
    let mut weak = Shortcode::b2c("600111", "PAYER", 10_000_000);
    weak.initiators = vec![Initiator { may_pay: false, ..Initiator::new("vaultapi", "Sandbox#2026") }];
    world.sim.add_shortcode(weak);
    assert_eq!(world.pay_and_settle("pv-2", PHONE, 100)["ResultCode"], 21);
    assert_eq!(world.phones.balance(PHONE), 0);
}

#[test]
fn wrong_credentials_end_in_2001_then_lock_the_operator_until_a_person_unlocks() {
    let mut world = World::plain();
    let wrong = encrypt_credential("Wrong#2026").unwrap();
    let mut codes = Vec::new();
    for index in 0..5 {
        let mut request = order(&format!("pv-{index}"), PHONE, 100);
        request["SecurityCredential"] = json!(wrong);
        assert_eq!(world.post(B2C, &request).unwrap().status, 200, "the acknowledgement does not look at it");
        codes.push(body(&world.settle()[0])["Result"]["ResultCode"].as_i64().unwrap());
    }
    assert_eq!(codes, [2001, 2001, 2001, 8006, 8006]);
    assert_eq!(world.pay_and_settle("pv-right", PHONE, 100)["ResultCode"], 8006);
    world.sim.reset_operator(SHORTCODE, "vaultapi", "Sandbox#2026").unwrap();
    assert_eq!(world.pay_and_settle("pv-unlocked", PHONE, 100)["ResultCode"], 0);
    let mut request = order("pv-name", PHONE, 100);
    request["InitiatorName"] = json!("VaultApi");
    world.post(B2C, &request).unwrap();
    assert_eq!(body(&world.settle()[0])["Result"]["ResultCode"], 2001);
}

#[test]
fn every_documented_code_can_be_asked_for_and_none_moves_money() {
    let mut world = World::plain();
    let codes = [
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "10",
        "11",
        "12",
        "13",
        "14",
        "15",
        "17",
        "18",
        "19",
        "20",
        "21",
        "22",
        "24",
        "25",
        "26",
        "29",
        "1001",
        "1019",
        "2001",
        "2006",
        "2028",
        "2040",
        "8006",
        "SFC_IC0003",
        "R002",
        "R003",
    ];
    for code in codes {
        let id = format!("pv-{code}");
        world.sim.script(&id, vec![Fault::code(code)]);
        let result = world.pay_and_settle(&id, PHONE, 100);
        assert_eq!(result["ResultCode"].to_string().trim_matches('"'), code);
        assert!(result["ResultDesc"].as_str().unwrap().len() > 5);
        assert!(result.get("ResultParameters").is_none());
    }
    assert_eq!(world.phones.balance(PHONE), 0);
    assert!(world.sim.statement(SHORTCODE).is_empty());
}

#[test]
fn the_portal_funds_pays_by_hand_and_sends_back() {
    let mut world = World::plain();
    world.pay_and_settle("pv-1", PHONE, 1500);
    let now = world.now;
    world.sim.fund(now, SHORTCODE, 500_000).unwrap();
    world.sim.pay_by_hand(now, SHORTCODE, PHONE, 70_000).unwrap();
    assert_eq!(world.phones.balance(PHONE), 220_000);
    let reversal = world.sim.send_back(now, "pv-1").unwrap();
    assert!(world.sim.send_back(now, "pv-1").is_err());
    assert!(world.sim.send_back(now, "pv-none").is_err());
    assert_eq!(world.phones.balance(PHONE), 70_000);
    let lines = world.sim.statement(SHORTCODE);
    let deltas: Vec<i64> = lines.iter().map(|line| line.delta_cents).collect();
    assert_eq!(deltas, [-150_000, 500_000, -70_000, 150_000]);
    assert_eq!(lines[3].linked.as_deref(), Some(lines[0].receipt.as_str()));
    assert_eq!(lines[3].receipt, reversal);
    let mut balance = 100_000_000;
    for line in &lines {
        balance += line.delta_cents;
        assert_eq!(line.balance_cents, balance);
    }
    assert_eq!(world.sim.balances(SHORTCODE).unwrap().utility_cents, balance);
    assert_eq!(world.sim.payment("pv-1").unwrap().state, PaymentState::SentBack);
    assert!(world.sim.fund(now, "1", 1).is_err());
    assert!(world.sim.fund(now, SHORTCODE, 0).is_err());
    assert!(world.sim.move_to_utility(now, SHORTCODE, 1).is_err());
}
