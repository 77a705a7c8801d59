//! The relay: a local proxy in front of any list of upstream proxies, for programs that can't be changed.
