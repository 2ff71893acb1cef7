//! Carries requests to a store and brings replies back, apart from the member that made them.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::member::Input;
use crate::request::{Reply, Request, RequestId, StoreError};
use crate::store::Store;

/// What has come back for a request.
#[derive(Debug)]
pub struct Response {
    request: RequestId,
    result: Result<Reply, StoreError>,
}

/// Sends requests of one member, each in a task of its own. A member has few in flight, and a store ends each in bounded
/// time, so that neither tasks nor responses pile up.
#[derive(Debug)]
pub struct Courier<S> {
    store: Arc<S>,
    responses: UnboundedSender<Response>,
}

impl<S: Store> Courier<S> {
    /// A courier, and where its responses arrive.
    pub fn new(store: Arc<S>) -> (Courier<S>, UnboundedReceiver<Response>) {
        let (responses, arrivals) = unbounded_channel();
        (Courier { store, responses }, arrivals)
    }

    /// Sends a request; must be called within a Tokio runtime.
    pub fn send(&self, request: Request) {
        let (store, responses) = (Arc::clone(&self.store), self.responses.clone());
        tokio::spawn(async move {
            let id = request.id;
            let result = store.exchange(request).await;
            // The member is gone: there is nothing to tell.
            drop(responses.send(Response { request: id, result }));
        });
    }
}

impl Response {
    /// To which request it belongs.
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// As the member takes it.
    pub fn into_input<W>(self) -> Input<W> {
        let request = self.request;
        match self.result {
            Ok(reply) => Input::Reply { request, reply: Box::new(reply) },
            Err(error) => Input::Failed { request, error },
        }
    }
}
