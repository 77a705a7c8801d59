//! Access records: their schema, the files they lie in, and how they are read.
