//! Gearman: client, worker and the embedded job server.
