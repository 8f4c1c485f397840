drop table disbursement_events, items, sms_notifications, outbox_cursors, outbox_sequence, outbox, messages;
