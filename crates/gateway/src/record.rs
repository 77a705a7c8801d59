//! One structured record per request: what happened, who it was, how long each step took.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::Fault;
use outgate_records::{Entry, Times, Trouble, Try};

use crate::trace::TraceParent;

pub(crate) use outgate_records::Stage;

/// A request's record, filled in on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    /// What the client spoke to the gateway.
    pub(crate) protocol: &'static str,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) key: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) exit: Option<String>,
    /// The gateway that the exit is linked to, when it is another one.
    pub(crate) gateway: Option<String>,
    pub(crate) country: Option<String>,
    /// The trace that the client said it belongs to.
    pub(crate) trace: Option<TraceParent>,
    pub(crate) session: Option<String>,
    /// The exit that the session was with before.
    pub(crate) session_moved: Option<String>,
    /// The status the client got, if it got one.
    pub(crate) status: Option<u16>,
    /// The body that the client got, where it is not the fault's sentence.
    pub(crate) told: Option<String>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) attempts: u16,
    pub(crate) address: Option<Rc<str>>,
    /// Why it ended, in words of [`crate::relay::Ended`], when no fault did.
    pub(crate) ended_by: Option<&'static str>,
    pub(crate) times: Times,
    /// The exits that were asked, one by one.
    pub(crate) tries: Vec<Try>,
}

/// A request that ended.
pub(crate) struct Ended<'a> {
    pub(crate) id: &'a str,
    pub(crate) client: &'a str,
    pub(crate) began: Timestamp,
    pub(crate) total: Duration,
    pub(crate) fault: Option<&'a Fault>,
}

impl Record {
    /// What is written of a request that ended.
    pub(crate) fn entry<'a>(&'a self, ended: &Ended<'a>) -> Entry<'a> {
        Entry {
            time: ended.began,
            request_id: ended.id,
            trace_id: self.trace.as_ref().map(TraceParent::trace_id),
            key: self.key.as_deref(),
            client: ended.client,
            protocol: self.protocol,
            method: &self.method,
            target: &self.target,
            address: self.address.as_deref(),
            pool: self.pool.as_deref(),
            exit: self.exit.as_deref(),
            gateway: self.gateway.as_deref(),
            proxy: None,
            country: self.country.as_deref(),
            session: self.session.as_deref(),
            session_moved: self.session_moved.as_deref(),
            bypass: None,
            trouble: ended.fault.map(Trouble::from),
            stage: self.stage,
            status: self.status,
            told: self.told.as_deref(),
            ended_by: self.ended_by,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            attempts: self.attempts,
            times: self.times,
            total: ended.total,
            tries: &self.tries,
        }
    }
}
