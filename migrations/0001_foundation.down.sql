drop table approval_requests, settings, idempotency_keys, audit_log, api_keys, users, role_permissions, roles, partners;
drop procedure pv_protect(regclass, text, text, text);
drop function pv_platform();
drop function pv_partner();
