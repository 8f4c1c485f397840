drop table ledger_fold_cursor, ledger_open_holds, ledger_folds, ledger_entries, ledger_balances, ledger_transfers, ledger_accounts;
drop function ledger_append_only(), ledger_check_written();
