//! What is counted while requests go by: outcomes, bytes, durations.
