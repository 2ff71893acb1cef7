//! The downstream session that pingora-proxy serves: a request that the guard has already read and judged.
//!
//! Pingora reads the request from memory and writes the response to a channel and a pipe; it never touches the client's
//! connection. Must not know policy or time: the client's side holds the deadlines and drops the exchange when one strikes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use pingora::http::{HMap, RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::{CustomMessageWrite, is_informational_except_101, server::Session};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{ErrorType, OrErr, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

use crate::proxy::backend::pingora::exchange::BridgeExchange;

/// Most bytes of a request body that Pingora gets at a time. Between two pieces it reads the response.
const PIECE_BYTES: usize = 64 * 1024;

type MessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

pub(super) struct BridgeSession {
    pub(super) exchange: Arc<BridgeExchange>,
    pub(super) request: RequestHeader,
    /// What Pingora has not read of the request body.
    pub(super) body: Bytes,
    pub(super) head: Option<oneshot::Sender<Box<ResponseHeader>>>,
    /// The response body. In an open tunnel, the bytes of both directions.
    pub(super) pipe: DuplexStream,
    /// Whether the backend switched to the WebSocket protocol.
    pub(super) upgraded: bool,
    /// Whether the client's side of the tunnel has ended.
    pub(super) tunnel_ended: bool,
}

impl BridgeSession {
    /// Passes on the head of the final response.
    fn respond(&mut self, head: Box<ResponseHeader>) {
        let status = u32::from(head.status.as_u16());
        if is_informational_except_101(status) {
            return;
        }
        self.upgraded = self.exchange.is_upgrade && status == 101;
        if let Some(sender) = self.head.take() {
            let _ = sender.send(head);
        }
    }
}

/// A method without a comment does what its name says, or does not apply: no retries, no timeouts, no custom messages.
#[async_trait]
impl Session for BridgeSession {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }
    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }
    fn is_upgrade_req(&self) -> bool {
        self.exchange.is_upgrade
    }
    fn was_upgraded(&self) -> bool {
        self.upgraded
    }
    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }
    /// An upgrade request is done when its tunnel is. A refused one waits for the client's side to drop the exchange, so its
    /// backend connection is never released to a pool.
    fn is_body_done(&mut self) -> bool {
        if self.exchange.is_upgrade { self.tunnel_ended } else { self.body.is_empty() }
    }
    /// Pingora sends what was buffered, or the end of an empty body, before it reads the session. For an upgrade nothing is
    /// buffered and nothing has ended: if Pingora sent an end, a backend that switches protocols at once would get it as the
    /// end of the tunnel.
    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.exchange.is_upgrade.then(Bytes::new)
    }
    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        if self.upgraded && !self.tunnel_ended {
            let mut data = BytesMut::with_capacity(PIECE_BYTES);
            let read = self.pipe.read_buf(&mut data).await.unwrap_or_default();
            self.tunnel_ended = read == 0;
            return Ok((read > 0).then(|| data.freeze()));
        }
        if self.body.is_empty() {
            return pending().await;
        }
        Ok(Some(self.body.split_to(self.body.len().min(PIECE_BYTES))))
    }
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read_body_or_idle(false).await
    }
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Header(head, end) => {
                    self.respond(head);
                    end
                }
                HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                    let written = self.pipe.write_all(&data.unwrap_or_default()).await;
                    written.or_err(ErrorType::WriteError, "the client's side is gone")?;
                    end
                }
                HttpTask::Trailer(_) | HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if ended {
            self.exchange.complete();
            let _ = self.pipe.shutdown().await;
        }
        Ok(ended)
    }
    /// Responses of Pingora's own would come through these, and there are none.
    async fn write_response_header(&mut self, _head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        Ok(())
    }
    async fn write_response_header_ref(&mut self, _head: &ResponseHeader, _end: bool) -> Result<()> {
        Ok(())
    }
    async fn write_body(&mut self, _data: Bytes, _end: bool) -> Result<()> {
        Ok(())
    }
    async fn write_trailers(&mut self, _trailers: HMap) -> Result<()> {
        Ok(())
    }
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }
    async fn shutdown(&mut self, _code: u32, _context: &str) {}
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}
    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }
    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}
    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }
    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}
    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }
    /// Pingora quotes the summary in its log; the log of the guard shows no path and no query.
    fn request_summary(&self) -> String {
        String::new()
    }
    fn response_written(&self) -> Option<&ResponseHeader> {
        None
    }
    fn body_bytes_sent(&self) -> usize {
        0
    }
    fn body_bytes_read(&self) -> usize {
        0
    }
    fn digest(&self) -> Option<&Digest> {
        None
    }
    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }
    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }
    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }
    fn enable_retry_buffering(&mut self) {}
    fn retry_buffer_truncated(&self) -> bool {
        false
    }
    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }
    fn restore_custom_message_reader(&mut self, _reader: MessageReader) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
