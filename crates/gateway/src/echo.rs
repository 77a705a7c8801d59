//! The built-in target `echo.outgate`: answers with what the gateway saw, needs no network.
//!
//! Direct requests are served in process. Through an exit the bytes really travel: the exit dials back
//! to the door it is linked to, shows the request id as its ticket, and the answer goes through it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use outgate_store::ExitId;

use crate::admit::Permit;
use crate::choose::ECHO_HOST;
use crate::fleet::Online;
use crate::head::Target;

/// The echo target of a gateway.
pub(crate) struct Echo {
    tls: Option<TlsAcceptor>,
    /// Tunnels on their way through an exit.
    expected: Arc<Mutex<HashMap<Ticket, EchoFacts>>>,
}

/// A request id, and the exit that is to come back with it: a request may be on its way through two.
type Ticket = (String, Option<String>);

/// What the gateway saw of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EchoFacts {
    key: String,
    pool: String,
    exit: Option<String>,
    country: Option<String>,
    session: Option<String>,
    request_id: String,
    target: String,
}

/// Takes the expectation back when it drops, met or not.
pub(crate) struct Expected {
    ticket: Ticket,
    expected: Arc<Mutex<HashMap<Ticket, EchoFacts>>>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.ticket);
    }
}

impl EchoFacts {
    pub(crate) fn of(permit: &Permit, exit: Option<&Online>, request_id: &str, target: &Target) -> Self {
        Self {
            key: permit.account.key.id.to_string(),
            pool: permit.pool.name.to_string(),
            exit: exit.map(|e| e.id.to_string()),
            country: exit.and_then(|e| e.labels.country).map(|c| c.to_string()),
            session: permit.modifiers.session.clone(),
            request_id: request_id.to_owned(),
            target: target.to_string(),
        }
    }

    /// For the gateway that holds the exit: that is where the exit dials back.
    pub(crate) fn to_wire(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Of a request that came in at another gateway; `exit` is the one that it leaves through and dials back.
    pub(crate) fn from_wire(text: &str, exit: &ExitId, request_id: &str) -> Option<Self> {
        let facts: Self = serde_json::from_str(text).ok()?;
        Some(Self { exit: Some(exit.to_string()), request_id: request_id.to_owned(), ..facts })
    }

    /// Of an active check: nobody's request.
    pub(crate) fn of_check(exit: &Online, request_id: &str) -> Self {
        Self {
            key: String::new(),
            pool: exit.pool.to_string(),
            exit: Some(exit.id.to_string()),
            country: exit.labels.country.map(|c| c.to_string()),
            session: None,
            request_id: request_id.to_owned(),
            target: format!("{ECHO_HOST}:80"),
        }
    }
}

impl Echo {
    pub(crate) fn new(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self { tls: tls.map(TlsAcceptor::from), expected: Arc::default() }
    }

    /// A connection to the echo target in this process.
    pub(crate) fn serve(&self, facts: EchoFacts, port: u16) -> DuplexStream {
        let (ours, theirs) = duplex(16 * 1024);
        tokio::task::spawn_local(self.attend(theirs, facts, port));
        ours
    }

    /// Expects an exit to come back with this request.
    pub(crate) fn expect(&self, facts: EchoFacts) -> Expected {
        let ticket = (facts.request_id.clone(), facts.exit.clone());
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket.clone(), facts);
        Expected { ticket, expected: self.expected.clone() }
    }

    /// The facts of a request that an exit came back with; each ticket is good once, and for its own exit.
    pub(crate) fn redeem(&self, request_id: &str, exit: &ExitId) -> Option<EchoFacts> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.remove(&(request_id.to_owned(), Some(exit.to_string())))
    }

    /// Serves a connection: TLS on port 443, plain on 80.
    pub(crate) fn attend<IO>(&self, io: IO, facts: EchoFacts, port: u16) -> impl Future<Output = ()> + use<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let tls = self.tls.clone().filter(|_| port == 443);
        async move {
            // What goes wrong here the client sees itself: it is both ends' peer.
            match tls {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(io).await {
                        answer(stream, facts).await;
                    }
                }
                None => answer(io, facts).await,
            }
        }
    }
}

async fn answer(io: impl AsyncRead + AsyncWrite + Unpin + 'static, facts: EchoFacts) {
    let body = serde_json::to_string(&facts).unwrap_or_default() + "\n";
    let service = service_fn(move |request: Request<Incoming>| {
        let body = if request.method() == hyper::Method::HEAD { String::new() } else { body.clone() };
        let response = Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(body)));
        async move { Ok::<_, Infallible>(response.unwrap_or_default()) }
    });
    // A client that breaks off has its reasons, and they are in the record of its request.
    let _broken_off = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_its_own_exit() {
        let echo = Echo::new(None);
        let facts = EchoFacts {
            key: "abcd".into(),
            pool: "residential".into(),
            exit: Some("e1".into()),
            country: None,
            session: None,
            request_id: "r1".into(),
            target: "echo.outgate:80".into(),
        };
        let exit = |id: &str| ExitId::parse(id).unwrap();
        let waiting = echo.expect(facts.clone());
        assert!(echo.redeem("r1", &exit("e2")).is_none());
        assert!(echo.redeem("r1", &exit("e1")).is_some());
        assert!(echo.redeem("r1", &exit("e1")).is_none());
        drop(waiting);
        drop(echo.expect(facts));
        assert!(echo.redeem("r1", &exit("e1")).is_none(), "nobody waits any more");
    }
}
