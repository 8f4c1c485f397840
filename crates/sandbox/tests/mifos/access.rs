//! Checklist 1 and 2: credentials, tenant, rights, error bodies, strict bodies, ignored query parameters, array dates.

use pv_sandbox::mifos::{MifosOptions, Profile, UserOptions};
use serde_json::json;

use crate::world::{BOTH, World};

#[test]
fn without_a_known_tenant_every_call_is_a_400_of_the_container() {
    for profile in BOTH {
        let mut world = World::new(profile);
        for tenant in [None, Some("nobody".to_owned())] {
            world.tenant = tenant;
            let seen = world.get("/loans");
            assert_eq!(seen.status, 400);
            assert_eq!(seen.challenge.as_deref(), Some("Basic realm=\"Fineract Platform API\""));
            assert!(seen.body.is_null(), "not the envelope: {}", seen.text);
        }
        world.tenant = None;
        assert_eq!(world.get("/loans?tenantIdentifier=default").status, 200, "the query parameter is a substitute");
    }
}

#[test]
fn bad_credentials_are_401_with_a_challenge() {
    for profile in BOTH {
        let mut world = World::new(profile);
        world.login.1 = "wrong".to_owned();
        let seen = world.get("/loans");
        assert_eq!((seen.status, seen.challenge.is_some()), (401, true));
        world.login.0 = "peter".to_owned();
        world.login.1 = String::new();
        assert_eq!(world.get("/loans").status, 401, "staff never log in over the wire");
    }
}

#[test]
fn authentication_answers_rights_and_refuses_in_the_envelope() {
    let mut world = World::with(MifosOptions::default());
    world.login.0 = String::new();
    let seen = world.post("/authentication", &json!({ "username": "pv-integration", "password": "s3cret" }));
    assert_eq!(seen.status, 200);
    assert_eq!(seen.body["base64EncodedAuthenticationKey"], "cHYtaW50ZWdyYXRpb246czNjcmV0");
    assert!(seen.body["permissions"].as_array().unwrap().contains(&json!("DISBURSE_LOAN")));
    assert_eq!(seen.body["shouldRenewPassword"], false);
    let seen = world.post("/authentication", &json!({ "username": "pv-integration", "password": "no" }));
    assert_eq!(seen.verdict(), (401, "error.msg.not.authenticated".to_owned()));
    assert_eq!(world.post("/authentication", &json!({ "username": "pv-integration" })).status, 500);
}

#[test]
fn a_missing_right_is_a_403_with_its_code_inside_and_outside() {
    for profile in BOTH {
        let user = UserOptions::new("reader", "pw", &["READ_LOAN"]);
        let mut world = World::with(MifosOptions { profile, users: vec![user], ..MifosOptions::default() });
        let loan = world.approved();
        assert_eq!(world.get(&format!("/loans/{loan}")).status, 200);
        assert_eq!(world.get("/clients/101").verdict(), (403, "error.msg.not.authorized".to_owned()));
        let seen = world.disburse(loan, "x");
        assert_eq!(seen.verdict(), (403, "error.msg.not.authorized".to_owned()));
        assert_eq!(seen.body["userMessageGlobalisationCode"], "error.msg.not.authorized");
        assert_eq!(seen.body["httpStatusCode"], "403", "a string");
        assert_eq!(world.status_of(loan), 200);
    }
}

#[test]
fn an_expired_password_refuses_every_call() {
    let user = UserOptions { password_expired: true, ..UserOptions::integration("old", "pw") };
    let mut world = World::with(MifosOptions { users: vec![user], ..MifosOptions::default() });
    assert_eq!(world.get("/loans").verdict(), (400, "error.msg.password.outdated".to_owned()));
    let seen = world.post("/authentication", &json!({ "username": "old", "password": "pw" }));
    assert_eq!((seen.body["shouldRenewPassword"].clone(), seen.body["permissions"].is_null()), (json!(true), true));
}

#[test]
fn a_user_of_a_branch_sees_only_its_subtree() {
    let user = UserOptions { office_id: 3, ..UserOptions::integration("branch", "pw") };
    let mut world = World::with(MifosOptions { users: vec![user], ..MifosOptions::default() });
    let loan = world.approved();
    world.sim.bank_mut().add_office("Bondo", 1);
    assert_eq!(world.get("/loans").body["totalFilteredRecords"], 0);
    assert_eq!(world.get(&format!("/loans/{loan}")).verdict(), (404, "error.msg.loan.id.invalid".to_owned()));
    assert_eq!(world.disburse(loan, "x").verdict(), (404, "error.msg.loan.id.invalid".to_owned()));
}

#[test]
fn unknown_ids_are_404_with_the_specific_code_inside() {
    for profile in BOTH {
        let mut world = World::new(profile);
        for (path, code) in [
            ("/loans/999", "error.msg.loan.id.invalid"),
            ("/clients/999", "error.msg.client.id.invalid"),
            ("/savingsaccounts/999", "error.msg.saving.account.id.invalid"),
            ("/hooks/999", "error.msg.hook.identifier.not.found"),
        ] {
            let seen = world.get(path);
            assert_eq!(seen.verdict(), (404, code.to_owned()));
            assert_eq!(seen.body["userMessageGlobalisationCode"], "error.msg.resource.not.found");
        }
        let loan = world.active();
        assert_eq!(world.get(&format!("/loans/{loan}/transactions/1")).code(), "error.msg.loan.transaction.id.invalid");
        assert_eq!(world.get("/no/such/thing").status, 404);
        assert_eq!(world.call("PUT", "/clients/101", &[("content-type", "application/json")], "{}").status, 405);
    }
}

