//! A client as the host reads it back (Mifos X contract 6.2). The phone is free text and optional.

use pv_kernel::core_banking::{CoreClient, CoreError, CoreLink};

use crate::{
    Fineract,
    connection::path_id,
    loans::same_id,
    wire::{Object, unreadable},
};

/// Status id of an active client.
const ACTIVE: u16 = 300;

impl Fineract {
    pub(crate) async fn read_client(&self, link: &CoreLink, client_id: &str) -> Result<CoreClient, CoreError> {
        let id = path_id(client_id, "client")?;
        let response = self.read(link, "fineract.client", format!("/clients/{id}")).await?;
        let client = read(&Object::from_bytes(response.body())?)?;
        if same_id(&client.client_id, id) { Ok(client) } else { Err(unreadable(format!("asked for client {id}, got client {}", client.client_id))) }
    }
}

fn read(client: &Object<'_>) -> Result<CoreClient, CoreError> {
    let active = match client.object("status")?.and_then(|status| status.small("id")) {
        Some(id) => id == ACTIVE,
        None => client.flag("active")?,
    };
    Ok(CoreClient {
        client_id: client.id("id").ok_or_else(|| unreadable("the client has no id"))?,
        active,
        mobile: client.text("mobileNo"),
        name: name(client),
        // No release tells when a client was changed; a changed phone is seen by comparing two reads.
        changed_at: None,
    })
}

/// The display name; entities have a full name, people may have only their parts.
fn name(client: &Object<'_>) -> String {
    client.text("displayName").or_else(|| client.text("fullname")).unwrap_or_else(|| {
        let parts: Vec<String> = ["firstname", "middlename", "lastname"].into_iter().filter_map(|key| client.text(key)).collect();
        parts.join(" ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, edited, envelope, link, run};

    const CLIENT: &str = r#"{ "id": 118, "accountNo": "000000118", "externalId": "M-118", "status": { "id": 300, "code": "clientStatusType.active", "value": "Active" },
      "active": true, "activationDate": [2025,3,2], "firstname": "Achieng", "lastname": "Otieno", "displayName": "Achieng Otieno",
      "mobileNo": "0712000111", "emailAddress": "a@example.org", "dateOfBirth": [1990,4,1], "officeId": 2, "officeName": "Kisumu",
      "staffId": 4, "staffName": "Peter", "savingsAccountId": 66, "isStaff": false, "timeline": { "submittedOnDate": [2025,3,1] },
      "legalForm": { "id": 1, "code": "legalFormType.person", "value": "Person" } }"#;

    #[test]
    fn the_client_of_the_contract_is_read() {
        let host = Host::answering([(200, CLIENT.to_owned())]);
        let client = run(host.core().read_client(&link(), "118")).unwrap();
        assert_eq!(
            client,
            CoreClient { client_id: "118".into(), active: true, mobile: Some("0712000111".into()), name: "Achieng Otieno".into(), changed_at: None }
        );
    }

    #[test]
    fn the_status_decides_over_the_active_flag_and_a_phone_may_be_missing() {
        let closed = edited(CLIENT, r#""status":{"id":600},"mobileNo":null"#);
        let client = read(&Object::read(&closed).unwrap()).unwrap();
        assert!(!client.active);
        assert_eq!(client.mobile, None);
        let bare = read(&Object::read(r#"{"id":"5","fullname":"Umoja Ltd","mobileNo":712000111}"#).unwrap()).unwrap();
        assert_eq!((bare.active, bare.name.as_str(), bare.mobile.as_deref()), (false, "Umoja Ltd", Some("712000111")));
        assert_eq!(read(&Object::read(r#"{"id":5,"firstname":"A","lastname":"B"}"#).unwrap()).unwrap().name, "A B");
    }

    #[test]
    fn wrong_clients_and_broken_answers_are_errors() {
        for body in [CLIENT, "<html>", "", "{}", "[]"] {
            let host = Host::answering([(200, body.to_owned())]);
            assert!(matches!(run(host.core().read_client(&link(), "119")), Err(CoreError::Unreadable(_))), "{body}");
        }
        let host = Host::answering([(404, envelope("error.msg.resource.not.found", Some("error.msg.client.id.invalid")))]);
        assert_eq!(run(host.core().read_client(&link(), "119")), Err(CoreError::NotFound));
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_client_or_an_error(value in crate::testing::any_json()) {
            if let Ok(object) = Object::read(&value) {
                let _ = read(&object);
            }
        }
    }
}
