//! Rotations: the gateway asks, the exit's hook runs, the address before and after is what the gateway sees.
