//! Loan products: fetched from the core, switched here.

use pv_kernel::core_banking::CoreProduct;
use pv_vault::partner::{
    core_link,
    product::{self, ProductPatch},
};

use crate::support::{admin_of, house, kes, refusal};

pub fn core_product(id: &str) -> CoreProduct {
    CoreProduct {
        product_id: id.into(),
        name: format!("Product {id}"),
        active: true,
        currency: "KES".into(),
        min: Some(kes(500)),
        max: Some(kes(100_000)),
        several_disbursements: false,
        date_must_match: false,
    }
}

fn patch(json: &serde_json::Value) -> ProductPatch {
    serde_json::from_value(json.clone()).unwrap()
}

#[tokio::test]
async fn a_fetch_refreshes_what_the_core_says_and_leaves_what_we_say() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let admin = admin_of(partner.id);
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    let both = [core_product("1"), core_product("2"), core_product("1")];
    let fetched = product::store_fetched(&house.engine, &admin, core.id, &both).await.unwrap();
    assert_eq!(fetched.len(), 2);
    let ours = patch(&serde_json::json!({
        "is_auto_disbursement_enabled": true, "max_disbursement_amount": "20000", "disbursement_rules": {"daily_count": 5, "cents": "floor"}
    }));
    let switched = product::update(&house.engine, &admin, fetched[0].id, ours).await.unwrap();
    house.clock.forward(chrono::Duration::hours(1));
    let changed = CoreProduct { max: Some(kes(30_000)), name: "Renamed".into(), ..core_product("1") };
    let fetched = product::store_fetched(&house.engine, &admin, core.id, &[changed]).await.unwrap();
    let one = fetched.iter().find(|p| p.mifos_product_id == "1").unwrap();
    let two = fetched.iter().find(|p| p.mifos_product_id == "2").unwrap();
    assert_eq!((one.id, one.product_name.as_str(), one.core_max), (switched.id, "Renamed", Some(kes(30_000))));
    assert!(one.is_auto_disbursement_enabled);
    assert_eq!((one.auto_since, one.max_disbursement_amount), (switched.auto_since, Some(kes(20_000))));
    assert_eq!(one.disbursement_rules.daily_count, Some(5));
    assert!(!two.core_active, "the core no longer lists it");
}

#[tokio::test]
async fn the_steps_find_products_by_connection_and_the_cores_id() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let a = house.core(partner.id, "https://a.umoja.co.ke").await;
    let b = house.core(partner.id, "https://b.umoja.co.ke").await;
    for core in [a.id, b.id] {
        product::store_fetched(&house.engine, &house.root, core, &[core_product("1")]).await.unwrap();
    }
    let mut tx = house.engine.begin().await.unwrap();
    let wanted = [(a.id, "1".to_owned()), (a.id, "9".to_owned())];
    let found = product::load_products_in_tx(tx.conn(), &wanted).await.unwrap();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), [(a.id, "1".to_owned())]);
    let settings = &found[&wanted[0]];
    let limits = settings.limits((Some(kes(1_000)), Some(kes(70_000))));
    assert_eq!((limits.min.unwrap().amount, limits.max.unwrap().amount), (kes(1_000), kes(70_000)));
    let links = core_link::load_links_in_tx(tx.conn(), &house.engine.keys, &[a.id]).await.unwrap();
    assert_eq!(product::automatic_since(&links[&a.id], settings), None, "switched on nowhere");
}

#[tokio::test]
async fn a_product_with_several_disbursements_is_not_made_automatic() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    let tranches = CoreProduct { several_disbursements: true, ..core_product("1") };
    let fetched = product::store_fetched(&house.engine, &house.root, core.id, &[tranches]).await.unwrap();
    let on = patch(&serde_json::json!({"is_auto_disbursement_enabled": true}));
    assert_eq!(refusal(product::update(&house.engine, &house.root, fetched[0].id, on).await), "product_not_automatic");
}
