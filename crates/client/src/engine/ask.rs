//! What one request asks of the engine.

use super::now::Moment;

/// One request of the program, however many attempts it takes.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method, as in the request line; `CONNECT` for a tunnel that the engine can't look into.
    pub method: String,
    /// The target's host name or address, as the caller wrote it.
    pub host: String,
    /// The target's port.
    pub port: u16,
    /// What is asked of the proxy beside the target (`country-us`, say), in any spelling: refusals about targeting and a lack of
    /// exits are remembered for requests that ask the same.
    pub targeting: String,
    /// Which identity the request keeps to.
    pub session: Session,
    /// Whether the caller says that the target takes repeats of it once.
    pub repeat: Repeat,
    /// Whether the body, if there is one, can be sent again from the start.
    pub body: Body,
    /// When the caller stops waiting.
    pub deadline: Moment,
}

/// Which identity a request keeps to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Session {
    /// None: every attempt may leave through another exit.
    #[default]
    Any,
    /// This one. The engine neither changes it nor moves it to another proxy: sites notice.
    Kept(String),
}

/// What is known about repeating a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Repeat {
    /// What RFC 9110 section 9.2.2 says of its method.
    #[default]
    ByMethod,
    /// The target recognises a repeat: the request carries an `Idempotency-Key`, or the caller promises it.
    Recognised,
    /// Never, whatever the method.
    Never,
}

/// What can be done with a body a second time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// There is none, or it is kept and can be sent again.
    #[default]
    Kept,
    /// It streams through: what was sent is gone.
    Streamed,
}

impl Ask {
    /// A request without wishes.
    pub fn new(method: impl Into<String>, host: impl Into<String>, port: u16, deadline: Moment) -> Self {
        Self {
            method: method.into(),
            host: host.into(),
            port,
            targeting: String::new(),
            session: Session::Any,
            repeat: Repeat::ByMethod,
            body: Body::Kept,
            deadline,
        }
    }

    /// The target's domain as limits are kept by it: lower case, without the final dot.
    pub fn domain(&self) -> String {
        self.host.trim_end_matches('.').to_ascii_lowercase()
    }

    /// `host:port`.
    pub fn target(&self) -> String {
        format!("{}:{}", self.domain(), self.port)
    }
}
