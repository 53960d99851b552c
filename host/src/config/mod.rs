//! The configuration file: reading, validation, secrets.
