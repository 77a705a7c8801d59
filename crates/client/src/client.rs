//! The library: requests through proxies that fail, made as if they did not.
//!
//! A [`Client`] is a small HTTP/1.1 client over hyper. It opens the tunnels itself, so that nothing of what a proxy says is lost,
//! lets [`classify`](crate::classify) say what each failure means, and [`engine`](crate::engine) whether, when and through what to
//! try again. What the target answers is an [`Answer`], whatever its status; an [`Error`] carries the fault, who told it, every
//! attempt, and the proxy's answer with the header fields and the body that other clients hide.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use outgate_client::client::{Client, Through};
//!
//! let client = Client::builder().through(Through::parse("http://KEY:SECRET@127.0.0.1:8080")?).build();
//! let answer = client.get("https://example.com/").send().await?;
//! println!("{} through exit {:?}", answer.status(), answer.exit());
//! # Ok(())
//! # }
//! ```
//!
//! [`Call::send`] hands over the answer with its head, and the body as it comes. [`Call::fetch`] reads the whole body as part of the
//! attempt: one that breaks off is asked for again, if the request is safe to repeat.

mod answer;
mod error;
mod exchange;
mod pool;
mod through;

pub use answer::Answer;
pub use error::{Error, Why};
pub use through::Through;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request as HttpRequest, Uri};
use hyper::body::Bytes;

use crate::classify::Verdict;
use crate::connect::{ConnectReply, Target, Trust};
use crate::engine::{
    Admission, Ask, Attempt, Choice, Clock, Connection, Engine, Finding, GiveUp, Moment, Next, Outcome, Repeat, Request, Rules,
    Session, Ticket, attempt,
};
use crate::providers::Providers;
use exchange::{Asked, Means, Scheme, Tried};
use pool::{Key, Pool};

/// A client. Cheap to clone; clones share what was learned, and the connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    engine: Mutex<Engine>,
    pool: Mutex<Pool>,
    through: Vec<Through>,
    means: Means,
    timeout: Duration,
}

/// What a client is made of.
#[derive(Debug)]
pub struct Builder {
    through: Vec<Through>,
    rules: Rules,
    providers: Providers,
    trust: Trust,
    timeout: Duration,
    setup: Duration,
    seed: u64,
}

impl Builder {
    /// Adds an upstream proxy.
    #[must_use]
    pub fn through(mut self, through: Through) -> Self {
        self.through.push(through);
        self
    }

    /// The rules of the engine, where the documented ones do not fit.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// What is known of providers: [`Providers::builtin`] unless said, to which [`Providers::with_file`] adds.
    #[must_use]
    pub fn providers(mut self, providers: Providers) -> Self {
        self.providers = providers;
        self
    }

    /// Whose certificates are believed of targets: the system's unless said.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How long a request may take with all its attempts and waits; a minute unless said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one way to the target may take to open: 20 s unless said, a little more than a gateway allows itself, so that its
    /// answer is heard.
    #[must_use]
    pub fn setup_timeout(mut self, setup: Duration) -> Self {
        self.setup = setup;
        self
    }

    /// The seed of choices and jitter, for runs that are to be repeated. Unless said it is another one in every process.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The client.
    pub fn build(self) -> Client {
        let proxies = self.through.iter().map(Through::proxy).collect();
        Client(Arc::new(Shared {
            clock: Clock::start(),
            engine: Mutex::new(Engine::new(self.rules, proxies, self.seed)),
            pool: Mutex::default(),
            through: self.through,
            means: Means { providers: self.providers, trust: self.trust, setup: self.setup },
            timeout: self.timeout,
        }))
    }
}

impl Client {
    /// What a client is made of; at least one [`Builder::through`] is needed for it to be of use.
    pub fn builder() -> Builder {
        use std::hash::{BuildHasher, RandomState};
        Builder {
            through: Vec::new(),
            rules: Rules::default(),
            providers: Providers::builtin().clone(),
            trust: Trust::system(),
            timeout: Duration::from_secs(60),
            setup: Duration::from_secs(20),
            // Not secret, only different: clients that start together must not retry together.
            seed: RandomState::new().hash_one(0_u8),
        }
    }

    /// `GET url`.
    pub fn get(&self, url: &str) -> Call {
        self.call(Method::GET, url, Bytes::new())
    }

