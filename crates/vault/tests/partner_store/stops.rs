//! STOP is set, seen by the steps, and lifted by whoever may.

use pv_vault::{
    audit::Permission,
    stop::{self, StopTarget},
};

use crate::support::{admin_of, house, refusal};

#[tokio::test]
async fn a_stop_works_at_once_and_is_set_once() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    let first = stop::set(&house.engine, &admin_of(partner.id), StopTarget::Partner(partner.id), "we look at something").await.unwrap();
    let again = stop::set(&house.engine, &house.root, StopTarget::Partner(partner.id), "another reason").await.unwrap();
    assert_eq!((again.id, again.reason.as_str()), (first.id, "we look at something"));
    let blocks = async || {
        let mut tx = house.engine.begin().await.unwrap();
        let stops = stop::active_in_tx(tx.conn()).await.unwrap();
        stops.blocks("mpesa", shortcode.id, partner.id, None).map(|s| s.id)
    };
    assert_eq!(blocks().await, Some(first.id));
    let lifted = stop::lift(&house.engine, &admin_of(partner.id), first.id, "it is fine").await.unwrap();
    assert!(lifted.lifted_at.is_some());
    assert_eq!(blocks().await, None);
    assert_eq!(stop::lift(&house.engine, &house.root, first.id, "once more").await.unwrap(), lifted);
    assert_eq!(house.count("select count(*) from stops").await, 1);
    assert_eq!(house.count("select count(*) from audit_log where action like 'stop.%'").await, 2);
}

#[tokio::test]
async fn a_partner_cannot_lift_what_the_platform_has_set() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let admin = admin_of(partner.id);
    let own = stop::set(&house.engine, &house.root, StopTarget::Partner(partner.id), "suspicion of fraud").await.unwrap();
    let all = stop::set(&house.engine, &house.root, StopTarget::All, "the rail is down").await.unwrap();
    assert_eq!(stop::list(&house.engine, &admin).await.unwrap().len(), 2, "it sees both");
    for id in [own.id, all.id] {
        assert_eq!(refusal(stop::lift(&house.engine, &admin, id, "please").await), "not_permitted");
    }
    assert_eq!(refusal(stop::set(&house.engine, &admin, StopTarget::Rail("mpesa".into()), "please").await), "not_permitted");
    let mut weak = admin;
    weak.permissions.remove(&Permission::StopSet);
    assert_eq!(refusal(stop::set(&house.engine, &weak, StopTarget::Partner(partner.id), "please").await), "not_permitted");
}

#[tokio::test]
async fn a_step_pauses_a_shortcode_once() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    for _ in 0..2 {
        let mut tx = house.engine.begin().await.unwrap();
        stop::pause_shortcode_in_tx(tx.conn(), &house.engine, shortcode.id, "paid twice").await.unwrap();
        tx.commit().await.unwrap();
    }
    let stops = stop::list(&house.engine, &house.root).await.unwrap();
    assert_eq!(stops.len(), 1);
    assert_eq!((stops[0].partner_id, &stops[0].target), (Some(partner.id), &StopTarget::Shortcode(shortcode.id)));
    assert_eq!(refusal(stop::lift(&house.engine, &admin_of(partner.id), stops[0].id, "please").await), "not_permitted");
}
