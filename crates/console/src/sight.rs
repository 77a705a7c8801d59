//! What the pages look at beside the desk: the gateway's name, how it stands, and where it listens.

use outgate_meter::Gauges;

/// What a gateway lets its pages see. Share it as `Arc<Sight>`.
pub struct Sight {
    /// The gateway's name.
    pub name: String,
    /// How the gateway stands right now.
    pub gauges: Box<dyn Fn() -> Gauges + Send + Sync>,
    /// URLs that clients can use as their proxy, without credentials: `http://127.0.0.1:8080`.
    pub proxies: Vec<String>,
}
