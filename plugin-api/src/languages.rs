//! What authors in other languages copy: `capstan driver new` puts these beside a new driver.

/// `capstan_driver.h`: the tables of epoch 1 for C.
pub const C_HEADER: &str = include_str!("../include/capstan_driver.h");

/// `capstan_json.h`: as much JSON as a small driver in C needs.
pub const C_JSON: &str = include_str!("../include/capstan_json.h");

/// `capstan_driver.py`: the driver's half of the driver protocol, with Python's standard library.
pub const PYTHON_MODULE: &str = include_str!("../python/capstan_driver.py");
