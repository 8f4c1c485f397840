//! Checklist 7: setting hooks up, what they post, and what happens on the way.

use std::time::Duration;

use pv_sandbox::mifos::{Fault, MifosOptions, Profile, UserOptions};
use pv_sandbox::wire::Simulator;
use serde_json::{Value, json};

use crate::world::{BOTH, World};

fn hook_body(url: &str) -> Value {
    json!({ "name": "Web", "displayName": "Payment Vault", "isActive": true, "config": { "Payload URL": url, "Content Type": "json" },
        "events": [{ "entityName": "LOAN", "actionName": "APPROVE" }] })
}

#[test]
fn a_new_hook_is_probed_with_a_get() {
    for profile in BOTH {
        let mut world = World::new(profile);
        assert_eq!(world.hook(&[("LOAN", "APPROVE")]).status, 200);
        let probes = world.deliveries();
        assert_eq!(probes.len(), 1);
        assert_eq!((probes[0].request.method().as_str(), probes[0].request.uri().path()), ("GET", "/h/p7/3f9c1a/"));
    }
}

#[test]
fn the_address_must_end_with_a_slash_and_fit_into_100_characters() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let mut status = |url: &str| world.post("/hooks", &hook_body(url)).status;
        assert_eq!(status("https://pv.example/h/p7"), 500);
        assert_eq!(status("https://pv.example/h/p7/"), 200);
        assert_eq!(status("https://pv.example"), 200, "a bare host is fine");
        let fits = format!("https://pv.example/{}/", "x".repeat(80));
        assert_eq!((fits.len(), status(&fits), status(&format!("{fits}y/"))), (100, 200, 403));
        world.sim.bank_mut().options_mut().hooks.unreachable.insert("https://gone.example".to_owned());
        let seen = world.post("/hooks", &hook_body("https://gone.example/h/"));
        assert_eq!(seen.verdict(), (400, "validation.msg.hook.url.invalid".to_owned()));
    }
}

#[test]
fn other_mistakes_in_a_hook_have_their_codes() {
    let mut world = World::new(Profile::V1_14);
    let url = "https://pv.example/h/";
    let mut refused = |change: &dyn Fn(&mut Value)| {
        let mut body = hook_body(url);
        change(&mut body);
        world.post("/hooks", &body).verdict()
    };
    assert_eq!(refused(&|body| body["events"] = json!([])), (400, "validation.msg.hook.registered.events.cannot.be.empty".to_owned()));
    assert_eq!(
        refused(&|body| body["config"]["Content Type"] = json!("xml")),
        (400, "validation.msg.hook.content.type.must.be.json.or.form".to_owned())
    );
    assert_eq!(
        refused(&|body| body["config"] = json!({ "Content Type": "json" })),
        (400, "validation.msg.hook.required.config.field.not.provided".to_owned())
    );
    assert_eq!(refused(&|body| body["name"] = json!("Pigeon")), (404, "error.msg.template.not.found".to_owned()));
    assert_eq!(refused(&|body| body["colour"] = json!("red")), (400, "error.msg.parameter.unsupported".to_owned()));
}

#[test]
fn a_hook_is_inactive_unless_told_and_an_update_wakes_it() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let mut body = hook_body("https://pv.example/h/");
        body.as_object_mut().unwrap().remove("isActive");
        let id = world.post("/hooks", &body).body["resourceId"].clone();
        world.approved();
        assert!(world.posts().is_empty());
        let seen = world.call("PUT", &format!("/hooks/{id}"), &[("content-type", "application/json")], r#"{"isActive":true}"#);
        assert_eq!(seen.body, json!({ "resourceId": id, "changes": { "isActive": true } }));
        world.approved();
        assert_eq!(world.posts().len(), 1);
        let read = world.get(&format!("/hooks/{id}")).body;
        assert_eq!(read["config"][1], json!({ "fieldName": "Payload URL", "fieldValue": "https://pv.example/h/" }), "an array on read");
        assert_eq!(world.call("DELETE", &format!("/hooks/{id}"), &[], "").status, 200);
        world.approved();
        assert!(world.posts().is_empty());
        assert_eq!(world.get("/hooks").body, json!([]));
        assert!(world.get("/hooks/template").text.contains("APPROVALUNDO"));
    }
}

