//! What a Capstan driver author depends on.
