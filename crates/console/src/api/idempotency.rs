//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a POST that is sent twice under one key is done once.
//!
//! The first answer is kept in memory, with the secret it may show, for [`ANSWER_KEPT`] and given again; that the request was
//! done is known for [`DONE_KNOWN`]. A restart forgets both. What was certainly not done is not kept: it may be tried again
//! under the same key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use outgate_store::later;
use ring::digest::{Context, SHA256};

use crate::desk::Clock;
use crate::fields::body_in_time;
use crate::problem::Problem;

/// How long an answer is given again. A client that tries again does so within seconds; a secret should not lie about longer.
const ANSWER_KEPT: Duration = Duration::from_secs(600);

/// How long it is known that a request was done.
const DONE_KNOWN: Duration = Duration::from_secs(86_400);

/// Requests known at a time; beyond, the oldest is forgotten.
const MOST: usize = 1_024;

/// Larger answers are not kept. One about a key with 256 networks has some 10 KiB.
const LARGEST: usize = 16 << 10;

/// A UUID has 36 characters.
const LONGEST_KEY: usize = 255;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// SHA-256 of method, path and body.
type Print = [u8; 32];

/// What was answered under which key.
pub(super) struct Answered {
    clock: Clock,
    requests: Mutex<HashMap<String, Known>>,
}

/// A request that came under a key.
struct Known {
    print: Print,
    at: Timestamp,
    progress: Progress,
}

enum Progress {
    Running,
    Done(Option<Kept>),
}

/// An answer as it was given.
#[derive(Clone)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A request under way; one that ends without an answer is forgotten when this drops.
struct Running {
    answered: Arc<Answered>,
    key: String,
}

/// Runs a request once per key; without a key it is none of this module's business.
pub(super) async fn once(State(answered): State<Arc<Answered>>, request: Request, next: Next) -> Response {
    match request.headers().get(&KEY) {
        Some(key) if request.method() == Method::POST => {
            let key = name(key);
            run(answered, key, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        Some(_) | None => next.run(request).await,
    }
}

async fn run(answered: Arc<Answered>, key: Result<String, Problem>, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key?;
    let (parts, body) = request.into_parts();
    let body = body_in_time(body).await?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if let Some(kept) = answered.enter(&key, print(&[parts.method.as_str(), path], &body))? {
        return Ok(kept.again());
    }
    let running = Running { answered, key };
    let request = Request::from_parts(parts, Body::from(body));
    // To its end even if the client hangs up: who comes back under this key is to find the answer.
    let ended = tokio::spawn(async move { running.end(next.run(request).await).await });
    ended.await.map_err(|error| {
        tracing::error!(%error, "a request of the console ended early");
        Problem::internal()
    })
}

/// The draft's string in quotes, or the bare word that most clients send.
fn name(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().map(str::trim).unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > LONGEST_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        return Err(Problem::invalid(format!(
            "Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters, such as a UUID in quotes"
        )));
    }
    Ok(text.to_owned())
}

fn print(parts: &[&str], body: &[u8]) -> Print {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(part.as_bytes());
        // Occurs in neither a method nor a path.
        hash.update(b"\n");
    }
    hash.update(body);
    let mut print = Print::default();
    print.copy_from_slice(hash.finish().as_ref());
    print
}

