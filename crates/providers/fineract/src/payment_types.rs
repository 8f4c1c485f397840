//! Payment types (Mifos X contract 6.3). Ids differ per tenant; cash types need an open teller session.

use pv_kernel::core_banking::{CoreError, CoreLink, CorePaymentType};

use crate::{
    Fineract,
    products::read_rows,
    wire::{Object, unreadable},
};

impl Fineract {
    pub(crate) async fn read_payment_types(&self, link: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError> {
        let response = self.read(link, "fineract.payment_types", "/paymenttypes").await?;
        read_rows(response.body(), read)
    }
}

fn read(kind: &Object<'_>) -> Result<CorePaymentType, CoreError> {
    Ok(CorePaymentType {
        id: kind.id("id").ok_or_else(|| unreadable("the payment type has no id"))?,
        name: kind.text("name").unwrap_or_default(),
        cash: kind.flag("isCashPayment")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Host, link, run};

    #[test]
    fn the_payment_types_of_both_lines_are_read() {
        let old = r#"[{"id":5,"name":"M-Pesa","description":"Safaricom","isCashPayment":false,"position":3}]"#;
        let new = r#"[{"id":5,"name":"M-Pesa","description":"Safaricom","isCashPayment":false,"position":3,"codeName":"X","isSystemDefined":false},{"id":1,"name":"Cash","isCashPayment":true}]"#;
        let mpesa = CorePaymentType { id: "5".into(), name: "M-Pesa".into(), cash: false };
        let host = Host::answering([(200, old.to_owned()), (200, new.to_owned())]);
        assert_eq!(run(host.core().read_payment_types(&link())).unwrap(), std::slice::from_ref(&mpesa));
        assert_eq!(
            run(host.core().read_payment_types(&link())).unwrap(),
            [mpesa, CorePaymentType { id: "1".into(), name: "Cash".into(), cash: true }]
        );
    }
}
