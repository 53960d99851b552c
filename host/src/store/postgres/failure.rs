//! From PostgreSQL's codes to the store's errors.

use std::error::Error as _;

use postgres::error::{DbError, SqlState};

use crate::store::{Constraint, Error, transaction::Failed};

/// What PostgreSQL says of a plan whose tables have changed since.
pub(super) const OUTDATED_PLAN: &str = "cached plan";

/// What an error of PostgreSQL means, and whether the same may succeed when it is done again.
pub(super) fn of(error: &postgres::Error, place: &str) -> Failed {
    let text = format!("{place}: {}", words(error));
    let Some(code) = error.code() else {
        // Without a code, it never came to the server, or no answer came back.
        let is_ours = error.as_db_error().is_none() && !error.is_closed() && is_a_wrong_value(error);
        return if is_ours { Error::Statement(words(error)).into() } else { unavailable(text) };
    };
    if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED {
        return Failed { error: Error::Contended(text), rerun: true };
    }
    if *code == SqlState::FEATURE_NOT_SUPPORTED && text.contains(OUTDATED_PLAN) {
        return Failed { error: Error::Contended(text), rerun: true };
    }
    let constraint = |kind| Error::Constraint { kind, text: words(error) };
    if *code == SqlState::UNIQUE_VIOLATION {
        return constraint(Constraint::Unique).into();
    }
    if *code == SqlState::FOREIGN_KEY_VIOLATION || *code == SqlState::RESTRICT_VIOLATION {
        return constraint(Constraint::ForeignKey).into();
    }
    if *code == SqlState::LOCK_NOT_AVAILABLE {
        return Error::Contended(text).into();
    }
    if *code == SqlState::DISK_FULL {
        return Error::Full(text).into();
    }
    if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED {
        return Error::Corrupt(text).into();
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Error::ReadOnly(text).into();
    }
    match code.code().get(..2) {
        Some("23") => constraint(Constraint::Check).into(),
        // The connection, its authorisation, the server's resources, an operator's intervention, the system below it.
        Some("08" | "28" | "53" | "57" | "58" | "XX") => unavailable(text),
        _ => Error::Statement(words(error)).into(),
    }
}

fn unavailable(text: String) -> Failed {
    Error::Unavailable(format!("{text}; the store goes on by itself once the server does")).into()
}

fn is_a_wrong_value(error: &postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing") || text.starts_with("error deserializing") || text.contains("parameters but")
}

/// The server's own words with its code, or the reason behind an error of the connection; neither holds a value.
pub(super) fn words(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(reason), _) => reason_of_server(reason),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn reason_of_server(reason: &DbError) -> String {
    let mut text = format!("{} ({})", reason.message(), reason.code().code());
    if let Some(hint) = reason.hint() {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}