#[test]
fn the_probe_address_tells_the_release_lines_apart() {
    let mut new = World::new(Profile::V1_14);
    assert_eq!(new.get("/loans/external-id/pv-probe-none").verdict(), (404, "error.msg.loan.external.id.invalid".to_owned()));
    let mut old = World::new(Profile::V1_8);
    let seen = old.get("/loans/external-id/pv-probe-none");
    assert_eq!((seen.status, seen.code()), (404, String::new()));
}

#[test]
fn a_body_is_read_strictly() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let path = format!("/loans/{loan}?command=disburse");
        let json_type = [("content-type", "application/json")];
        let mut refused = |body: &str| world.call("POST", &path, &json_type, body).verdict();
        let code = |code: &str| (400, code.to_owned());
        assert_eq!(refused(""), code("error.msg.invalid.request.body"));
        assert_eq!(refused("not json"), code("error.msg.invalid.request.body"));
        assert_eq!(refused("[1]"), code("error.msg.invalid.request.body"));
        assert_eq!(refused("{}"), code("validation.msg.loan.disbursement.actualDisbursementDate.cannot.be.blank"));
        assert_eq!(refused(r#"{"actualDisbursementDate":"2026-11-20","dateFormat":"yyyy-MM-dd"}"#), code("validation.msg.missing.locale.parameter"));
        assert_eq!(refused(r#"{"actualDisbursementDate":"2026-11-20","locale":"en"}"#), code("validation.msg.missing.dateFormat.parameter"));
        assert_eq!(
            refused(r#"{"actualDisbursementDate":"2026-02-31","locale":"en","dateFormat":"yyyy-MM-dd"}"#),
            code("validation.msg.invalid.dateFormat.format")
        );
        assert_eq!(
            refused(r#"{"actualDisbursementDate":"2026-11-20","locale":"en-KE","dateFormat":"yyyy-MM-dd"}"#),
            code("validation.msg.invalid.locale.format")
        );
        assert_eq!(
            refused(r#"{"actualDisbursementDate":"2026-11-20","transactionAmount":"15,000","locale":"en","dateFormat":"yyyy-MM-dd"}"#),
            code("validation.msg.invalid.decimal.format")
        );
        assert_eq!(world.status_of(loan), 200);
    }
}

#[test]
fn each_unsupported_field_is_one_error() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let seen = world.post(&format!("/loans/{loan}?command=disburse"), &json!({ "surprise": 1, "another": 2 }));
        assert_eq!(seen.verdict(), (400, "error.msg.parameter.unsupported".to_owned()));
        assert_eq!(seen.body["errors"].as_array().map(Vec::len), Some(2));
        assert_eq!(seen.body["userMessageGlobalisationCode"], "validation.msg.validation.errors.exist");
    }
}

#[test]
fn an_unknown_command_is_refused_and_an_unknown_query_parameter_is_not() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let seen = world.post(&format!("/loans/{loan}?command=pay"), &json!({}));
        assert_eq!(seen.verdict(), (400, "error.msg.query.parameter.value.unsupported".to_owned()));
        assert_eq!(world.get("/clients?mobileNo=0799999999").body["totalFilteredRecords"], 1, "mobileNo is no filter: everybody comes");
    }
}

#[test]
fn dates_are_arrays_and_null_members_are_left_out() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        let seen = world.get(&format!("/loans/{loan}"));
        assert_eq!(seen.body["timeline"]["approvedOnDate"], json!([2026, 11, 20]));
        assert!(!seen.text.contains("null"), "{}", seen.text);
        assert!(seen.body.get("summary").is_none() && seen.body.get("externalId").is_none());
        assert!(seen.text.contains("\"principal\":15000.000000"), "six decimals: {}", seen.text);
    }
}

#[test]
fn fields_trims_a_read() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    assert_eq!(world.get(&format!("/loans/{loan}?fields=id,accountNo")).text, format!("{{\"id\":{loan},\"accountNo\":\"{loan:09}\"}}"));
    let page = world.get("/loans?fields=id").body;
    assert_eq!(page, json!({ "totalFilteredRecords": 1, "pageItems": [{ "id": loan }] }));
}

#[test]
fn tenants_of_one_host_do_not_see_each_other() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    world.sim.add_tenant(MifosOptions {
        tenant: "second".to_owned(),
        users: vec![UserOptions::integration("pv", "s3cret")],
        ..MifosOptions::default()
    });
    world.tenant = Some("second".to_owned());
    assert_eq!(world.get("/loans").body["totalFilteredRecords"], 0);
    assert_eq!(world.get(&format!("/loans/{loan}")).status, 404);
    assert!(world.sim.bank_of("second").is_some() && world.sim.bank_of("third").is_none());
}
