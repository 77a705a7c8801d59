//! One request on its way: what its record will say, and what of the connection its answer depends on.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_faults::{Fault, raise, success_headers};
use outgate_records::{Times, Try};
use outgate_store::Country;

use crate::activity::InHand;
use crate::admit::{Permit, Rules, admit};
use crate::client::{Client, MOST_UNWANTED};
use crate::core::Core;
use crate::counting::count_unasked;
use crate::credentials::Claim;
use crate::dial::{Dialed, Searched, Undialed};
use crate::framing::Framing;
use crate::gateway::Gateway;
use crate::head::{Asked, Target, Want};
use crate::identify::{Caller, identify, prove};
use crate::record::{Ended, Record, Stage};
use crate::remembered::Over;
use crate::session::Served;
use crate::sessions::About;
use crate::settings::{ListenerSettings, Settings};
use crate::upstream::Upstream;

/// One request on its way: its id, its record, and what of the connection its answer depends on.
pub(crate) struct Visit {
    pub(crate) id: String,
    /// As they were when it began; they hold for it to its end.
    pub(crate) settings: Rc<Settings>,
    time: Timestamp,
    started: Instant,
    pub(crate) record: Record,
    /// The country that it is to go out from, where one was asked for.
    pub(crate) wanted: Option<Country>,
    _in_hand: InHand,
    /// Whether its listener goes on at this gateway's successor.
    activated: bool,
    /// Whether the connection can take another request after a refusal.
    pub(crate) reusable: bool,
    /// The request's body, if a refusal leaves it unread.
    pub(crate) unread: Framing,
    pub(crate) is_head: bool,
}

impl Visit {
    /// A request that begins now.
    pub(crate) fn begin(core: &Core, client: &mut Client, listener: &ListenerSettings) -> Self {
        let times = Times { tls: client.handshake.take(), ..Times::default() };
        Self {
            id: core.request_id(),
            settings: core.settings(),
            time: Timestamp::now(),
            started: Instant::now(),
            record: Record { protocol: client.io.protocol(), times, ..Record::default() },
            wanted: None,
            _in_hand: core.activity.begin(),
            activated: listener.activated,
            reusable: false,
            unread: Framing::NONE,
            is_head: false,
        }
    }

    /// Whether new work can be taken at all. Not by a gateway that drains; but a client whose next connection waits for the
    /// successor is served on this one.
    pub(crate) fn takes_work(&self, gateway: &Gateway) -> Result<(), Fault> {
        if gateway.drain.has_begun() && !self.activated {
            return Err(raise::draining());
        }
        gateway.load.refuse_when_short()?;
        gateway.keeping.refuse_unaccountable()
    }

    /// Writes the request's record.
    pub(crate) fn end(&self, core: &Core, client: &Client, served: &Served) {
        let (total, fault) = (self.started.elapsed(), served.fault.as_ref());
        let ended = Ended { id: &self.id, client: &client.source, began: self.time, total, fault };
        core.record(&self.record, &ended);
        self.count_end(core, total, fault);
        if let Some(fault) = fault {
            let over = Over { at: self.time, request_id: &self.id, client: &client.source, record: &self.record };
            core.gateway.remembered.note_fault(&core.gateway.accounts, &over, fault);
        }
    }

    /// Records a connection that ends before it asked for anything: whoever looks for the cause finds it there.
    pub(crate) fn unasked(core: &Core, peer: SocketAddr, record: Record, fault: &Fault) {
        let source = peer.ip().to_canonical().to_string();
        let id = core.request_id();
        let total = record.times.tls.unwrap_or_default();
        core.record(&record, &Ended { id: &id, client: &source, began: Timestamp::now(), total, fault: Some(fault) });
        count_unasked(core, &record, fault);
    }

