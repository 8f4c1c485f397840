//! The OpenAPI document: committed, complete, and the same as the code.

use std::{collections::BTreeSet, path::PathBuf};

use pv_api::{Access, route_table};
use serde_json::Value;

use crate::support::{Call, DOCUMENT, house};

/// Regenerates and compares. `UPDATE_OPENAPI=1` writes instead.
#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/api/openapi.json");
    let made = format!("{}\n", pv_api::openapi().to_pretty_json().unwrap());
    if std::env::vars().any(|(name, value)| name == "UPDATE_OPENAPI" && value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "docs/api/openapi.json is not what the code makes: run this test with UPDATE_OPENAPI=1 and look at the difference");
}

#[test]
fn every_route_names_a_permission_or_is_known_to_need_none() {
    let public: BTreeSet<String> =
        route_table().into_iter().filter(|r| r.access == Access::Public).map(|r| format!("{} {}", r.method, r.path)).collect();
    assert_eq!(public, BTreeSet::from(["GET /healthz".to_owned(), "GET /readyz".to_owned()]), "a new public route is named here, on purpose");
    let any: BTreeSet<String> =
        route_table().into_iter().filter(|r| r.access == Access::AnyKey).map(|r| format!("{} {}", r.method, r.path)).collect();
    assert_eq!(any, BTreeSet::from(["GET /api/me", "GET /api/partners", "GET /api/partners/{id}"].map(str::to_owned)));
    let mut seen = BTreeSet::new();
    for route in route_table() {
        let operation = &DOCUMENT["paths"][&route.path][route.method.to_lowercase()];
        assert_eq!(operation["x-permission"], route.access.word(), "{} {}", route.method, route.path);
        assert!(seen.insert((route.method, route.path.clone())), "{} {} stands twice", route.method, route.path);
    }
    let documented: usize = DOCUMENT["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, seen.len(), "every documented operation is in the table");
}

#[test]
fn a_changing_route_never_needs_a_reading_permission_only() {
    for route in route_table().into_iter().filter(|r| r.method != "GET") {
        let Access::Needs(permission) = route.access else { panic!("{} {} changes things and names no permission", route.method, route.path) };
        assert!(!permission.only_reads(), "{} {} changes things with {permission}", route.method, route.path);
    }
}

#[test]
fn every_operation_is_described_with_its_errors() {
    let mut ids = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let here = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{here}: its operationId is taken");
            assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 10), "{here} has no summary");
            assert!(operation["tags"].as_array().is_some_and(|t| t.len() == 1), "{here} has no tag");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.contains_key("429") && answers.contains_key("503"), "{here}");
            if operation["x-permission"] != "public" {
                assert!(answers.contains_key("401") && answers.contains_key("403"), "{here}");
            }
            if operation["requestBody"].is_object() {
                for status in ["400", "413", "415", "422"] {
                    assert!(answers.contains_key(status), "{here} does not say {status}");
                }
            }
            let good = answers.iter().find(|(status, _)| status.starts_with('2')).unwrap();
            assert!(good.1["content"]["application/json"]["schema"].is_object(), "{here}: its answer has no shape");
        }
    }
}

/// Every reference leads somewhere, and every shape is closed over the document.
#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(&DOCUMENT, &mut found);
    assert!(found.len() > 30);
    for target in found {
        let pointer = target.trim_start_matches('#');
        assert!(DOCUMENT.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_document_and_its_page_are_served_without_a_key_and_from_this_house_alone() {
    let house = house().await;
    let json = Call::get("/api/openapi.json").send(&house).await.expect(200);
    assert_eq!(json.body, *DOCUMENT);
    for path in ["/api/docs", "/api/docs/", "/api/docs/index.html", "/api/docs/swagger-ui.css", "/api/docs/swagger-initializer.js"] {
        let page = Call::get(path).send(&house).await;
        assert!(page.status == 200 || page.status == 303, "{path}: {}", page.status);
        assert!(page.header("content-security-policy").starts_with("default-src 'self'"), "{path}");
    }
}