impl Answered {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, requests: Mutex::default() }
    }

    /// Enters a request: `None` when it is the first under its key and must run now.
    fn enter(&self, key: &str, print: Print) -> Result<Option<Kept>, Problem> {
        let now = (self.clock)();
        let mut requests = self.requests();
        forget(&mut requests, now);
        match requests.get(key) {
            Some(known) if known.print != print => Err(Problem::key_reused()),
            Some(Known { progress: Progress::Running, .. }) => Err(Problem::under_way()),
            Some(Known { progress: Progress::Done(None), .. }) => Err(Problem::done_before()),
            Some(Known { progress: Progress::Done(Some(kept)), .. }) => Ok(Some(kept.clone())),
            None => {
                requests.insert(key.to_owned(), Known { print, at: now, progress: Progress::Running });
                Ok(None)
            }
        }
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the answers and the requests whose time is over, and makes room for one more.
fn forget(requests: &mut HashMap<String, Known>, now: Timestamp) {
    requests.retain(|_, known| {
        if let Progress::Done(answer) = &mut known.progress
            && now >= later(known.at, ANSWER_KEPT)
        {
            *answer = None;
        }
        matches!(known.progress, Progress::Running) || now < later(known.at, DONE_KNOWN)
    });
    if requests.len() >= MOST {
        let done = requests.iter().filter(|(_, known)| matches!(known.progress, Progress::Done(_)));
        if let Some(oldest) = done.min_by_key(|(_, known)| known.at).map(|(key, _)| key.clone()) {
            requests.remove(&oldest);
        }
    }
}

impl Running {
    /// Keeps the answer, if there is anything that must not be done again.
    async fn end(self, response: Response) -> Response {
        let done = response.status().is_success() || response.extensions().get::<Problem>().is_some_and(Problem::is_unclear);
        if !done {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else { return Problem::internal().into_response() };
        let kept = Kept { status: parts.status, headers: parts.headers.clone(), body: body.to_vec() };
        if let Some(known) = self.answered.requests().get_mut(&self.key) {
            known.progress = Progress::Done((kept.body.len() <= LARGEST).then_some(kept));
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut requests = self.answered.requests();
        if requests.get(&self.key).is_some_and(|known| matches!(known.progress, Progress::Running)) {
            requests.remove(&self.key);
        }
    }
}

impl Kept {
    fn again(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A clock that a test moves, in seconds.
    fn answered(seconds: &Arc<AtomicI64>) -> Answered {
        let seconds = Arc::clone(seconds);
        Answered::new(Arc::new(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).expect("a time")))
    }

    async fn end(answered: &Arc<Answered>, key: &str, status: StatusCode) {
        let running = Running { answered: Arc::clone(answered), key: key.to_owned() };
        let _response = running.end((status, "the answer").into_response()).await;
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_a_while_and_that_it_was_done_for_longer() {
        let seconds = Arc::new(AtomicI64::new(0));
        let answered = Arc::new(answered(&seconds));
        assert!(answered.enter("k", print(&["POST"], b"a")).expect("first").is_none());
        assert_eq!(answered.enter("k", print(&["POST"], b"a")).err(), Some(Problem::under_way()));
        assert_eq!(answered.enter("k", print(&["POST"], b"b")).err(), Some(Problem::key_reused()));
        end(&answered, "k", StatusCode::CREATED).await;
        let told = |answered: &Answered| answered.enter("k", print(&["POST"], b"a")).map(|kept| kept.map(|kept| kept.body));
        for (second, expected) in [
            (599, Ok(Some(b"the answer".to_vec()))),
            (600, Err(Problem::done_before())),
            (86_399, Err(Problem::done_before())),
            (86_400, Ok(None)),
        ] {
            seconds.store(second, Ordering::SeqCst);
            assert_eq!(told(&answered), expected, "after {second} s");
        }
    }

    #[tokio::test]
    async fn what_was_not_done_may_be_tried_again() {
        let answered = Arc::new(answered(&Arc::default()));
        for status in [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(answered.enter("k", print(&[], b"")).expect("first").is_none(), "{status}");
            end(&answered, "k", status).await;
        }
        let unclear = Problem::from(crate::desk::DeskError::Unclear("no answer".to_owned())).into_response();
        assert!(answered.enter("k", print(&[], b"")).expect("first").is_none());
        let running = Running { answered: Arc::clone(&answered), key: "k".to_owned() };
        let _response = running.end(unclear).await;
        assert!(answered.enter("k", print(&[], b"")).expect("kept").is_some(), "what may have been done is not done again");
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let answered = Arc::new(answered(&Arc::default()));
        for number in 0..3 * MOST {
            let key = number.to_string();
            assert!(answered.enter(&key, Print::default()).expect("new").is_none());
            end(&answered, &key, StatusCode::OK).await;
        }
        assert_eq!(answered.requests().len(), MOST);
    }

    #[test]
    fn keys_are_words() {
        let long = "a".repeat(LONGEST_KEY + 1);
        for (value, expected) in [
            ("\"8e03978e\"", Some("8e03978e")),
            ("8e03978e", Some("8e03978e")),
            ("\"\"", None),
            ("", None),
            ("a b", None),
            ("\"a", None),
            (&long, None),
        ] {
            let value = HeaderValue::from_str(value).expect("a value");
            assert_eq!(name(&value).ok().as_deref(), expected, "{value:?}");
        }
    }
}