    /// `POST url` with this body. It is repeated only if nothing can have reached the target, or it said that it did not act,
    /// unless [`Call::idempotency_key`] makes repeats harmless.
    pub fn post(&self, url: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, url, body.into())
    }

    /// Any request. Its URI is absolute: `https://host/path`.
    pub fn request(&self, request: HttpRequest<Bytes>) -> Call {
        let (parts, body) = request.into_parts();
        Call {
            client: self.clone(),
            parts: Ok(parts),
            body,
            session: Session::Any,
            targeting: String::new(),
            repeat: Repeat::ByMethod,
            timeout: None,
        }
    }

    fn call(&self, method: Method, url: &str, body: Bytes) -> Call {
        let parsed = url.parse::<Uri>().map_err(|error| format!("{url:?} is no URL: {error}"));
        let (mut parts, ()) = HttpRequest::new(()).into_parts();
        parts.method = method;
        let parts = parsed.map(|uri| {
            parts.uri = uri;
            parts
        });
        Call {
            client: self.clone(),
            parts,
            body,
            session: Session::Any,
            targeting: String::new(),
            repeat: Repeat::ByMethod,
            timeout: None,
        }
    }

    /// What time it is for the engine: what [`Error::until`] is to be compared with.
    pub fn now(&self) -> Moment {
        self.0.clock.now().clock
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic while it was held left a decision half made; the next one stands for itself.
        self.0.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being put together.
#[derive(Debug)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    client: Client,
    parts: Result<http::request::Parts, String>,
    body: Bytes,
    session: Session,
    targeting: String,
    repeat: Repeat,
    timeout: Option<Duration>,
}

impl Call {
    /// Adds a header field; one that is none is an error when the call is sent.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok(parts) = &mut self.parts {
            match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => {
                    parts.headers.append(name, value);
                }
                _ => self.parts = Err(format!("{name:?} with that value is no header field")),
            }
        }
        self
    }

    /// Keeps to one exit: the same name, the same identity. The engine never changes it to get past a failure.
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session = Session::Kept(name.into());
        self
    }

    /// Says what else the upstream is asked for (`country-us`), so that refusals of it are remembered for it alone. It is not sent:
    /// what is asked for stands in the upstream's credentials.
    pub fn targeting(mut self, targeting: impl Into<String>) -> Self {
        self.targeting = targeting.into();
        self
    }

    /// Lets the target recognise repeats: sends `Idempotency-Key`, and repeats the request whatever its method.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.repeat = Repeat::Recognised;
        self.header("idempotency-key", key)
    }

    /// Whether repeats are harmless, where the method does not say it.
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// How long this request may take with all its attempts and waits.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it. Attempts end with the answer's head; its body is read as it comes.
    ///
    /// # Errors
    /// When there is no answer of the target's, after all attempts that make sense.
    pub async fn send(self) -> Result<Answer, Error> {
        self.run(None).await
    }

    /// Sends it and reads the body, up to `most` bytes, as part of the attempt.
    ///
    /// # Errors
    /// As [`Call::send`], and when the body breaks off in the last attempt or is longer.
    pub async fn fetch(self, most: usize) -> Result<Answer, Error> {
        self.run(Some(most)).await
    }

    async fn run(self, whole: Option<usize>) -> Result<Answer, Error> {
        let parts = self.parts.map_err(|wrong| Error::bad_request(&wrong))?;
        let scheme = match parts.uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(Error::bad_request("the URL must begin with http:// or https://")),
        };
        let host = parts.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(Error::bad_request("the URL has no host"));
        }
        let port = parts.uri.port_u16().unwrap_or(if scheme == Scheme::Http { 80 } else { 443 });
        let client = self.client;
        let deadline = client.now().saturating_add(self.timeout.unwrap_or(client.0.timeout));
        let mut ask = Ask::new(parts.method.as_str(), host.clone(), port, deadline);
        ask.session = self.session;
        ask.targeting = self.targeting;
        ask.repeat = if parts.headers.contains_key("idempotency-key") && self.repeat == Repeat::ByMethod {
            Repeat::Recognised
        } else {
            self.repeat
        };
        let asked = Asked { parts, body: self.body, target: Target::new(host, port), scheme };
        Flight { client, request: Mutex::new(Request::new(ask)) }.run(&asked, whole).await
    }
}

/// A request between its attempts.
struct Flight {
    client: Client,
    request: Mutex<Request>,
}

impl Flight {
    async fn run(self, asked: &Asked, whole: Option<usize>) -> Result<Answer, Error> {
        let mut last: Option<(Verdict, Option<ConnectReply>)> = None;
        loop {
            // Its own statement: nothing stays locked over a wait.
            let admission = self.client.engine().admit(self.client.0.clock.now(), &mut self.request());
            match admission {
                Admission::Wait(waiting) => self.sleep(waiting.until).await,
                Admission::Refused(refusal) => return Err(Error::refused(refusal, last, self.attempts())),
                Admission::Go(choice) => {
                    let (next, mut tried) = self.race(choice, asked, whole).await?;
                    match next {
                        Next::Retry { at, .. } => {
                            // The answer that is not wanted is let go before the wait, and its connection with it.
                            last = Some((tried.verdict, tried.reply));
                            drop(tried.answer);
                            self.sleep(at).await;
                        }
                        Next::Done | Next::GiveUp(_) | Next::Pending => {
                            let why = if let Next::GiveUp(why) = next { why } else { GiveUp::Class };
                            if let Some(answer) = tried.answer.take().filter(Answer::is_the_targets) {
                                return Ok(Answer { attempts: self.attempts(), ..answer });
                            }
                            return Err(Error::failed(why, tried.verdict, tried.reply, self.attempts()));
                        }
                    }
                }
            }
        }
    }

