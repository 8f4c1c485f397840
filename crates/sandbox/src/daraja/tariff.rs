//! What the organisation pays Safaricom per B2C payment (M-Pesa contract 8.9, form of August 2023, business column).

/// Upper end of each band and the charge, whole KES.
const BUSINESS: [(i64, i64); 6] = [(49, 0), (100, 0), (1_500, 5), (5_000, 9), (20_000, 11), (250_000, 13)];

/// The charge of one payment, both in KES cents. Above the last band the last charge is kept.
pub fn b2c_charge_cents(cents: i64) -> i64 {
    // The bands are whole shillings; a cent above a band's end is already in the next one.
    let shillings = cents.div_euclid(100) + i64::from(cents.rem_euclid(100) > 0);
    let charge = BUSINESS.iter().find(|(end, _)| shillings <= *end).map_or(13, |(_, charge)| *charge);
    charge * 100
}

#[cfg(test)]
mod tests {
    use super::b2c_charge_cents;

    #[test]
    fn each_edge_of_the_tariff_form_is_charged_as_printed() {
        let edges = [
            (1, 0),
            (49, 0),
            (50, 0),
            (100, 0),
            (101, 5),
            (500, 5),
            (1_000, 5),
            (1_500, 5),
            (1_501, 9),
            (2_500, 9),
            (5_000, 9),
            (5_001, 11),
            (7_501, 11),
            (20_000, 11),
            (20_001, 13),
            (70_000, 13),
            (150_000, 13),
        ];
        for (shillings, charge) in edges {
            assert_eq!(b2c_charge_cents(shillings * 100), charge * 100, "KES {shillings}");
        }
    }
}