#[test]
fn an_approval_is_posted_as_the_contract_shows() {
    for profile in BOTH {
        let mut world = World::new(profile);
        world.hook(&[("LOAN", "APPROVE")]);
        world.deliveries();
        let loan = world.approved();
        let posts = world.posts();
        let (delivery, body) = &posts[0];
        assert_eq!(posts.len(), 1);
        let header = |name: &str| delivery.request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        assert_eq!(delivery.request.uri().to_string(), "https://pv.example.co.ke/h/p7/3f9c1a/");
        assert_eq!(header("content-type"), "application/json; charset=UTF-8");
        assert_eq!((header("x-fineract-entity"), header("x-fineract-action")), ("LOAN".to_owned(), "APPROVE".to_owned()));
        assert_eq!(header("fineract-platform-tenantid"), "default");
        assert_eq!(header("x-fineract-endpoint"), "https://mifos.example/fineract-provider/api/v1/");
        assert_eq!(
            (body["createdBy"].clone(), body["createdByName"].clone(), body["createdByFullName"].clone()),
            (json!(7), json!("peter"), json!("Peter Mwangi"))
        );
        assert_eq!((body["officeId"].clone(), body["clientId"].clone()), (json!(2), json!(world.client)));
        assert_eq!((body["response"]["loanId"].clone(), body["response"].get("officeId")), (json!(loan), None));
        assert_eq!(body["response"]["changes"]["approvedOnDate"], "20 November 2026");
        assert_eq!(body["timestamp"], "2026-11-20T05:00:00.000000Z");
        let raw = String::from_utf8_lossy(delivery.request.body()).into_owned();
        assert!(raw.contains("\"approvedLoanAmount\":15000.0,"), "every number of the request became a double: {raw}");
        assert!(body.get("status").is_none());
    }
}

#[test]
fn a_query_in_the_address_is_dropped() {
    let mut world = World::new(Profile::V1_14);
    world.post("/hooks", &hook_body("https://user:pw@pv.example/h/?secret=1"));
    world.deliveries();
    world.approved();
    assert_eq!(world.posts()[0].0.request.uri().to_string(), "https://pv.example/h/");
}

#[test]
fn our_own_commands_fire_too_and_name_us() {
    for profile in BOTH {
        let mut world = World::new(profile);
        world.hook(&[("LOAN", "DISBURSE"), ("LOAN", "REPAYMENT")]);
        world.deliveries();
        let loan = world.approved();
        let resource = world.disburse(loan, "d").body["resourceId"].clone();
        let posts = world.posts();
        assert_eq!((posts.len(), posts[0].1["createdByName"].clone()), (1, json!("pv")));
        assert_eq!(posts[0].1["response"]["resourceId"], resource, "the transaction on 1.8, the loan on 1.9+");
        world.repay(loan, 100, "r");
        assert_eq!(world.posts().len(), 1);
    }
}

#[test]
fn a_refused_command_fires_in_the_form_of_the_release() {
    let mut old = World::new(Profile::V1_8);
    let mut new = World::new(Profile::V1_14);
    for world in [&mut old, &mut new] {
        world.hook(&[("LOAN", "DISBURSE")]);
        world.deliveries();
        let loan = world.submitted();
        assert_eq!(world.disburse(loan, "d").status, 400);
    }
    let event = old.posts().remove(0).1;
    assert_eq!((event["status"].clone(), event["response"]["statusCode"].clone()), (json!("Exception"), json!(400)));
    assert!(event["response"].get("loanId").is_none() && event.get("officeId").is_none());
    let event = new.posts().remove(0).1;
    assert!(event.get("status").is_none() && event.get("response").is_none() && event.get("officeId").is_none() && event.get("clientId").is_none());
    assert_eq!(event["request"]["transactionAmount"].as_f64(), Some(15000.0));
}

#[test]
fn a_parked_command_fires_only_on_the_new_line() {
    for (profile, events) in [(Profile::V1_8, 0), (Profile::V1_14, 1)] {
        let mut world = World::new(profile);
        world.hook(&[("LOAN", "DISBURSE")]);
        world.deliveries();
        let loan = world.approved();
        world.sim.bank_mut().script_loan(loan, [Fault::Parked]);
        world.disburse(loan, "d");
        let posts = world.posts();
        assert_eq!(posts.len(), events);
        assert!(posts.iter().all(|(_, event)| event.get("response").is_none()));
    }
}

#[test]
fn a_retry_inside_the_server_fires_a_failure_and_then_the_success() {
    let mut world = World::new(Profile::V1_14);
    world.hook(&[("LOAN", "DISBURSE")]);
    world.deliveries();
    let loan = world.approved();
    world.sim.bank_mut().script_loan(loan, [Fault::RetriedInside]);
    assert_eq!(world.disburse(loan, "d").status, 200);
    let mut forms: Vec<bool> = world.posts().iter().map(|(_, event)| event.get("response").is_some()).collect();
    forms.sort_unstable();
    assert_eq!(forms, [false, true]);
}

