//! Health signals over sliding windows, and the incidents they open and close. No sockets, no clock.