    /// An attempt, and a second one beside it where the engine allows that and the first is slow. Whichever is done first counts;
    /// the other is dropped, and so given up.
    async fn race(&self, choice: Choice, asked: &Asked, whole: Option<usize>) -> Result<(Next, Tried), Error> {
        let hedge_at = choice.hedge_at;
        let mut first = Box::pin(self.attempt(choice, asked, whole));
        let Some(at) = hedge_at else { return first.await };
        tokio::select! {
            biased;
            ended = &mut first => return ended,
            () = self.sleep(at) => {}
        }
        let second = self.client.engine().hedge(self.client.0.clock.now(), &mut self.request());
        let Some(second) = second else { return first.await };
        let mut second = Box::pin(self.attempt(second, asked, whole));
        tokio::select! {
            ended = &mut first => match ended {
                Ok((Next::Pending, _)) => second.await,
                ended => ended,
            },
            ended = &mut second => match ended {
                Ok((Next::Pending, _)) => first.await,
                ended => ended,
            },
        }
    }

    /// One attempt, and what the engine says to it.
    async fn attempt(&self, choice: Choice, asked: &Asked, whole: Option<usize>) -> Result<(Next, Tried), Error> {
        let shared = &self.client.0;
        let through = &shared.through[choice.proxy.0];
        let forwarded = asked.is_forwarded(through);
        let origin = if forwarded { String::new() } else { asked.origin() };
        let key = Key { proxy: choice.proxy, session: choice.session.clone(), origin };
        // Whether a free connection is still open shows only when it is used: what must not be sent twice gets a new one.
        let reuse = choice.connection == Connection::Any && asked.parts.method.is_idempotent();
        let free = if reuse { self.client.pool().take(&key) } else { None };
        let deadline = shared.clock.instant(choice.deadline);
        let mut out = Out { flight: self, ticket: Some(choice.ticket) };
        let opened = || out.opened();
        let mut tried = exchange::once(&shared.means, through, choice.session.as_deref(), asked, free, deadline, opened).await;
        if let (Some(line), Some(_)) = (tried.line.take(), &tried.answer) {
            self.client.pool().put(key, line);
        }
        let too_long = match whole {
            Some(most) if tried.verdict.is_fine() => {
                tried.read(most, deadline, &shared.means, through, asked).await.then_some(most)
            }
            _ => None,
        };
        let now = shared.clock.now();
        let outcome = Outcome {
            finding: Finding::of(&tried.verdict, now.wall, exchange::date(&tried.headers)),
            sent: tried.sent,
            status: tried.status,
            headers: attempt::headers(&tried.headers),
            exit: tried.exit.clone(),
        };
        let next = match out.ticket.take() {
            Some(ticket) => self.client.engine().report(now, &mut self.request(), ticket, outcome),
            None => Next::Done,
        };
        if let Some(attempt) = self.request().attempts().last() {
            tracing::debug!(
                at = %attempt.at,
                number = attempt.number,
                proxy = attempt.proxy,
                exit = attempt.exit,
                target = attempt.target,
                status = attempt.status,
                outcome = attempt.slug.map_or("ok", |slug| slug.name()),
                ms = attempt.took.as_millis(),
                "attempt"
            );
        }
        match too_long {
            Some(most) => Err(Error::too_long(most, self.attempts())),
            None => Ok((next, tried)),
        }
    }

    async fn sleep(&self, until: Moment) {
        tokio::time::sleep_until(self.client.0.clock.instant(until).into()).await;
    }

    /// Locked after the engine, never before it.
    fn request(&self) -> MutexGuard<'_, Request> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.request().attempts().to_vec()
    }
}

/// An attempt that is on its way. One that nobody waits for any more is given up.
struct Out<'a> {
    flight: &'a Flight,
    ticket: Option<Ticket>,
}

impl Out<'_> {
    fn opened(&self) {
        if let Some(ticket) = &self.ticket {
            let client = &self.flight.client;
            client.engine().opened(client.0.clock.now(), &self.flight.request(), ticket);
        }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let client = &self.flight.client;
            client.engine().abandon(client.0.clock.now(), &mut self.flight.request(), ticket);
        }
    }
}
