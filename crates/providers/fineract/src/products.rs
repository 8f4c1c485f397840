//! Loan products and the flags that matter for money (Mifos X contract 2).

use pv_kernel::core_banking::{CoreError, CoreLink, CoreProduct};

use crate::{
    Fineract,
    connection::path_id,
    loans::same_id,
    wire::{Object, array, unreadable},
};

impl Fineract {
    pub(crate) async fn read_product(&self, link: &CoreLink, product_id: &str) -> Result<CoreProduct, CoreError> {
        let id = path_id(product_id, "loan product")?;
        let response = self.read(link, "fineract.product", format!("/loanproducts/{id}")).await?;
        let product = read(&Object::from_bytes(response.body())?)?;
        if same_id(&product.product_id, id) {
            Ok(product)
        } else {
            Err(unreadable(format!("asked for loan product {id}, got {}", product.product_id)))
        }
    }

    pub(crate) async fn read_products(&self, link: &CoreLink) -> Result<Vec<CoreProduct>, CoreError> {
        let response = self.read(link, "fineract.products", "/loanproducts").await?;
        read_rows(response.body(), read)
    }
}

/// Reads a plain list. A row that cannot be read is left out and logged, so that one odd row does not hide the others; when
/// no row can be read, that is the answer.
pub(crate) fn read_rows<T>(body: &[u8], read: impl Fn(&Object<'_>) -> Result<T, CoreError>) -> Result<Vec<T>, CoreError> {
    let text = std::str::from_utf8(body).map_err(|_| unreadable("not UTF-8"))?;
    let mut rows = Vec::new();
    let mut first_error = None;
    for row in array(text)? {
        match Object::read(row).and_then(|object| read(&object)) {
            Ok(row) => rows.push(row),
            Err(why) => {
                tracing::warn!(%why, "a row of a list cannot be read and is left out");
                first_error.get_or_insert(why);
            }
        }
    }
    match first_error {
        Some(why) if rows.is_empty() => Err(why),
        _ => Ok(rows),
    }
}

fn read(product: &Object<'_>) -> Result<CoreProduct, CoreError> {
    Ok(CoreProduct {
        product_id: product.id("id").ok_or_else(|| unreadable("the loan product has no id"))?,
        name: product.text("name").unwrap_or_default(),
        // Computed by the host from the closing date; where it does not say, the product is not closed.
        active: product.text("status").is_none_or(|status| status == "loanProduct.active"),
        currency: product.object("currency")?.and_then(|c| c.text("code")).ok_or_else(|| unreadable("the loan product has no currency code"))?,
        min: product.money("minPrincipal")?,
        max: product.money("maxPrincipal")?,
        several_disbursements: product.flag("multiDisburseLoan")? || product.flag("disallowExpectedDisbursements")?,
        date_must_match: product.flag("syncExpectedWithDisbursementDate")?,
    })
}

#[cfg(test)]
mod tests {
    use pv_kernel::Money;

    use super::*;
    use crate::testing::{Host, PRODUCT, edited, link, run};

    #[test]
    fn the_product_of_the_contract_is_read() {
        let host = Host::answering([(200, PRODUCT.to_owned())]);
        assert_eq!(
            run(host.core().read_product(&link(), "4")).unwrap(),
            CoreProduct {
                product_id: "4".into(),
                name: "Biashara Loan".into(),
                active: true,
                currency: "KES".into(),
                min: Some(Money::from_minor(500_000)),
                max: Some(Money::from_minor(15_000_000)),
                several_disbursements: false,
                date_must_match: false,
            }
        );
    }

    #[test]
    fn the_flags_that_allow_a_second_disbursement_are_seen() {
        let one = |member: &str| read(&Object::read(&edited(PRODUCT, member)).unwrap());
        assert!(one(r#""multiDisburseLoan":true"#).unwrap().several_disbursements);
        assert!(one(r#""disallowExpectedDisbursements":true"#).unwrap().several_disbursements);
        assert!(one(r#""syncExpectedWithDisbursementDate":true"#).unwrap().date_must_match);
        assert!(!one(r#""status":"loanProduct.inActive""#).unwrap().active);
        assert!(one(r#""multiDisburseLoan":"often""#).is_err());
    }

    #[test]
    fn a_bad_row_is_left_out_but_a_list_of_bad_rows_is_an_error() {
        let host = Host::answering([(200, format!("[{PRODUCT},{{\"id\":5}}]"))]);
        assert_eq!(run(host.core().read_products(&link())).unwrap().len(), 1);
        for body in ["[{\"id\":5}]", "{}", "<html>", "", "[1"] {
            let host = Host::answering([(200, body.to_owned())]);
            assert!(matches!(run(host.core().read_products(&link())), Err(CoreError::Unreadable(_))), "{body}");
        }
        let host = Host::answering([(200, "[]".to_owned())]);
        assert_eq!(run(host.core().read_products(&link())), Ok(vec![]));
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_a_list_of_products_or_an_error(value in crate::testing::any_json()) {
            let _ = read_rows(value.as_bytes(), read);
            let _ = read_rows(format!("[{value}]").as_bytes(), read);
        }
    }
}
