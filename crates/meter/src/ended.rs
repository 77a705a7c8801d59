//! What is known of a request when it is over, as far as it is counted.

use std::time::Duration;

use outgate_faults::Slug;

/// A request that ended, well or not. What is not known is `None`: nothing is counted for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended<'a> {
    /// What the client spoke, in words of the program's own: `http`, `https`, `h2`, `socks5`…
    pub protocol: &'static str,
    /// What was wanted.
    pub kind: Kind,
    /// The pool, or the upstream, once it was admitted to one.
    pub pool: Option<&'a str>,
    /// The country it went out from, or was to: two letters.
    pub country: Option<&'a str>,
    /// What went wrong, if anything did.
    pub slug: Option<Slug>,
    /// The status that the client got, if it got one.
    pub status: Option<u16>,
    /// Payload from the client, in bytes.
    pub bytes_up: u64,
    /// Payload to the client, in bytes.
    pub bytes_down: u64,
    /// How often a way out was tried.
    pub attempts: u16,
    /// How long its steps took.
    pub times: Times,
}

/// What a request wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It did not get as far as to say so.
    #[default]
    Unasked,
    /// A tunnel: CONNECT, SOCKS5.
    Tunnel,
    /// To be passed on, request by request.
    Forward,
}

impl Kind {
    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unasked => "unasked",
            Kind::Tunnel => "tunnel",
            Kind::Forward => "forward",
        }
    }
}

/// How long the steps of one request took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// From its complete head until dialling began: what it waited for its turn.
    pub queue: Option<Duration>,
    /// The target's name.
    pub dns: Option<Duration>,
    /// The connection to the target, or the tunnel through an exit.
    pub connect: Option<Duration>,
    /// Until the first byte of the target's answer, from when the request was sent.
    pub first_byte: Option<Duration>,
    /// All of it, of a tunnel that was opened or a request that was sent.
    pub total: Option<Duration>,
}

/// What is timed, each with a histogram of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Step {
    /// [`Times::queue`].
    Queue,
    /// [`Times::dns`].
    Dns,
    /// [`Times::connect`].
    Connect,
    /// A client's TLS handshake; once per connection.
    Tls,
    /// From a complete head to the answer: counted by [`Meter::answered`](crate::Meter::answered) and
    /// [`Meter::refused`](crate::Meter::refused) when it is given.
    Setup,
    /// [`Times::first_byte`].
    FirstByte,
    /// [`Times::total`] of a forwarded request.
    Forward,
    /// [`Times::total`] of a tunnel that was opened.
    Tunnel,
}

impl Step {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All of them; `ALL[step as usize] == step`.
    pub const ALL: &'static [Step] =
        &[Step::Queue, Step::Dns, Step::Connect, Step::Tls, Step::Setup, Step::FirstByte, Step::Forward, Step::Tunnel];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Queue => "queue",
            Step::Dns => "dns",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Setup => "setup",
            Step::FirstByte => "first_byte",
            Step::Forward => "forward",
            Step::Tunnel => "tunnel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_where_their_number_says() {
        assert!(Step::ALL.iter().enumerate().all(|(at, step)| *step as usize == at));
    }
}
