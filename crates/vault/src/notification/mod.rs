//! Tells customers and partners the truth: from events to texts, from texts to the gateway. One message per event, recipient and type, for ever.

pub mod notify;
pub mod report;
pub mod text;
pub mod texts;