    /// Finds out who asks by a request's credentials.
    pub(crate) fn identify(&mut self, core: &Core, client: &mut Client, authorization: Option<&str>) -> Result<Caller, Fault> {
        let Gateway { accounts, throttle, .. } = &*core.gateway;
        let source = client.peer.ip();
        self.identified(identify(accounts, throttle, &mut client.login, authorization, source, core.nanos()))
    }

    /// Finds out who asks by what a login said.
    pub(crate) fn identify_claim(&mut self, core: &Core, client: &Client, claim: Option<Claim>) -> Result<Caller, Fault> {
        let Gateway { accounts, throttle, .. } = &*core.gateway;
        self.identified(prove(accounts, throttle, claim, client.peer.ip(), core.nanos()))
    }

    fn identified(&mut self, identified: Result<Caller, (Fault, Option<String>)>) -> Result<Caller, Fault> {
        let (caller, key) = match identified {
            Ok(caller) => {
                let key = caller.account.key.id.to_string();
                (Ok(caller), Some(key))
            }
            Err((fault, key)) => (Err(fault), key),
        };
        self.record.key = key;
        caller
    }

    /// Admits the caller, who comes from `client`, to the target.
    pub(crate) async fn admit(&mut self, core: &Core, client: IpAddr, caller: Caller, target: &Target) -> Result<Permit, Fault> {
        self.record.stage = Stage::Admit;
        let settings = &self.settings;
        let rules = Rules {
            policy: &settings.policy,
            pools: &settings.pools,
            default_pool: settings.default_pool.as_str(),
            guard: &settings.guard,
            load: &core.gateway.load,
        };
        let permit = admit(&rules, &core.gateway.accounts, &core.sessions, caller, target, core.nanos()).await?;
        self.record.pool = Some(permit.pool.name.to_string());
        self.record.session = permit.modifiers.session.clone();
        permit.enlisted.describe(About {
            request_id: self.id.as_str().into(),
            since: self.time,
            client: client.to_canonical(),
            protocol: self.record.protocol,
            method: self.record.method.as_str().into(),
            target: self.record.target.as_str().into(),
            pool: permit.pool.name.clone(),
            exit: None,
            connected: false,
        });
        Ok(permit)
    }

    /// Names the gateway between this one and the exit that found a fault.
    pub(crate) fn placed(&self, fault: Fault) -> Fault {
        match &self.record.gateway {
            Some(gateway) if fault.found_at().is_some() && fault.relayed_by().is_none() => fault.with_relayed_by(gateway),
            _ => fault,
        }
    }

    /// Notes that the way out is about to be dialed: all before was waiting for admission.
    pub(crate) fn dials(&mut self) {
        self.record.stage = Stage::Dial;
        self.record.times.queue = self.started.elapsed();
    }

