//! One request as the origin got it.

/// One request as the origin got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// Which request of that connection it was, from 0.
    pub request: usize,
    /// `GET`.
    pub method: String,
    /// As it came: `/path?query`.
    pub target: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// Names as they came, in order, values without surrounding blanks.
    pub headers: Vec<(String, String)>,
    /// Fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// The head, byte by byte, with its blank line.
    pub head: Vec<u8>,
    /// The first MiB of the body, without chunk framing.
    pub body: Vec<u8>,
    /// How long the whole body was.
    pub body_length: u64,
    /// The checksum of the whole body, as `Checksum::hex` prints it.
    pub body_checksum: String,
}

impl Received {
    /// The value of the first field of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
