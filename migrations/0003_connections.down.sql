drop table provider_tokens, charge_rules, tariff_bands, tariffs, partner_sms_settings, loan_products, mifos_partners, mpesa_credentials, mpesa_shortcodes;