    /// How long it is since its head was whole.
    pub(crate) fn since_head(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that its answer is about to be written: from its head on, that took the set-up.
    pub(crate) fn answers(&mut self) {
        let setup = self.since_head();
        self.record.times.setup.get_or_insert(setup);
    }

    /// Notes what a fault says of the way.
    pub(crate) fn refused(&mut self, fault: &Fault) {
        if self.record.stage >= Stage::Dial {
            self.record.attempts = self.record.attempts.max(fault.attempts());
        }
        if self.record.exit.is_none() {
            self.record.exit = fault.found_at().map(str::to_owned);
            self.record.gateway = fault.relayed_by().map(str::to_owned);
        }
    }

    /// Notes what was asked.
    pub(crate) fn note(&mut self, asked: &Asked, client: &Client) {
        self.record.method.clone_from(&asked.method);
        self.record.trace.clone_from(&asked.trace);
        if let Some(target) = asked.target() {
            self.record.target = target.to_string();
        }
        // After a refused CONNECT, bytes that follow may be meant for the tunnel: never read them as a request.
        self.reusable = asked.keep_alive
            && match &asked.want {
                Want::Tunnel(_) => client.buffer.is_empty(),
                Want::Forward(_, forward) => {
                    self.unread = forward.body.clone();
                    // Who waits for 100 (Continue) and is refused may send the body or not: what comes next can't be told.
                    forward.body == Framing::NONE || (!forward.expects_continue && can_be_discarded(&forward.body))
                }
                Want::Here(_) => true,
            };
    }

    /// Notes how the target was reached, or how long it took not to.
    pub(crate) fn arrived(&mut self, dialed: Result<Dialed, Undialed>) -> Result<Upstream, Fault> {
        let dialed = match dialed {
            Ok(dialed) => dialed,
            Err(Undialed { fault, dns, connect, search }) => {
                (self.record.times.dns, self.record.times.connect) = (dns, connect);
                self.searched(search);
                return Err(fault);
            }
        };
        self.searched(dialed.search);
        self.record.address = dialed.address.map(|address| address.to_string().into());
        self.record.attempts += dialed.attempts;
        self.record.times.dns = dialed.dns;
        self.record.times.connect = dialed.connect;
        self.record.session_moved = dialed.moved_from.map(|exit| exit.to_string());
        if let Some(exit) = dialed.exit {
            self.record.exit = Some(exit.id.to_string());
            self.record.gateway = exit.holder.as_ref().map(|holder| holder.gateway.to_string());
            self.record.country = exit.labels.country.map(|c| c.to_string());
        }
        Ok(dialed.upstream)
    }

    /// Notes which exits were asked. Waiting until there is one is waiting in the queue.
    fn searched(&mut self, search: Searched) {
        let times = &mut self.record.times;
        let begun = times.queue;
        times.queue += search.waited;
        self.record.tries.extend(search.tries.into_iter().map(|one| Try { at: begun + one.at, ..one }));
    }

    /// Notes that a kept connection turned out to be dead, so that another is made.
    pub(crate) fn was_stale(&mut self) {
        let (at, exit) = (self.record.times.queue, self.record.exit.clone());
        self.record.attempts += 1;
        self.record.tries.push(Try {
            exit,
            proxy: None,
            outcome: "stale".into(),
            status: None,
            at,
            took: self.since_head().saturating_sub(at),
        });
    }

    /// Notes that the target was reached before.
    pub(crate) fn reuse(&mut self, before: &Record) {
        self.record.address.clone_from(&before.address);
        self.record.exit.clone_from(&before.exit);
        self.record.gateway.clone_from(&before.gateway);
        self.record.country.clone_from(&before.country);
    }

    /// The fields this gateway adds to what succeeds.
    pub(crate) fn own_fields(&self, hop: &str, before: Option<&str>, received: Option<u16>) -> String {
        let record = &self.record;
        let mut fields = String::with_capacity(256);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| fields.push_str(part));
        if received.is_some() {
            put(&["Via: 1.1 ", hop, "\r\n"]);
        }
        let on_the_way = record.exit.as_deref().into_iter().chain(record.gateway.as_deref());
        let status = success_headers(before, on_the_way, hop, received);
        put(&["Proxy-Status: ", &status, "\r\nX-Outgate-Request-Id: ", &self.id]);
        put(&["\r\nX-Outgate-Exit: ", record.exit.as_deref().unwrap_or("direct"), "\r\n"]);
        if let Some(country) = &record.country {
            put(&["X-Outgate-Country: ", country, "\r\n"]);
        }
        if let Some(session) = &record.session {
            put(&["X-Outgate-Session: ", session, "\r\n"]);
        }
        if let Some(before) = &record.session_moved {
            put(&["X-Outgate-Session-Moved: ", before, "\r\n"]);
        }
        if record.attempts > 1 {
            put(&["X-Outgate-Attempts: ", &record.attempts.to_string(), "\r\n"]);
        }
        fields
    }
}

/// Whether a body is not known to be too long to be read for nothing.
fn can_be_discarded(body: &Framing) -> bool {
    match body {
        Framing::Length(length) => *length <= MOST_UNWANTED as u64,
        Framing::Chunked(_) => true,
        Framing::UntilClose => false,
    }
}