#[test]
fn an_event_leaves_once_whatever_the_receiver_answers() {
    let mut world = World::new(Profile::V1_14);
    world.hook(&[("LOAN", "APPROVE")]);
    world.deliveries();
    world.approved();
    let posts = world.posts();
    for status in [Some(500), None] {
        world.sim.delivered(world.now, &posts[0].0, status);
    }
    assert!(world.posts().is_empty());
    assert_eq!(world.sim.bank().hook_log().failed, 2);
}

#[test]
fn dials_lose_double_and_reorder_events() {
    let mut world = World::new(Profile::V1_14);
    world.hook(&[("LOAN", "APPROVE")]);
    world.deliveries();
    world.sim.bank_mut().options_mut().hooks.lost = 1000;
    world.approved();
    assert!(world.posts().is_empty());
    world.sim.bank_mut().options_mut().hooks.lost = 0;
    world.sim.bank_mut().options_mut().hooks.doubled = 1000;
    world.approved();
    assert_eq!(world.posts().len(), 2);
    world.sim.bank_mut().options_mut().hooks.doubled = 0;
    world.sim.bank_mut().options_mut().hooks.longest = Duration::from_secs(20);
    let sent: Vec<u64> = (0..12).map(|_| world.approved()).collect();
    let arrived: Vec<u64> = world.posts().iter().filter_map(|(_, event)| event["response"]["loanId"].as_u64()).collect();
    let mut sorted = arrived.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, sent);
    assert_ne!(arrived, sent, "out of order");
}

#[test]
fn before_the_commit_the_hook_is_there_and_the_loan_still_reads_as_submitted() {
    let mut world = World::new(Profile::V1_8);
    world.hook(&[("LOAN", "APPROVE")]);
    world.deliveries();
    world.sim.bank_mut().options_mut().hooks.before_commit = 1000;
    let lag = world.sim.bank().options().hooks.commit_lag;
    let loan = world.approved();
    let posts = world.posts();
    assert!(posts[0].0.at < world.now + lag);
    world.now = posts[0].0.at;
    assert_eq!(world.get(&format!("/loans/{loan}")).body["status"]["id"], 100);
    assert_eq!(world.get("/loans?sqlSearch=l.loan_status_id%3D200").body["totalFilteredRecords"], 0);
    world.now += lag;
    assert_eq!(world.get(&format!("/loans/{loan}")).body["status"]["id"], 200);
    assert!(world.disburse(loan, "d").delay >= lag, "the caller is answered after the commit");

    let mut new = World::new(Profile::V1_14);
    new.sim.bank_mut().options_mut().hooks.before_commit = 1000;
    let loan = new.approved();
    assert_eq!(new.get(&format!("/loans/{loan}")).body["status"]["id"], 200, "1.14 posts after the commit");
}

#[test]
fn a_command_that_meets_an_open_commit_is_answered_after_it() {
    let mut world = World::new(Profile::V1_8);
    world.hook(&[("LOAN", "APPROVE")]);
    world.sim.bank_mut().options_mut().hooks.before_commit = 1000;
    let loan = world.approved();
    world.sim.bank_mut().options_mut().hooks.before_commit = 0;
    let seen = world.disburse(loan, "d");
    assert_eq!(seen.status, 200);
    world.now += seen.delay;
    let read = world.get(&format!("/loans/{loan}")).body;
    assert_eq!(read["status"]["id"], 300, "the caller sees its own write");
}

#[test]
fn hooks_of_two_tenants_leave_under_their_own_names_and_numbers() {
    let mut world = World::new(Profile::V1_14);
    let second = MifosOptions { tenant: "second".to_owned(), users: vec![UserOptions::integration("pv", "s3cret")], ..MifosOptions::default() };
    world.sim.add_tenant(second);
    world.hook(&[("LOAN", "APPROVE")]);
    world.tenant = Some("second".to_owned());
    world.hook(&[("LOAN", "APPROVE")]);
    let probes = world.deliveries();
    assert_eq!(probes.len(), 2);
    assert_ne!(probes[0].id, probes[1].id);
    world.approved();
    let tenants: Vec<String> =
        world.posts().iter().map(|(delivery, _)| delivery.request.headers()["fineract-platform-tenantid"].to_str().unwrap().to_owned()).collect();
    assert_eq!(tenants, ["default"], "the approval was in the first tenant");
}
