//! What the black-box suites share: starting the daemon and its real peers, and ending them by id.
