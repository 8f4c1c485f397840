//! A gateway of canned answers, and the account and message of the contract's examples.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use pv_kernel::{
    Msisdn,
    sms::{OutboundSms, SmsAccount},
    transport::{Call, CallError, Transport},
};

use crate::Damza;

pub(crate) struct Gateway {
    answer: Result<(u16, String), CallError>,
    sent: Mutex<Vec<Call>>,
}

impl Gateway {
    pub(crate) fn answering(status: u16, body: &str) -> Arc<Self> {
        Arc::new(Self { answer: Ok((status, body.to_owned())), sent: Mutex::default() })
    }

    pub(crate) fn failing(error: CallError) -> Arc<Self> {
        Arc::new(Self { answer: Err(error), sent: Mutex::default() })
    }

    pub(crate) fn damza(self: &Arc<Self>) -> Damza {
        Damza::new(Arc::<Self>::clone(self))
    }

    pub(crate) fn sent(&self) -> Vec<Call> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Gateway {
    async fn call(&self, call: Call) -> Result<Response<Bytes>, CallError> {
        self.sent.lock().unwrap().push(call);
        let (status, body) = self.answer.clone()?;
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

pub(crate) fn account() -> SmsAccount {
    SmsAccount {
        base_url: "https://damza.example/api/".into(),
        api_key: "sim-key".to_owned().into(),
        username: "abcsacco".into(),
        password: "sim-password".to_owned().into(),
        sender_id: "ABC Bank".into(),
    }
}

pub(crate) fn message() -> OutboundSms {
    OutboundSms {
        to: Msisdn::parse("0700000201").unwrap(),
        text: "Your wallet was credited with KES 1,500.00. Ref PV25011500001.".into(),
        reference: "0b1c1b62-1111-4222-8333-444455556666".into(),
    }
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
