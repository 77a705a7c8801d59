//! `[cluster]`: the door for other gateways, the certificates that both ends show, and who is dialed.

use std::path::PathBuf;

use outgate_gateway::settings::{ClusterSettings, PeerAddress};

use super::reader::Section;
use super::{address, infallible};
use crate::tls;

/// Whether this gateway shares limits with others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    /// Through Redis.
    Limits,
    Nothing,
}

/// None when nothing of it is set. What is set needs all the rest: a gateway without certificates has no door for others.
pub(super) fn cluster(mut section: Section, shares: Shares) -> Option<ClusterSettings> {
    let at = section.scalar("address", address);
    let mut file = |key| section.scalar(key, infallible).map(PathBuf::from);
    let files = [file("certificate"), file("key"), file("ca")];
    let peers = section.list("peers", str::parse::<PeerAddress>);
    let advertise = section.scalar("advertise", str::parse::<PeerAddress>);
    if advertise.is_some() && shares == Shares::Nothing {
        section.problem("advertise", "the others hear of it through Redis: [store] redis = \"redis://HOST:6379\"");
    }
    let in_file = ["address", "certificate", "key", "ca", "peers", "advertise"].iter().any(|key| section.has(key));
    if !in_file && at.is_none() && peers.is_none() && advertise.is_none() && files.iter().all(Option::is_none) {
        section.finish();
        return None;
    }
    let needed = [
        ("address", at.is_some(), "other gateways need a door: address = \"0.0.0.0:8444\""),
        ("certificate", files[0].is_some(), "gateways show each other certificates: certificate = \"gateway.pem\""),
        ("key", files[1].is_some(), "the certificate needs its key: key = \"gateway-key.pem\""),
        ("ca", files[2].is_some(), "the certificates need the authority that all of them are from: ca = \"cluster-ca.pem\""),
    ];
    for (key, _, what) in needed.iter().filter(|(_, is_set, _)| !is_set) {
        section.missing(key, what);
    }
    let [certificate, key, ca] = files;
    let tls = certificate.zip(key).zip(ca).and_then(|((certificate, key), ca)| {
        let both = tls::cluster(&certificate, &key, &ca);
        both.map_err(|what| section.problem("certificate", what)).ok()
    });
    let mut unique = Vec::new();
    for peer in peers.unwrap_or_default() {
        if unique.contains(&peer) {
            section.problem("peers", format_args!("{peer} is in it twice"));
        }
        unique.push(peer);
    }
    section.finish();
    let (server, client) = tls?;
    Some(ClusterSettings { address: at?, server, client, peers: unique, advertise })
}
