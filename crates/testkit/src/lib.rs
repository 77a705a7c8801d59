//! Throw-away servers for tests: everything a gateway can meet, made to happen on this machine's loopback.
//!
//! Every server here starts with one call that does not need an async runtime, listens on port 0 of 127.0.0.1,
//! runs on a thread of its own (so that a test may block, or drive its own event loop) and is gone when its
//! handle drops. Nothing sleeps: a test waits for a condition, and [`patience::HANG`] only ends a test that hangs.
//!
//! - [`origin`]: a well-behaved HTTP/1.1 origin that remembers what it was sent
//! - [`script`]: an origin that does exactly what its steps say, most of it wrong
//! - [`echo`]: sends back whatever it gets
//! - [`flaky_proxy`]: an upstream proxy that fails as its schedule says
//! - [`middleman`]: a bad network in front of any address: silent, slow, cut
//! - [`dead`]: addresses that refuse, or that never answer a SYN
//! - [`ca`]: a certificate authority for one test
//! - [`dns`]: a resolver that answers, fails or stays silent by name
//! - [`wire`]: a client that shows every byte, and how the connection ended
//! - [`h2_client`]: an HTTP/2 client that keeps the rules; [`h2_frames`]: one that writes its frames by hand
//! - [`socks`]: a SOCKS5 client that shows each reply byte
//! - [`daemon`]: any long-running command as a child process
//! - [`service_manager`]: who a daemon tells that it is ready
//! - [`gateway_process`]: the real binary, from its first line to its records
//! - [`relay_process`]: the relay's
//! - [`doors`]: the same with a door for each way in
//! - [`foreign_proxy`]: squid, tinyproxy, dante and mitmproxy
//! - [`redis_server`]: a Redis server that can be killed, restarted and frozen
//! - [`payload`]: bytes that can be checked without being stored
//! - [`postgres`]: a real PostgreSQL server
//! - [`patience`]: waiting without sleeping
//! - [`open_files`]: room for thousands of connections
//! - [`stream`]: TCP, with as many layers of TLS as asked for
//!
//! To add a new way for an origin to misbehave: 1. write its steps as a function in [`script`]; 2. add a [`script::Step`]
//! only if no sequence of the present ones can say it; 3. prove in the self-tests at the end of `script` that
//! [`wire`] sees it as meant.

pub mod ca;
pub mod daemon;
pub mod dead;
pub mod dns;
pub mod doors;
pub mod echo;
pub mod flaky_proxy;
pub mod foreign_proxy;
pub mod gateway_process;
pub mod h2_client;
pub mod h2_frames;
mod listener;
pub mod middleman;
pub mod open_files;
pub mod origin;
pub mod patience;
pub mod payload;
pub mod postgres;
pub mod redis_server;
pub mod relay_process;
pub mod script;
mod server_thread;
pub mod service_manager;
pub mod socks;
pub mod stream;
pub mod wire;
