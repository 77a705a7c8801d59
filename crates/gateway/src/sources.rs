//! The addresses that are proof by themselves, and whose.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use outgate_store::{Key, KeyId, KeyState, Proof};

/// The allowlists of the keys that take a source address for proof.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    keys: HashMap<IpNet, Vec<KeyId>>,
    nets: HashMap<KeyId, Vec<IpNet>>,
}

impl Sources {
    /// Puts a new or changed key in force.
    pub(crate) fn put(&mut self, key: &Key) {
        for net in self.nets.remove(&key.id).unwrap_or_default() {
            if let Some(keys) = self.keys.get_mut(&net) {
                keys.retain(|id| *id != key.id);
                if keys.is_empty() {
                    self.keys.remove(&net);
                }
            }
        }
        if key.proof != Proof::Source || key.state == KeyState::Revoked || key.allow_ips.is_empty() {
            return;
        }
        let nets: Vec<IpNet> = key.allow_ips.iter().map(IpNet::trunc).collect();
        for net in &nets {
            let keys = self.keys.entry(*net).or_default();
            if !keys.contains(&key.id) {
                keys.push(key.id.clone());
            }
        }
        self.nets.insert(key.id.clone(), nets);
    }

    /// Whose address it is: the narrowest network decides; two keys that name it alike are nobody.
    pub(crate) fn find(&self, source: IpAddr) -> Option<KeyId> {
        if self.keys.is_empty() {
            return None;
        }
        let source = source.to_canonical();
        let longest = if source.is_ipv4() { 32 } else { 128 };
        let narrowest = (0..=longest).rev().find_map(|prefix| self.keys.get(&IpNet::new(source, prefix).ok()?.trunc()))?;
        match narrowest.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }
}
